//! `img cp` and `img diff`: files in and out of a container, running or not, and what it has changed.

use crate::support::{Sandbox, tools, tree};

fn container(sandbox: &Sandbox) -> String {
    sandbox.ok(&["create", "--name", "box", "--network", "none", "busybox", "sleep", "100"])
}

#[test]
fn a_file_and_a_tree_go_in_and_come_out_the_same() {
    let sandbox = Sandbox::new();
    container(&sandbox);
    sandbox.write("tree/a/file", "content\n");
    sandbox.write("tree/script", "#!/bin/sh\n");
    std::os::unix::fs::symlink("a/file", sandbox.path("tree/link")).unwrap();
    tools::run("chmod", ["0750", &sandbox.text("tree/script")]);
    tools::run("chown", ["7:8", &sandbox.text("tree/a/file")]);
    let source = sandbox.text("tree");
    for running in [false, true] {
        if running {
            sandbox.ok(&["start", "box"]);
        }
        let inside = format!("box:/in-{running}");
        sandbox.img(&["cp", "-a", &source, &inside]).ok();
        let back = sandbox.text(&format!("back-{running}"));
        sandbox.img(&["cp", "-a", &inside, &back]).ok();
        tree::assert_same(&sandbox.path("tree"), std::path::Path::new(&back), &[]);
    }
    sandbox.img(&["exec", "box", "cat", "/in-false/link"]).ok().prints_exactly("content\n");
}

#[test]
fn dockers_rules_for_where_it_lands() {
    let sandbox = Sandbox::new();
    container(&sandbox);
    let file = sandbox.write("file", "x\n");
    sandbox.write("tree/inner", "y\n");
    let tree = sandbox.text("tree");
    sandbox.ok(&["cp", &file, "box:/tmp"]);
    sandbox.ok(&["cp", &file, "box:/tmp/renamed"]);
    sandbox.ok(&["cp", &tree, "box:/tmp"]);
    sandbox.ok(&["cp", &format!("{tree}/."), "box:/tmp/contents"]);
    sandbox.img(&["cp", &file, "box:/no/such/folder/"]).refuses(1, &["/no/such/folder"]);
    sandbox.img(&["cp", "box:/nothing", &tree]).refuses(1, &["/nothing", "no such file"]);
    sandbox.img(&["cp", &file, "nobody:/x"]).refuses(1, &["nobody", "no such container"]);
    sandbox.ok(&["start", "box"]);
    let listed = sandbox.img(&["exec", "box", "sh", "-c", "cd /tmp; find . -type f | sort"]);
    listed.ok().prints_exactly("./contents/inner\n./file\n./renamed\n./tree/inner\n");
}

#[test]
fn a_tar_through_the_pipe() {
    let sandbox = Sandbox::new();
    container(&sandbox);
    let out = sandbox.img(&["cp", "box:/etc/passwd", "-"]);
    let archive = sandbox.write("out.tar", out.ok().bytes());
    tools::run("tar", ["-tf", &archive]).prints_exactly("passwd\n");
    sandbox.img_with_input(&["cp", "-", "box:/home"], out.bytes()).ok();
    sandbox.ok(&["start", "box"]);
    sandbox.img(&["exec", "box", "cmp", "/etc/passwd", "/home/passwd"]).ok();
}

#[test]
fn links_inside_never_lead_to_the_host() {
    let sandbox = Sandbox::new();
    let host = sandbox.write("host/secret", "host\n");
    let place = sandbox.text("host");
    let script =
        format!("ln -s {host} /leak; ln -s {place} /out; ln -s ../../../../../../../../{place} /up; sleep 100");
    sandbox.ok(&["run", "-d", "--name", "evil", "--network", "none", "busybox", "sh", "-c", &script]);
    sandbox.wait_until("the links are there", || sandbox.img(&["exec", "evil", "test", "-L", "/up"]).code() == 0);
    let file = sandbox.write("file", "x\n");
    for target in ["evil:/out/planted", "evil:/up/planted"] {
        let out = sandbox.img(&["cp", &file, target]);
        assert!(!sandbox.path("host/planted").exists(), "{target} was written on the host\n{out}");
    }
    let got = sandbox.text("got");
    sandbox.img(&["cp", "-L", "evil:/leak", &got]).exits(1);
    assert!(!sandbox.path("got").exists());
}

#[test]
fn diff_lists_added_changed_and_deleted() {
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
        "echo x > /new; rm /bin/vi; chmod 700 /home; mkdir /d; echo y > /d/f",
    ]);
    let out = sandbox.img(&["diff", "box"]);
    let mut lines: Vec<String> = out.ok().stdout().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["A /d", "A /d/f", "A /new", "C /bin", "C /home", "D /bin/vi"]);
    sandbox.ok(&["create", "--name", "fresh", "busybox"]);
    sandbox.img(&["diff", "fresh"]).ok().prints_exactly("");
    sandbox.img(&["diff", "nobody"]).refuses(1, &["nobody", "no such container"]);
}

#[test]
fn a_container_that_does_not_run_is_seen_with_what_it_mounts() {
    let sandbox = Sandbox::new();
    let host = sandbox.write("host/file", "of the host\n");
    let bind = format!("{}:/deep/er/host", sandbox.text("host"));
    let one = format!("{host}:/etc/one:ro");
    sandbox.pull("busybox");
    sandbox.ok(&["volume", "create", "-o", "size=8M", "sized"]);
    let flags = ["create", "--name", "box", "--network", "none", "--read-only"];
    let mounts = ["-v", "data:/data", "-v", "sized:/data/sized", "-v", &bind, "-v", &one];
    let image =
        ["--mount", "type=image,src=busybox,dst=/image", "busybox", "sh", "-c", "cat /data/new /data/sized/new"];
    sandbox.ok(&[&flags[..], &mounts, &image].concat());
    let file = sandbox.write("new", "copied\n");
    for started in [false, true] {
        for place in ["/data/new", "/data/sized/", "/deep/er/host"] {
            sandbox.img(&["cp", &file, &format!("box:{place}")]).ok();
        }
        assert_eq!(std::fs::read_to_string(sandbox.path("host/new")).unwrap(), "copied\n");
        std::fs::remove_file(sandbox.path("host/new")).unwrap();
        // The root and these mounts are read-only, as for its programs.
        for place in ["/etc/new", "/etc/one", "/image/new"] {
            sandbox.img(&["cp", &file, &format!("box:{place}")]).refuses(1, &["box:/", "read-only"]);
        }
        let back = sandbox.text(&format!("back-{started}"));
        sandbox.img(&["cp", "box:/data", &back]).ok();
        assert_eq!(std::fs::read_to_string(format!("{back}/sized/new")).unwrap(), "copied\n");
        sandbox.img(&["cp", "box:/image/bin/busybox", "-"]).ok();
        sandbox.img(&["cp", "box:/etc/one", "-"]).ok();
        // Nothing is left: no mount points in its layer, no file system on the host.
        sandbox.img(&["diff", "box"]).ok().prints_exactly("");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&format!("{}/volumes", sandbox.root().display())), "{mounts}");
        if !started {
            sandbox.img(&["start", "-a", "box"]).ok().prints_exactly("copied\ncopied\n");
        }
    }
    std::fs::rename(sandbox.path("host"), sandbox.path("elsewhere")).unwrap();
    sandbox.img(&["cp", &file, "box:/data"]).refuses(125, &["host", "no such file"]);
}
