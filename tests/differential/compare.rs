//! Two images of one Buildfile: what differs, in lines. What is left out, and why:
//!
//! * times of what the build itself made (directories on the way to a destination, files of RUN): they are the clock's.
//!   Times that come from the context or an archive are compared;
//! * names that a container runtime puts into a root while a RUN runs;
//! * in the configuration: `created`, the container that classic builds name, and keys that say nothing (null, empty);
//! * in the history: times and comments; BuildKit's ending ` # buildkit`, and the shell and the arguments that it writes in
//!   front of a RUN; flags of COPY and ADD, which it leaves out; how it writes lists and ports; values of ARGs, which `img`
//!   keeps to itself (docs/buildfile.md, "History");
//! * where the peer builds a twin (another spelling): times, and the words of the history, but not its kinds and layers;
//! * steps that change nothing: BuildKit makes an empty layer, `img` none (docs/buildfile.md).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::image::{Entry, Image, links};

/// Names that a runtime makes in a root.
const OWN: [&str; 9] =
    ["dev", "proc", "sys", "run", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab", ".dockerenv"];
/// Times after this one are the clock's: 2024.
const CLOCK: i64 = 1_704_067_200;

/// The differences; `ours` and `theirs` are shown under those names.
/// `twin`: the peer built another spelling of it.
pub fn differences(ours: &Image, theirs: &Image, twin: bool) -> Vec<String> {
    let mut lines = Vec::new();
    tree(ours, theirs, twin, &mut lines);
    config(&ours.config, &theirs.config, &mut lines);
    history(ours, theirs, twin, &mut lines);
    lines
}

/// What differs in the flattened trees alone.
pub fn tree_differences(ours: &Image, theirs: &Image, twin: bool) -> Vec<String> {
    let mut lines = Vec::new();
    tree(ours, theirs, twin, &mut lines);
    lines
}

fn tree(ours: &Image, theirs: &Image, twin: bool, lines: &mut Vec<String>) {
    let (our_links, their_links) = (links(&ours.tree), links(&theirs.tree));
    for (path, left) in &ours.tree {
        let Some(right) = theirs.tree.get(path) else {
            if !OWN.contains(&path.as_str()) {
                lines.push(format!("{path}: only ours: {left:?}"));
            }
            continue;
        };
        if OWN.contains(&path.as_str()) {
            continue;
        }
        let times_differ = !twin && right.time < CLOCK && left.time != right.time;
        let strip = |entry: &Entry| Entry { time: 0, inode: 0, ..entry.clone() };
        if strip(left) != strip(right) || times_differ {
            lines.push(format!("{path}:\n      ours   {left:?}\n      theirs {right:?}"));
        }
        if our_links.get(path.as_str()) != their_links.get(path.as_str()) {
            let (left, right) = (our_links.get(path.as_str()), their_links.get(path.as_str()));
            lines.push(format!("{path}: hard link: ours {left:?}, theirs {right:?}"));
        }
    }
    for (path, right) in &theirs.tree {
        if !ours.tree.contains_key(path) && !OWN.contains(&path.as_str()) {
            lines.push(format!("{path}: only theirs: {right:?}"));
        }
    }
}

/// Drops what says nothing.
fn without_nothing(value: &Value) -> Value {
    let says = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    };
    match value {
        Value::Object(map) => {
            let kept = map.iter().map(|(key, value)| {
                // The sets in a configuration are objects whose values are empty.
                let is_set = matches!(key.as_str(), "Volumes" | "ExposedPorts");
                (key.clone(), if is_set { value.clone() } else { without_nothing(value) })
            });
            Value::Object(kept.filter(|(_, value)| says(value)).collect())
        }
        other => other.clone(),
    }
}

/// The configuration as far as it means something, in a fixed order.
fn meaning(config: &Value) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let empty = Map::new();
    let top = config.as_object().unwrap_or(&empty);
    for (key, value) in top {
        let skip = [
            "created",
            "history",
            "rootfs",
            "config",
            "container",
            "container_config",
            "docker_version",
            "id",
            "moby.buildkit.buildinfo.v1",
        ];
        if !skip.contains(&key.as_str()) {
            found.insert(key.clone(), without_nothing(value));
        }
    }
    for (key, value) in without_nothing(&config["config"]).as_object().unwrap_or(&empty) {
        if ![
            "Hostname",
            "Domainname",
            "Image",
            "AttachStdin",
            "AttachStdout",
            "AttachStderr",
            "Tty",
            "OpenStdin",
            "StdinOnce",
        ]
        .contains(&key.as_str())
        {
            found.insert(format!("config.{key}"), value.clone());
        }
    }
    found.retain(|_, value| !value.is_null() && *value != Value::String(String::new()));
    found
}

fn config(ours: &Value, theirs: &Value, lines: &mut Vec<String>) {
    let (left, right) = (meaning(ours), meaning(theirs));
    for key in left.keys().chain(right.keys().filter(|key| !left.contains_key(*key))) {
        if left.get(key) != right.get(key) {
            let show = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
            lines.push(format!("{key}: ours {}, theirs {}", show(left.get(key)), show(right.get(key))));
        }
    }
}

/// Entries as `(instruction, makes no layer)`.
fn entries(image: &Image) -> Vec<(String, bool)> {
    let list = image.config["history"].as_array().map(Vec::as_slice).unwrap_or_default();
    // What a runtime makes for its mounts is nothing.
    let nothing = |names: &Vec<String>| names.iter().all(|name| name == "etc" || OWN.contains(&name.as_str()));
    let mut layers = image.layers.iter().map(nothing);
    let mut entry = |entry: &Value| {
        let text = entry["created_by"].as_str().unwrap_or_default();
        // A layer with nothing in it is none.
        let none = entry["empty_layer"].as_bool().unwrap_or(false) || layers.next().unwrap_or(false);
        (instruction(text), none)
    };
    list.iter().map(&mut entry).collect()
}

/// What a RUN runs, without flags, arguments and the shell in front, lists as words.
fn command(text: &str) -> String {
    let mut text = text;
    while let Some(rest) = text.strip_prefix("--").and_then(|flag| flag.split_once(' ')) {
        text = rest.1;
    }
    if let Ok(words) = serde_json::from_str::<Vec<String>>(text) {
        return words.join(" ");
    }
    if text.starts_with('|') {
        text = text.split_once("/bin/sh -c ").map_or(text, |(_, command)| command);
    }
    let shells = ["/bin/sh -c ", "/bin/busybox ash -ec "];
    shells.iter().find_map(|shell| text.strip_prefix(shell)).unwrap_or(text).to_owned()
}

/// One line of history as both builders would write it.
fn instruction(text: &str) -> String {
    let text = text.trim_end_matches(" # buildkit").trim();
    let (keyword, rest) = text.split_once(' ').unwrap_or((text, ""));
    let rest = match keyword {
        // `RUN |2 A=1 B=2 /bin/sh -c command`
        "RUN" => command(rest),
        "COPY" | "ADD" => rest.split(' ').filter(|word| !word.starts_with("--")).collect::<Vec<_>>().join(" "),
        "CMD" | "ENTRYPOINT" | "SHELL" | "VOLUME" => rest.replace("\",\"", " ").replace('"', ""),
        "ARG" => {
            rest.split(' ').map(|word| word.split('=').next().unwrap_or_default()).next().unwrap_or_default().into()
        }
        // What these say is in the configuration.
        "EXPOSE" | "HEALTHCHECK" => String::new(),
        _ => rest.to_owned(),
    };
    format!("{keyword} {rest}").trim_end().to_owned()
}

fn history(ours: &Image, theirs: &Image, twin: bool, lines: &mut Vec<String>) {
    let (mut left, mut right) = (entries(ours), entries(theirs));
    if twin {
        // Another spelling of the same: as many layers, made by the same kinds of instructions.
        for list in [&mut left, &mut right] {
            list.iter_mut().for_each(|(text, _)| {
                text.truncate(text.find(' ').unwrap_or(text.len()));
                if matches!(text.as_str(), "ADD" | "COPY" | "RUN") {
                    *text = "a layer".to_owned();
                }
            });
            list.dedup();
        }
    }
    for list in [&mut left, &mut right] {
        for (text, empty) in list.iter_mut().filter(|(text, _)| text.starts_with("WORKDIR ")) {
            *empty = true;
            text.truncate(text.trim_end().len());
        }
    }
    if left != right {
        lines.push(format!("history:\n      ours   {left:?}\n      theirs {right:?}"));
    }
}
