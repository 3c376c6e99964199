//! The plan of the house, asserted: who may depend on whom, and who may use what. docs/architecture.md draws it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Our crates and those of ours that they may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("img", &["builder", "registry-client", "runner", "store"]),
    ("builder", &["store"]),
    ("store", &[]),
    ("runner", &[]),
    ("registry-client", &[]),
];

/// Crates of others that only some of ours may use.
const RESERVED: &[(&str, &[&str])] = &[
    ("reqwest", &["registry-client"]),
    ("tokio", &["registry-client"]),
    ("clap", &["img"]),
    ("indicatif", &["img"]),
    ("nix", &["runner", "img"]),
];

/// Words in the source that only some crates may use: mounting is the runner's, printing and exiting nobody's but the
/// front's.
const WORDS: &[(&str, &[&str])] = &[
    ("fsmount(", &["runner"]),
    ("move_mount(", &["runner"]),
    ("open_tree(", &["runner"]),
    ("mount::mount(", &["runner"]),
    ("env::var", &["img"]),
    ("println!", &[]),
    ("eprintln!", &[]),
    ("process::exit", &["runner"]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// For each crate of the workspace: the crates it names under `[dependencies]`.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| {
            let names = package["dependencies"].as_array().unwrap().iter();
            let names = names.filter(|dependency| dependency["kind"].is_null());
            let names = names.map(|dependency| dependency["name"].as_str().unwrap().to_owned());
            (package["name"].as_str().unwrap().to_owned(), names.collect())
        })
        .collect()
}

#[test]
fn the_arrows_are_the_only_ones() {
    let dependencies = dependencies();
    let ours: BTreeSet<&str> = ARROWS.iter().map(|arrow| arrow.0).collect();
    assert_eq!(dependencies.keys().map(String::as_str).collect::<BTreeSet<_>>(), ours);
    for (name, allowed) in ARROWS {
        for dependency in dependencies[*name].iter().filter(|dependency| ours.contains(dependency.as_str())) {
            assert!(allowed.contains(&dependency.as_str()), "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn libraries_stay_in_their_rooms() {
    for (name, used) in dependencies() {
        for (library, rooms) in RESERVED {
            assert!(!used.contains(*library) || rooms.contains(&name.as_str()), "{name} must not use {library}");
        }
    }
}

#[test]
fn words_stay_in_their_rooms() {
    for (name, _) in ARROWS {
        let folder = if *name == "img" { root().join("src") } else { root().join(name).join("src") };
        for file in sources(&folder) {
            let text = std::fs::read_to_string(&file).unwrap();
            // Tests, which stand last in a file, may print and mount.
            let code = text.split("#[cfg(test)]").next().unwrap();
            for (number, line) in code.lines().enumerate() {
                let line = line.split("//").next().unwrap();
                for (word, rooms) in WORDS {
                    let used = line.contains(word) && !rooms.contains(name);
                    assert!(!used, "{}:{}: {name} must not use `{word}`", file.display(), number + 1);
                }
            }
        }
    }
}

#[test]
fn unsafe_stays_in_sys() {
    for (name, _) in ARROWS {
        let folder = if *name == "img" { root().join("src") } else { root().join(name).join("src") };
        for file in sources(&folder) {
            let text = std::fs::read_to_string(&file).unwrap();
            let allows = text.contains("allow(unsafe_code)");
            assert!(!allows || file.ends_with("sys.rs"), "{} must not allow unsafe code", file.display());
        }
    }
}

#[test]
fn a_file_is_one_idea() {
    for folder in ["src", "store/src", "runner/src", "builder/src", "registry-client/src"] {
        for file in sources(&root().join(folder)) {
            let lines = std::fs::read_to_string(&file).unwrap().lines().count();
            assert!(lines <= 800, "{} has {lines} lines: split it by idea", file.display());
        }
    }
}

/// All Rust files below `folder` that are not tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "tests") {
                files.extend(sources(&path));
            }
        } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
    files
}
