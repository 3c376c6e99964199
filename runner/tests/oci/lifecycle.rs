//! From create to delete: states, what is refused when, what survives, and what is left.

use std::path::Path;
use std::process::Stdio;

use serde_json::json;

use crate::fixture::{Lab, can_run, wait_until};

#[test]
fn a_container_goes_through_all_its_states() {
    if !can_run() {
        return;
    }
    let lab = Lab::new();
    lab.create("echo ran; exec sleep 1000", json!({"annotations": {"a": "b"}})).ok();
    let state = lab.state();
    assert_eq!(state["status"], "created");
    assert_eq!(state["annotations"], json!({"a": "b"}));
    assert_eq!(state["bundle"].as_str().unwrap(), lab.dir.path().to_str().unwrap());
    assert!(Path::new(&format!("/proc/{}", lab.pid())).exists());
    assert_eq!(lab.output(), "", "nothing runs before start");
    lab.create("true", json!({})).refuses("already exists");
    lab.start().ok();
    assert_eq!(lab.status(), "running");
    lab.start().refuses("already running");
    lab.call(&["delete", &lab.id]).refuses("not stopped");
    lab.call(&["pause", &lab.id]).ok();
    assert_eq!(lab.status(), "paused");
    lab.call(&["exec", &lab.id, "true"]).refuses("paused");
    lab.call(&["resume", &lab.id]).ok();
    lab.call(&["resume", &lab.id]).refuses("not paused");
    lab.call(&["kill", &lab.id, "KILL"]).ok();
    lab.wait_for("stopped");
    assert!(lab.output().ends_with("ran\n"), "{}", lab.output());
    assert_eq!(lab.state()["pid"], 0);
    lab.call(&["kill", &lab.id, "TERM"]).refuses("container not running");
    lab.call(&["kill", "--all", &lab.id, "TERM"]).ok();
    lab.start().refuses("stopped");
    lab.call(&["exec", &lab.id, "true"]).refuses("stopped");
    lab.call(&["delete", &lab.id]).ok();
    lab.call(&["state", &lab.id]).refuses("no such container");
    lab.call(&["delete", &lab.id]).refuses("no such container");
    lab.call(&["delete", "--force", &lab.id]).ok();
    assert_eq!(std::fs::read_dir(lab.path("state")).unwrap().count(), 0);
}

#[test]
fn what_was_made_is_taken_back_when_a_create_fails() {
    if !can_run() {
        return;
    }
    let lab = Lab::new();
    let path = format!("/img-runtime-test/{}", lab.id);
    lab.create("true", json!({"process": {"args": ["/nosuch"]}, "linux": {"cgroupsPath": path}}))
        .refuses("no such file or directory");
    assert_eq!(std::fs::read_dir(lab.path("state")).unwrap().count(), 0);
    let left: Vec<_> = groups(&path).into_iter().filter(|group| group.exists()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_group_of_somebody_else_outlives_what_fails() {
    if !can_run() {
        return;
    }
    let lab = Lab::new();
    let path = format!("/img-runtime-test/{}", lab.id);
    let made: Vec<_> = groups(&path).into_iter().filter(|group| std::fs::create_dir_all(group).is_ok()).collect();
    let mut other = std::process::Command::new("sleep");
    let mut other = other.arg("60").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let joined = made.iter().filter(|group| std::fs::write(group.join("cgroup.procs"), other.id().to_string()).is_ok());
    assert!(joined.count() > 0);
    let lives = |other: &mut std::process::Child| other.try_wait().unwrap().is_none();
    let inside = |path: &std::path::PathBuf| !std::fs::read_to_string(path.join("cgroup.procs")).unwrap().is_empty();
    let before: Vec<_> = made.iter().map(inside).collect();

    // It fails before the group is reached, and because of it.
    lab.create(
        "true",
        json!({"linux": {"cgroupsPath": path, "namespaces": [
        {"type": "mount"}, {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network", "path": "/nosuch"}]}}),
    )
    .refuses("/nosuch");
    lab.create("true", json!({"linux": {"cgroupsPath": path}})).refuses("in use");
    // Killed before it had made the group: what is left is a record without a process.
    lab.create("exec sleep 1000", json!({})).ok();
    let state = lab.path("state").join(&lab.id).join("state.json");
    let mut record: serde_json::Value = serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();
    let own = record["cgroup"].as_str().unwrap().to_owned();
    let pid = lab.pid();
    (record["process"], record["cgroup"], record["made"]) = (json!(null), json!(path), json!(false));
    std::fs::write(&state, record.to_string()).unwrap();
    lab.call(&["kill", "--all", &lab.id, "KILL"]);
    lab.call(&["delete", "--force", &lab.id]).ok();

    assert!(lives(&mut other));
    assert_eq!(made.iter().map(inside).collect::<Vec<_>>(), before);
    other.kill().unwrap();
    other.wait().unwrap();
    made.iter().for_each(|group| std::fs::remove_dir(group).unwrap());
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid as i32).unwrap(), rustix::process::Signal::KILL)
        .unwrap();
    let own = groups(&own);
    wait_until("the container's groups are gone", || {
        own.iter().filter(|group| group.exists()).all(|group| std::fs::remove_dir(group).is_ok())
    });
}

#[test]
fn groups_lie_where_the_configuration_says_and_go_with_the_container() {
    if !can_run() {
        return;
    }
    let lab = Lab::new();
    let path = format!("/img-runtime-test/{}", lab.id);
    lab.create("exec sleep 1000", json!({"linux": {"cgroupsPath": path, "resources": {"pids": {"limit": 17}}}})).ok();
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", lab.pid())).unwrap();
    assert!(text.lines().any(|line| line.ends_with(&path)), "{text}");
    let limit = groups(&path).into_iter().find_map(|group| std::fs::read_to_string(group.join("pids.max")).ok());
    assert_eq!(limit.as_deref(), Some("17\n"));
    lab.call(&["update", "--pids-limit", "19", &lab.id]).ok();
    let limit = groups(&path).into_iter().find_map(|group| std::fs::read_to_string(group.join("pids.max")).ok());
    assert_eq!(limit.as_deref(), Some("19\n"));
    lab.call(&["delete", "--force", &lab.id]).ok();
    assert!(groups(&path).iter().all(|group| !group.exists()));
    lab.call(&["--systemd-cgroup", "create", "--bundle", lab.dir.path().to_str().unwrap(), &lab.id])
        .refuses("cgroupfs");
}

fn groups(path: &str) -> Vec<std::path::PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let groups = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (place, kind) = (fields.next()?, fields.next()?);
        kind.starts_with("cgroup").then(|| Path::new(place).join(path.trim_start_matches('/')))
    });
    groups.collect()
}

#[test]
fn the_waiting_child_is_sealed_and_holds_nothing_of_the_host() {
    if !can_run() {
        return;
    }
    use std::os::unix::fs::MetadataExt;
    let lab = Lab::new();
    lab.create("exec sleep 1000", json!({"process": {"user": {"uid": 1000, "gid": 1000}}})).ok();
    let process = format!("/proc/{}", lab.pid());
    // What belongs to a process that is not dumpable belongs to root (proc(5)).
    let owner = || std::fs::metadata(format!("{process}/environ")).unwrap().uid();
    assert_eq!(owner(), 0, "the waiting child can be looked into by its user");
    let open: Vec<String> = std::fs::read_dir(format!("{process}/fd"))
        .unwrap()
        .map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap().display().to_string())
        .collect();
    let known = |path: &String| {
        path == "/dev/null"
            || path == "/"
            || path.ends_with("/out")
            || path.ends_with("/start")
            || path.ends_with("/failures")
    };
    assert!(open.len() <= 6 && open.iter().all(known), "{open:?}");
    lab.start().ok();
    assert_eq!(owner(), 1000, "the program has all that is its own");
    let open = std::fs::read_dir(format!("{process}/fd")).unwrap().count();
    assert_eq!(open, 3);
}

#[test]
fn a_killed_create_leaves_what_delete_removes() {
    if !can_run() {
        return;
    }
    let lab = Lab::new();
    // The hook holds the creation up; the runtime is killed meanwhile.
    let script = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", lab.path("there").display());
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]);
    lab.config("true", json!({"hooks": {"createRuntime": hook}}));
    let mut create = lab.command(&["create", "--bundle", lab.dir.path().to_str().unwrap(), &lab.id]).spawn().unwrap();
    wait_until("the hook", || lab.path("there").exists());
    create.kill().unwrap();
    create.wait().unwrap();
    let hook = std::fs::read_to_string(lab.path("there")).unwrap().trim().parse().unwrap();
    let hook = rustix::process::Pid::from_raw(hook).unwrap();
    rustix::process::kill_process(hook, rustix::process::Signal::KILL).unwrap();
    assert_eq!(lab.status(), "creating");
    lab.call(&["delete", "--force", &lab.id]).ok();
    assert_eq!(std::fs::read_dir(lab.path("state")).unwrap().count(), 0);
}

#[test]
fn the_log_has_the_error_as_engines_read_it() {
    if !can_run() {
        return;
    }
    let lab = Lab::new();
    let said = lab.create("true", json!({"process": {"args": ["nosuch"]}}));
    assert_eq!(said.code, 1);
    let line: serde_json::Value = serde_json::from_str(said.err.lines().last().unwrap()).unwrap();
    assert_eq!(line["level"], "error");
    assert!(line["msg"].as_str().unwrap().contains("executable file not found in $PATH"), "{line}");
    assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");
    assert!(said.out.contains("executable file not found"), "standard error has it too: {}", said.out);
}

#[test]
fn lists_and_figures_have_their_shapes() {
    if !can_run() {
        return;
    }
    let lab = Lab::new();
    assert_eq!(lab.call(&["list", "--format", "json"]).ok(), "null\n");
    lab.create("exec sleep 1000", json!({"linux": {"resources": {"memory": {"limit": 67_108_864}}}})).ok();
    lab.start().ok();
    assert_eq!(lab.call(&["list", "-q"]).ok(), format!("{}\n", lab.id));
    let table = lab.call(&["list"]).ok();
    assert!(table.starts_with("ID ") && table.contains(" running ") && table.contains("root"), "{table}");
    let list = lab.call(&["list", "--format", "json"]).json();
    assert_eq!((list[0]["id"].as_str().unwrap(), &list[0]["owner"]), (lab.id.as_str(), &json!("root")));
    assert_eq!(lab.call(&["ps", "--format", "json", &lab.id]).json(), json!([lab.pid()]));
    let table = lab.call(&["ps", &lab.id]).ok();
    assert!(table.contains("sleep 1000") && table.lines().count() == 2, "{table}");
    let stats = lab.call(&["events", "--stats", &lab.id]).json();
    assert_eq!(stats["type"], "stats");
    assert_eq!(stats["data"]["memory"]["usage"]["limit"], 67_108_864);
    assert_eq!(stats["data"]["pids"]["current"], 1);
    assert!(stats["data"]["cpu"]["usage"]["total"].as_u64().unwrap() > 0);
    let features = lab.call(&["features"]).json();
    assert_eq!(features["linux"]["cgroup"]["systemd"], false);
    assert!(features["mountOptions"].as_array().unwrap().contains(&json!("rro")));
    lab.call(&["checkpoint", &lab.id]).refuses("not supported");
}

#[test]
fn an_event_tells_of_memory_that_ran_out() {
    if !can_run() {
        return;
    }
    let lab = Lab::new();
    // Again and again: on a busy machine the first may be over before somebody listens.
    let eat = "while :; do (head -c 60000000 /dev/zero | tail -c 50000000 > /dev/null); sleep 0.1; done";
    lab.create(eat, json!({"linux": {"resources": {"memory": {"limit": 16_000_000, "swap": 16_000_000}}}})).ok();
    let mut events = lab.command(&["events", "--interval", "1h", &lab.id]);
    let mut events = events.stdout(Stdio::piped()).spawn().unwrap();
    lab.start().ok();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(events.stdout.take().unwrap()), &mut line).unwrap();
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(event, json!({"type": "oom", "id": lab.id}));
    lab.call(&["delete", "--force", &lab.id]).ok();
    assert!(events.wait().unwrap().success(), "the stream ends with the container");
}
