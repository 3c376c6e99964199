use std::collections::BTreeMap;

use super::compare::compare;
use super::inputs::{FileNote, FileSet, Inputs};
use super::*;

fn file(path: &str, content: &str, mode: u32) -> FileNote {
    FileNote(path.to_owned(), format!("f{content}"), mode, (0, 0), String::new())
}

fn inputs(files: &[FileNote]) -> Inputs {
    let set = FileSet { source: None, total: files.len() as u64, list: files.to_vec() };
    let parts = BTreeMap::from([("below".to_owned(), "x".to_owned()), ("files".to_owned(), format!("{files:?}"))]);
    Inputs {
        instruction: "COPY src /src".to_owned(),
        parts,
        files: BTreeMap::from([("files".to_owned(), set)]),
        ..Inputs::default()
    }
}

#[test]
fn files_are_told_by_what_happened_to_them() {
    let then = inputs(&[file("a", "1", 0o644), file("b", "2", 0o644), file("c", "3", 0o644), file("old", "4", 0o644)]);
    let now = inputs(&[file("a", "9", 0o600), file("c", "3", 0o644), file("d", "5", 0o644), file("new", "4", 0o644)]);
    let reason = compare(&now, &then, None);
    let Reason::Changed { differences } = &reason else { panic!("{reason:?}") };
    let [Difference::Files { changes, total: 4, .. }] = differences.as_slice() else { panic!("{reason:?}") };
    let all: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(all, ["a (content, mode)", "b (removed)", "d (added)", "old renamed to new"]);
    assert_eq!(reason.to_string(), "a (content, mode), b (removed), d (added), and 1 more, 4 of 4 files");
}

#[test]
fn variables_are_named_and_their_values_are_not_kept() {
    let with = |env: &[&str]| {
        let env: Vec<String> = env.iter().map(|&entry| entry.to_owned()).collect();
        let variables = inputs::variables(&env, |name| name == "A");
        let parts = BTreeMap::from([("env".to_owned(), env.concat())]);
        Inputs { variables, parts, ..Inputs::default() }
    };
    let (then, now) = (with(&["A=1", "TOKEN=hunter2", "GONE=1"]), with(&["A=2", "TOKEN=hunter3", "NEW=1"]));
    let reason = compare(&now, &then, None);
    assert_eq!(reason.to_string(), "ENV A changed; ARG GONE removed; ARG NEW added; and 1 more");
    let kept = serde_json::to_string(&now.variables).unwrap() + &serde_json::to_string(&reason).unwrap();
    assert!(!kept.contains("hunter"), "{kept}");
}

#[test]
fn the_first_cause_is_named_and_own_changes_come_before_it() {
    let then = inputs(&[file("a", "1", 0o644)]);
    let mut now = inputs(&[file("a", "2", 0o644)]);
    now.parts.insert("below".to_owned(), "y".to_owned());
    let cause =
        Difference::Step { step: "COPY x /".to_owned(), line: 3, reason: "x (content), 1 of 1 file".to_owned() };
    let text = compare(&now, &then, Some(&cause)).to_string();
    assert_eq!(text, "a (content), 1 of 1 file; COPY x / (line 3) ran again: x (content), 1 of 1 file");
    let (mut now, mut then) = (then.clone(), then);
    now.parts.insert("below".to_owned(), "y".to_owned());
    now.base = Some(("busybox".to_owned(), "sha256:2222222222222222".to_owned()));
    then.base = Some(("busybox".to_owned(), "sha256:1111111111111111".to_owned()));
    let text = compare(&now, &then, None).to_string();
    assert_eq!(text, "base busybox moved from 111111111111 to 222222222222");
}

#[test]
fn a_reason_reads_back_from_json() {
    let reasons = [
        Reason::New,
        Reason::Evicted { when: Some(Timestamp::UNIX_EPOCH) },
        Reason::Changed { differences: vec![Difference::Instruction { before: "RUN a".to_owned() }] },
    ];
    for reason in reasons {
        let json = serde_json::to_string(&reason).unwrap();
        assert_eq!(serde_json::from_str::<Reason>(&json).unwrap(), reason, "{json}");
    }
}
