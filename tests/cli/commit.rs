//! `img commit`: a container's changes become a layer, and its settings the new image's.

use crate::support::Sandbox;

#[test]
fn changes_become_one_layer_over_the_image() {
    let sandbox = Sandbox::new();
    sandbox.pull("odd");
    sandbox.ok(&[
        "run",
        "--name",
        "box",
        "-u",
        "0",
        "--network",
        "none",
        "odd",
        "sh",
        "-c",
        "echo new > new; rm plain; rm -r dir; mkdir dir; echo again > dir/again; chmod 0700 sticky",
    ]);
    let out = sandbox.img(&["commit", "--author", "Ann", "--message", "by hand", "box", "made:1"]);
    assert!(out.ok().word().starts_with("sha256:"), "{out}");
    let (base, made) = (sandbox.inspect("odd"), sandbox.inspect("made:1"));
    assert_eq!(made["Author"], "Ann");
    let (base, made) = (base["RootFS"]["Layers"].as_array().unwrap(), made["RootFS"]["Layers"].as_array().unwrap());
    assert_eq!((&made[..base.len()], made.len()), (&base[..], base.len() + 1));
    let run = |script: &str| {
        sandbox.img(&["run", "--rm", "-u", "0", "--network", "none", "made:1", "sh", "-c", script]).ok().stdout()
    };
    assert_eq!(
        run("cat new; ls dir; test -e plain || echo gone; stat -c %a sticky; cat hard"),
        "new\nagain\ngone\n700\nplain\n"
    );
    sandbox.img(&["history", "made:1"]).ok().prints(&["by hand"]);
}

#[test]
fn settings_are_the_containers_with_changes_on_top() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "--name", "box", "-e", "A=1", "-w", "/tmp", "--label", "l=1", "busybox", "echo", "cmd"]);
    sandbox.ok(&[
        "commit",
        "--change",
        "ENV B=2",
        "--change",
        "EXPOSE 8080",
        "--change",
        "CMD [\"env\"]",
        "box",
        "made",
    ]);
    let config = sandbox.inspect("made")["Config"].clone();
    let env = config["Env"].to_string();
    assert!(env.contains("A=1") && env.contains("B=2"), "{env}");
    assert_eq!((&config["WorkingDir"], &config["Labels"]["l"]), (&"/tmp".into(), &"1".into()));
    assert!(config["ExposedPorts"]["8080/tcp"].is_object());
    assert_eq!(config["Cmd"], serde_json::json!(["env"]));
}

#[test]
fn committing_twice_gives_the_same_layer() {
    let sandbox = Sandbox::new();
    sandbox.ok(&[
        "run",
        "--name",
        "box",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "for n in 1 2 3 4 5 6 7 8 9; do echo $n > /$n; done",
    ]);
    sandbox.ok(&["commit", "box", "one"]);
    sandbox.ok(&["commit", "box", "two"]);
    assert_eq!(sandbox.inspect("one")["RootFS"], sandbox.inspect("two")["RootFS"]);
}

#[test]
fn a_running_container_is_committed_and_goes_on() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(&["run", "-d", "--network", "none", "busybox", "sh", "-c", "echo x > /x; sleep 100"]);
    sandbox.wait_until("the file is there", || sandbox.img(&["exec", &id, "test", "-e", "/x"]).code() == 0);
    sandbox.ok(&["commit", &id, "live"]);
    assert_eq!(sandbox.inspect(&id)["State"]["Running"], true);
    sandbox.img(&["run", "--rm", "--network", "none", "live", "cat", "/x"]).ok().prints_exactly("x\n");
    sandbox.img(&["commit", "nobody", "x"]).refuses(1, &["nobody", "no such container"]);
}

#[test]
fn places_of_mounts_become_volumes_of_the_image_if_asked() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["volume", "create", "named"]);
    std::fs::create_dir(sandbox.path("dir")).unwrap();
    let bind = format!("{}:/bind", sandbox.text("dir"));
    let mounts = ["-v", "named:/named", "-v", "/own", "-v", &bind, "--mount", "type=tmpfs,dst=/memory"];
    sandbox
        .ok(&[&["run", "--name", "box", "--network", "none"][..], &mounts, &["busybox", "touch", "/own/x"]].concat());
    sandbox.ok(&["commit", "box", "plain"]);
    sandbox.ok(&["commit", "--include-volumes", "box", "all"]);
    let volumes = |image: &str| sandbox.inspect(image)["Config"]["Volumes"].clone();
    // As docker has it without the flag, and podman with it.
    assert_eq!(volumes("plain"), serde_json::json!({ "/own": {} }));
    assert_eq!(volumes("all"), serde_json::json!({ "/bind": {}, "/memory": {}, "/named": {}, "/own": {} }));
    sandbox.img(&["run", "--rm", "--network", "none", "all", "ls", "/own"]).ok().prints_exactly("");
}
