//! The house's own rules, as far as a program can see them: which crate may know which, who may speak HTTP, draw, mount,
//! print or read the environment, where unsafe code may stand, and how long a file may grow. `docs/architecture.md` says
//! why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

const LIBRARIES: [&str; 4] = ["store", "registry-client", "runner", "builder"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Normal dependencies of each workspace crate, with the features asked for, from Cargo itself.
fn dependencies() -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let words = ["metadata", "--format-version", "1", "--no-deps", "--offline"];
    let out = Command::new(cargo).args(words).current_dir(root()).output().expect("cargo metadata");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let data: serde_json::Value = serde_json::from_slice(&out.stdout).expect("cargo metadata is JSON");
    let mut found = BTreeMap::new();
    for package in data["packages"].as_array().expect("packages") {
        let mut own: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let normal = package["dependencies"].as_array().expect("dependencies").iter().filter(|d| d["kind"].is_null());
        for dependency in normal {
            let features = dependency["features"].as_array().expect("features").iter();
            let features = features.map(|f| f.as_str().expect("a feature's name").to_owned());
            own.entry(dependency["name"].as_str().expect("a name").to_owned()).or_default().extend(features);
        }
        found.insert(package["name"].as_str().expect("a name").to_owned(), own);
    }
    assert_eq!(found.len(), 5, "the package img and four libraries: {:?}", found.keys());
    found
}

#[test]
fn the_arrows_between_the_crates() {
    let arrows = [
        ("store", &[][..]),
        ("registry-client", &[]),
        ("runner", &[]),
        ("builder", &["store"]),
        ("img", &["builder", "registry-client", "runner", "store"]),
    ];
    let all = dependencies();
    for (name, allowed) in arrows {
        let own: Vec<&str> =
            all[name].keys().map(String::as_str).filter(|d| LIBRARIES.contains(d) || *d == "img").collect();
        assert!(own.iter().all(|d| allowed.contains(d)), "{name} may depend on {allowed:?}, and depends on {own:?}");
    }
}

#[test]
fn who_may_use_what() {
    let rules: [(&[&str], &[&str]); 4] = [
        (&["reqwest", "hyper", "tokio", "rustls", "hickory-resolver", "ureq"], &["registry-client"]),
        (&["clap", "clap_complete", "clap_mangen", "indicatif"], &["img"]),
        (&["netlink-sys", "netlink-packet-core", "netlink-packet-route", "caps"], &["runner"]),
        (&["anyhow"], &[]),
    ];
    for (name, own) in dependencies() {
        for (crates, users) in rules {
            let used: Vec<_> = crates.iter().filter(|c| own.contains_key(**c)).collect();
            assert!(used.is_empty() || users.contains(&name.as_str()), "{name} uses {used:?}; only {users:?} may");
        }
        for library in ["rustix", "nix"] {
            let mounts = own.get(library).is_some_and(|features| features.contains("mount"));
            assert!(!mounts || name == "runner", "{name} asks {library} for mount calls; only runner mounts");
        }
    }
}

/// Rust sources below a folder, each with its text up to its unit tests.
fn sources(below: &str) -> Vec<(PathBuf, String)> {
    fn walk(at: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(at).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    walk(&root().join(below), &mut paths);
    assert!(!paths.is_empty(), "no sources below {below}");
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a source file");
            (path.strip_prefix(root()).expect("below the root").to_owned(), text)
        })
        .collect()
}

/// The code of a source: no comments, no unit tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// Files that are compiled for tests (or fuzzing) only.
fn is_test_only(path: &Path) -> bool {
    let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name == "tests" || name.ends_with("_tests") || path.iter().any(|part| part == "testing" || part == "tests")
}

fn offenders(folders: &[&str], signs: &[&str], excused: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in folders.iter().flat_map(|folder| sources(folder)) {
        let code = code(&text);
        let is_test_only = is_test_only(&path);
        for sign in signs.iter().filter(|sign| code.contains(**sign)) {
            if !is_test_only && !excused(&path) {
                found.push(format!("{}: {sign}", path.display()));
            }
        }
    }
    found
}

/// A second front beside `src`: the runner's OCI runtime is a binary of its own, so that it has none of what is not needed there
/// (clap for one: it parses its arguments itself). It prints and reads its environment as a front does.
fn is_front(path: &Path) -> bool {
    path.starts_with("runner/src/bin")
}

#[test]
fn libraries_read_no_environment() {
    let folders = ["store/src", "registry-client/src", "runner/src", "builder/src", "src/engine"];
    let found = offenders(&folders, &["env::var", "env::vars", "env::home_dir"], is_front);
    assert!(found.is_empty(), "only src/config.rs reads the environment:\n{}", found.join("\n"));
}

#[test]
fn libraries_and_the_engine_neither_print_nor_exit() {
    let folders = ["store/src", "registry-client/src", "runner/src", "builder/src", "src/engine"];
    // The runner passes the caller's descriptors on to a container; that is not printing.
    let signs = ["println!(", "print!(", "dbg!(", "process::exit", "std::io::stdout", "std::io::stderr"];
    let found = offenders(&folders, &signs, is_front);
    assert!(found.is_empty(), "only src/ui prints, and only main ends the process:\n{}", found.join("\n"));
}

#[test]
fn the_engine_writes_no_data_and_parses_no_arguments() {
    let signs = ["clap::", "indicatif", "crate::commands", "ui::out", "ui::table", "ui::template", "ui::progress"];
    let found = offenders(&["src/engine"], &signs, |_| false);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn store_and_builder_start_no_process_and_open_no_socket() {
    let signs = ["Command::new", "TcpStream", "UnixStream", "std::net::", "reqwest"];
    let found = offenders(&["store/src", "builder/src"], &signs, |_| false);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn unsafe_code_stands_in_sys_files_only() {
    let folders = ["src", "store/src", "registry-client/src", "runner/src", "builder/src"];
    let excused = |path: &Path| path.file_name().is_some_and(|name| name == "sys.rs");
    let found = offenders(&folders, &["unsafe {", "unsafe fn", "unsafe impl", "allow(unsafe_code)"], excused);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn files_are_short_and_open_with_what_they_are() {
    let folders = ["src", "store/src", "registry-client/src", "runner/src", "builder/src", "tests"];
    let mut found = Vec::new();
    for (path, text) in folders.iter().flat_map(|folder| sources(folder)) {
        let lines = text.lines().count();
        // A flat catalogue (system call numbers, capabilities) is no idea that could be split.
        let is_catalogue = path.file_stem().is_some_and(|name| name.to_string_lossy().contains("table"));
        if lines > 800 && !is_catalogue {
            found.push(format!("{}: {lines} lines, at most 800", path.display()));
        }
        // What the tests of one file check, that file says.
        if is_test_only(&path) && !path.starts_with("tests") {
            continue;
        }
        let first = text.lines().find(|line| !line.starts_with("#![")).unwrap_or_default();
        if !first.starts_with("//!") {
            found.push(format!("{}: does not open with a //! comment", path.display()));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// `docs/guarantees.md` names a proof for each promise; a renamed or removed test must not leave an empty promise there.
#[test]
fn each_guarantee_has_tests_that_exist() {
    let page = std::fs::read_to_string(root().join("docs/guarantees.md")).expect("docs/guarantees.md");
    let promises: Vec<&str> = page.split("\n## ").skip(1).collect();
    assert_eq!(promises.len(), 13, "thirteen guarantees");
    for promise in promises {
        let title = promise.lines().next().unwrap_or_default();
        let proofs: Vec<&str> =
            promise.lines().filter_map(|line| line.strip_prefix("* `")?.strip_suffix('`')).collect();
        assert!(!proofs.is_empty(), "no test proves '{title}'");
        for proof in proofs {
            let (file, test) = proof.split_once("::").unwrap_or_else(|| panic!("'{proof}' is no file::test"));
            let text = std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(text.contains(&format!("fn {test}(")), "'{title}': there is no {test} in {file}");
        }
    }
}
