//! `img volume create|ls|inspect|rm|prune`, and volumes in containers: what lasts, what is filled, what is refused.

use serde_json::Value;

use crate::support::Sandbox;

#[test]
fn made_listed_inspected_and_removed() {
    let sandbox = Sandbox::new();
    sandbox.img(&["volume", "create", "data", "--label", "team=a", "--label", "bare"]).ok().prints_exactly("data\n");
    let random = sandbox.ok(&["volume", "create"]);
    assert_eq!(random.len(), 64, "docker's habit: {random}");
    sandbox.img(&["volume", "ls"]).ok().prints(&["DRIVER", "VOLUME NAME", "local", "data"]);
    let mut names = [random.clone(), "data".to_owned()];
    names.sort();
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]).lines().collect::<Vec<_>>(), names);
    assert_eq!(sandbox.ok(&["volume", "ls", "--format", "{{.Name}}"]).lines().count(), 2);
    let shown: Value = serde_json::from_str(&sandbox.ok(&["volume", "inspect", "data"])).unwrap();
    assert_eq!((&shown[0]["Name"], &shown[0]["Labels"]["team"]), (&"data".into(), &"a".into()));
    assert!(std::path::Path::new(shown[0]["Mountpoint"].as_str().unwrap()).is_dir());
    sandbox.img(&["volume", "rm", "data", "nothere"]).refuses(1, &["nothere"]).prints(&["data"]);
    sandbox.img(&["volume", "rm", "-f", "nothere"]).ok();
    sandbox.img(&["volume", "inspect", "data"]).refuses(1, &["data"]);
    sandbox.img(&["volume", "create", "../x"]).refuses(1, &["../x"]);
}

#[test]
fn a_volume_outlives_its_containers_and_is_filled_from_the_image_once() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let run = |script: &str| {
        sandbox.ok(&["run", "--rm", "--network", "none", "-v", "data:/etc", "busybox", "sh", "-c", script])
    };
    assert_eq!(run("grep -c root /etc/passwd; echo mine > /etc/mine"), "1", "it begins with what the image has there");
    assert_eq!(run("cat /etc/mine; rm /etc/passwd"), "mine");
    assert_eq!(run("ls /etc/passwd 2>/dev/null || echo gone"), "gone", "it is filled only while it is new");
    sandbox
        .img(&["run", "--rm", "--network", "none", "-v", "data:/etc:ro", "busybox", "touch", "/etc/x"])
        .exits(1)
        .says(&["Read-only"]);
}

#[test]
fn one_in_use_stays() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.ok(&["create", "--name", "box", "--network", "none", "-v", "data:/data", "-v", "/anonymous", "busybox"]);
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]).lines().count(), 2);
    sandbox.img(&["volume", "rm", "data"]).refuses(1, &["data", "use"]);
    sandbox.img(&["volume", "prune", "--all", "--force"]).ok();
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]).lines().count(), 2, "both are in use");
    sandbox.ok(&["rm", "box"]);
    sandbox.img(&["volume", "prune"]).refuses(125, &["terminal"]).hints();
    sandbox.img(&["volume", "prune", "--force"]).ok();
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]), "data", "only anonymous ones go by themselves");
    sandbox.img(&["volume", "prune", "--all", "--force"]).ok().prints(&["data"]);
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]), "");
}

#[test]
fn rm_with_volumes_takes_the_anonymous_ones_along() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let make = || sandbox.ok(&["create", "--network", "none", "-v", "data:/data", "-v", "/anonymous", "busybox"]);
    sandbox.ok(&["rm", "-v", &make()]);
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]), "data");
    sandbox.ok(&["run", "--rm", "--network", "none", "-v", "/anonymous", "busybox", "true"]);
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]), "data", "--rm does so by itself");
}
