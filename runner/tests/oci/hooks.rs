//! Hooks: all six kinds in their order, in their namespaces, with the state; and what a failing one does.

use serde_json::{Value, json};

use crate::fixture::{Lab, can_run};

/// A hook that appends its kind, the status in the state and where it runs to a file.
fn hook(lab: &Lab, kind: &str) -> Value {
    let file = lab.path("hooks");
    // In the container its own file, where the test does not look; it prints to the program's output instead.
    let script = format!(
        "state=$(cat); s=${{state#*'\"status\":\"'}}; echo {kind} ${{s%%'\"'*}} $(readlink /proc/self/ns/mnt) >> {}",
        file.display()
    );
    json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"], "timeout": 10}])
}

#[test]
fn hooks_run_in_their_order_and_places() {
    if !can_run() {
        return;
    }
    let lab = Lab::new();
    // startContainer finds the file by the same path in the container.
    let folder = lab.dir.path().to_str().unwrap().to_owned();
    let hooks: serde_json::Map<String, Value> =
        ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
            .into_iter()
            .map(|kind| (kind.to_owned(), hook(&lab, kind)))
            .collect();
    let mount = json!([{"destination": folder, "source": folder, "type": "bind", "options": ["bind"]}]);
    let script = format!("echo program >> {}; readlink /proc/self/ns/mnt", lab.path("hooks").display());
    let inside = lab.run(&script, json!({"hooks": hooks, "+mounts": mount})).ok();
    let here = std::fs::read_link("/proc/self/ns/mnt").unwrap().display().to_string();
    let text = std::fs::read_to_string(lab.path("hooks")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let (inside, here) = (inside.trim(), here.as_str());
    let expected = [
        format!("prestart creating {here}"),
        format!("createRuntime creating {here}"),
        format!("createContainer creating {inside}"),
        format!("startContainer created {inside}"),
        "program".to_owned(),
        format!("poststart running {here}"),
        format!("poststop stopped {here}"),
    ];
    // The program and the poststart hooks run at the same time.
    let mut sorted = lines.clone();
    if sorted.get(4).is_some_and(|line| line.starts_with("poststart")) {
        sorted.swap(4, 5);
    }
    assert_eq!(sorted, expected);
}

#[test]
fn create_hooks_see_the_mounts_below_the_bundle() {
    if !can_run() {
        return;
    }
    let lab = Lab::new();
    let root = lab.path("rootfs");
    let script =
        format!("mkdir -p {0}/mnt/made && mount -t tmpfs hook {0}/mnt/made && test -e {0}/proc/self", root.display());
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]);
    let said = lab.run("grep -c ' /mnt/made ' /proc/mounts", json!({"hooks": {"createContainer": hook}}));
    assert_eq!(said.ok(), "1\n");
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains("/mnt/made"), "it is the container's alone");
}

#[test]
fn a_failing_hook_ends_the_container_and_is_named() {
    if !can_run() {
        return;
    }
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"] {
        let lab = Lab::new();
        let hooks = json!({kind: [{"path": "/bin/sh", "args": ["sh", "-c", "echo broken >&2; exit 3"]}]});
        let said = lab.run("sleep 1000", json!({"hooks": hooks}));
        assert_eq!(said.code, 1, "{kind}: {said:?}");
        said.refuses(&format!("error running {kind} hook #0 /bin/sh: exit status 3: broken"));
        assert_eq!(std::fs::read_dir(lab.path("state")).unwrap().count(), 0, "{kind}");
    }
}

#[test]
fn a_failing_poststop_hook_is_told_and_the_next_one_runs() {
    if !can_run() {
        return;
    }
    let lab = Lab::new();
    let touch = format!("touch {}", lab.path("second").display());
    let hooks = json!({"poststop": [
        {"path": "/bin/false"}, {"path": "/bin/sh", "args": ["sh", "-c", touch], "env": ["PATH=/bin:/usr/bin"]}]});
    let said = lab.run("true", json!({"hooks": hooks}));
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("warning") && said.err.contains("poststop"), "{said:?}");
    assert!(lab.path("second").exists());
}

#[test]
fn a_hook_that_takes_too_long_is_killed() {
    if !can_run() {
        return;
    }
    let lab = Lab::new();
    let hooks = json!({"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}]});
    lab.run("true", json!({"hooks": hooks})).refuses("timed out after 1 s");
}
