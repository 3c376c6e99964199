//! `img import` and `img export`: a root file system in and out as a plain tar.

use crate::support::{Sandbox, images, tools, tree};

#[test]
fn an_imported_tar_runs_and_exports_the_same_tree() {
    let sandbox = Sandbox::new();
    let archive = images::busybox_tar();
    let archive = archive.to_str().unwrap();
    let out =
        sandbox.img(&["import", "--change", "CMD [\"echo\", \"imported\"]", "--message", "by hand", archive, "mine:1"]);
    let id = out.ok().word();
    assert!(id.starts_with("sha256:"), "{out}");
    assert_eq!(sandbox.inspect("mine:1")["Id"], id.as_str());
    sandbox.img(&["run", "--rm", "--network", "none", "mine:1"]).ok().prints_exactly("imported\n");
    sandbox.img(&["history", "mine:1"]).ok().prints(&["by hand"]);
    tools::untar(&images::busybox_tar(), &sandbox.path("theirs"));
    tree::assert_same(
        &sandbox.flatten("mine:1", "ours"),
        &sandbox.path("theirs"),
        &["dev", "proc", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab"],
    );
}

#[test]
fn the_layer_of_a_plain_tar_is_that_tar() {
    let sandbox = Sandbox::new();
    let archive = images::busybox_tar();
    let archive = archive.to_str().unwrap();
    sandbox.ok(&["import", archive, "mine"]);
    let sum = tools::run("sha256sum", [archive]).word();
    let expected = format!("sha256:{}", sum.split(' ').next().unwrap());
    assert_eq!(sandbox.inspect("mine")["RootFS"]["Layers"][0], expected.as_str());
}

#[test]
fn from_standard_input_and_compressed() {
    let sandbox = Sandbox::new();
    let plain = std::fs::read(images::busybox_tar()).unwrap();
    sandbox.img_with_input(&["import", "-", "plain"], &plain).ok();
    let archive = sandbox.write("busybox.tar", &plain);
    for (tool, end) in [("gzip", "gz"), ("zstd", "zst")] {
        tools::run(tool, ["-q", "-k", &archive]);
        sandbox.ok(&["import", &format!("{archive}.{end}"), tool]);
        let layers = |name: &str| sandbox.inspect(name)["RootFS"]["Layers"].clone();
        assert_eq!(layers(tool), layers("plain"), "the same tar, however it was packed");
    }
}

#[test]
fn export_is_the_container_as_it_is_now() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.ok(&[
        "run",
        "--name",
        "box",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "rm /bin/vi; echo new > /etc/new; chmod 0711 /home; ln /etc/passwd /etc/p2",
    ]);
    let out = sandbox.img(&["export", "box"]);
    let archive = sandbox.write("box.tar", out.ok().bytes());
    tools::untar(std::path::Path::new(&archive), &sandbox.path("tree"));
    let tree = sandbox.path("tree");
    assert!(!tree.join("bin/vi").exists() && tree.join("bin/busybox").exists());
    assert_eq!(std::fs::read_to_string(tree.join("etc/new")).unwrap(), "new\n");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(tree.join("home")).unwrap().mode() & 0o7777, 0o711);
    assert_eq!(std::fs::metadata(tree.join("etc/p2")).unwrap().nlink(), 2);
    assert!(std::fs::read_dir(tree.join("proc")).unwrap().next().is_none(), "nothing of the kernel's");
    sandbox.img(&["export", "nobody"]).refuses(1, &["nobody", "no such container"]);
}

#[test]
fn bad_archives_are_refused_and_nothing_is_kept() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let before = sandbox.store_picture();
    sandbox.img_with_input(&["import", "-", "bad"], "no tar").refuses(1, &["import"]);
    let plain = std::fs::read(images::busybox_tar()).unwrap();
    sandbox.img_with_input(&["import", "-", "bad"], &plain[..plain.len() / 2]).refuses(1, &["import"]);
    sandbox.img(&["import", &sandbox.text("missing.tar"), "bad"]).refuses(1, &["missing.tar", "no such file"]);
    sandbox.img(&["import", "--change", "RUN x", &images::busybox_tar().to_string_lossy(), "bad"]).refuses(1, &["RUN"]);
    assert_eq!(sandbox.store_picture(), before);
}
