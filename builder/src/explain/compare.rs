//! Two steps' inputs held against each other.

use std::collections::{BTreeMap, BTreeSet};

use super::inputs::{FileNote, FileSet, Inputs};
use super::{Change, Difference, FileChange, Reason};

/// How unlike two steps are; the nearest earlier step has the least.
pub(crate) fn distance(now: &Inputs, then: &Inputs) -> (bool, bool, usize) {
    let parts: BTreeSet<&String> = now.parts.keys().chain(then.parts.keys()).collect();
    let differing = parts.into_iter().filter(|part| now.parts.get(*part) != then.parts.get(*part)).count();
    (now.instruction != then.instruction, now.project != then.project, differing)
}

/// Why `now` is not `then`. `cause` is the step before it that was the first to run anew, if one did.
pub(crate) fn compare(now: &Inputs, then: &Inputs, cause: Option<&Difference>) -> Reason {
    let mut own = Vec::new();
    let mut below = Vec::new();
    if now.instruction != then.instruction {
        own.push(Difference::Instruction { before: then.instruction.clone() });
    }
    let variables = variables(now, then);
    let parts: BTreeSet<&String> = now.parts.keys().chain(then.parts.keys()).collect();
    for part in parts.into_iter().filter(|part| now.parts.get(*part) != then.parts.get(*part)) {
        match part.as_str() {
            "env" if !variables.is_empty() => own.extend(variables.iter().cloned()),
            "below" => below.push(beneath(now, then, cause)),
            // A stage is told by the files taken from it, where they are known.
            // With --no-cache nobody looked at them.
            "files" if !now.parts.contains_key(part) || !then.parts.contains_key(part) => {}
            "from" if now.files.contains_key("files") && then.files.contains_key("files") => {}
            "from" => below.push(cause.cloned().unwrap_or_else(|| setting(now, then, "from"))),
            _ => match (now.files.get(part), then.files.get(part)) {
                (Some(now), Some(then)) => own.push(files(now, then)),
                // A mount of a stage: whatever changed there.
                _ if part.starts_with("mount ") && cause.is_some() => below.extend(cause.cloned()),
                // The instruction is different, and that was said.
                _ if now.instruction != then.instruction => {}
                _ => own.push(setting(now, then, part)),
            },
        }
    }
    own.extend(below);
    own.dedup();
    if own.is_empty() {
        // Only parts that say nothing by themselves, such as a stage whose files are the same.
        own.push(cause.cloned().unwrap_or(Difference::Before { now: now.parent.clone(), then: then.parent.clone() }));
    }
    Reason::Changed { differences: own }
}

fn beneath(now: &Inputs, then: &Inputs, cause: Option<&Difference>) -> Difference {
    match (&now.base, &then.base, cause) {
        (Some((name, to)), Some((_, from)), _) if to != from => {
            Difference::Base { name: name.clone(), from: from.clone(), to: to.clone() }
        }
        (_, _, Some(cause)) => cause.clone(),
        _ => Difference::Before { now: now.parent.clone(), then: then.parent.clone() },
    }
}

fn setting(now: &Inputs, then: &Inputs, part: &str) -> Difference {
    // What users call the parts of a key that no one line of theirs names.
    let name = match part {
        "args" => "the command (its shell, a heredoc or a variable in it)",
        "generation" => "the version of img",
        "epoch" => "SOURCE_DATE_EPOCH",
        "cwd" => "the working directory",
        "below" => "what it starts from",
        "from" => "the stage it reads",
        "hosts" => "--add-host",
        "documents" => "the heredoc",
        "kind" => "the kind of step",
        part if part.starts_with("mount ") => "what a --mount shows",
        part => part,
    };
    let value = |inputs: &Inputs| inputs.values.get(part).cloned();
    Difference::Setting { name: name.to_owned(), from: value(then), to: value(now) }
}

fn variables(now: &Inputs, then: &Inputs) -> Vec<Difference> {
    let by_name = |inputs: &Inputs| -> BTreeMap<String, (String, String)> {
        inputs.variables.iter().map(|(kind, name, value)| (name.clone(), (kind.clone(), value.clone()))).collect()
    };
    let (now, then) = (by_name(now), by_name(then));
    let names: BTreeSet<&String> = now.keys().chain(then.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        let (kind, change) = match (now.get(name), then.get(name)) {
            (Some((kind, _)), None) => (kind, Change::Added),
            (None, Some((kind, _))) => (kind, Change::Removed),
            (Some((kind, now)), Some((_, then))) if now != then => (kind, Change::Changed),
            _ => continue,
        };
        found.push(Difference::Variable { kind: kind.clone(), name: name.clone(), change });
    }
    found
}

fn files(now: &FileSet, then: &FileSet) -> Difference {
    let mut changes = Vec::new();
    if now.total > 0 && now.list.is_empty() || then.total > 0 && then.list.is_empty() {
        return Difference::Files { source: now.source.clone(), changes, total: now.total };
    }
    let index = |set: &FileSet| -> BTreeMap<String, FileNote> {
        set.list.iter().map(|file| (file.0.clone(), file.clone())).collect()
    };
    let (before, after) = (index(then), index(now));
    // Files that are gone, by content: one that comes back elsewhere was renamed.
    let mut gone: BTreeMap<&str, Vec<&FileNote>> = BTreeMap::new();
    for file in before.values().rev().filter(|file| !after.contains_key(&file.0)) {
        gone.entry(&file.1).or_default().push(file);
    }
    for file in after.values() {
        let how = match before.get(&file.0) {
            Some(before) => differences(file, before),
            None => {
                let moved =
                    if file.1.starts_with('f') { gone.get_mut(file.1.as_str()).and_then(Vec::pop) } else { None };
                if let Some(moved) = moved {
                    let (path, from) = (file.0.clone(), Some(moved.0.clone()));
                    changes.push(FileChange { path, how: vec!["renamed".to_owned()], from });
                    continue;
                }
                vec!["added"]
            }
        };
        if !how.is_empty() {
            let how = how.into_iter().map(str::to_owned).collect();
            changes.push(FileChange { path: file.0.clone(), how, from: None });
        }
    }
    let removed = gone.into_values().flatten();
    changes.extend(removed.map(|file| FileChange {
        path: file.0.clone(),
        how: vec!["removed".to_owned()],
        from: None,
    }));
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    Difference::Files { source: now.source.clone(), changes, total: now.total }
}

fn differences(now: &FileNote, then: &FileNote) -> Vec<&'static str> {
    let mut found = Vec::new();
    if now.1 != then.1 {
        found.push(match (now.1.get(..1) == then.1.get(..1), now.1.get(..1)) {
            (false, _) => "type",
            (true, Some("l")) => "target",
            _ => "content",
        });
    }
    for (differs, name) in [(now.2 != then.2, "mode"), (now.3 != then.3, "owner"), (now.4 != then.4, "attributes")] {
        if differs {
            found.push(name);
        }
    }
    found
}
