//! `img save` and `img load`: archives that docker, podman and skopeo made or read, with the image id kept.

use crate::support::{Sandbox, images, tools, tree};

#[test]
fn a_saved_image_comes_back_the_same() {
    let sandbox = Sandbox::new();
    sandbox.pull("odd");
    let id = sandbox.inspect("odd")["Id"].clone();
    let archive = sandbox.text("odd.tar");
    sandbox.img(&["save", "--output", &archive, "odd"]).ok().prints_exactly("");
    let other = sandbox.sibling();
    other.img(&["load", "--input", &archive]).ok().prints(&["Loaded image: odd:latest"]);
    assert_eq!(other.inspect("odd")["Id"], id);
    let (left, right) = (sandbox.flatten("odd", "left"), other.flatten("odd", "right"));
    tree::assert_same(&left, &right, &[]);
}

#[test]
fn by_pipe_and_several_at_once() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.pull("odd");
    sandbox.ok(&["tag", "busybox", "second:2"]);
    let archive = sandbox.img(&["save", "busybox", "odd", "second:2"]);
    let other = sandbox.sibling();
    let loaded = other.img_with_input(&["load"], archive.ok().bytes());
    loaded.ok().prints(&["Loaded image: busybox:latest", "Loaded image: odd:latest", "Loaded image: second:2"]);
    assert_eq!(other.img(&["images", "-q"]).ok().stdout().lines().count(), 3);
}

#[test]
fn saving_twice_gives_the_same_bytes() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let (first, second) = (sandbox.img(&["save", "busybox"]), sandbox.img(&["save", "busybox"]));
    assert!(first.ok().bytes() == second.ok().bytes(), "two archives of one image differ");
}

#[test]
fn an_archive_is_not_written_to_a_terminal() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let mut terminal = sandbox.terminal(&["save", "busybox"]);
    let (code, screen) = terminal.finish();
    assert_eq!(code, 1, "{screen}");
    assert!(screen.contains("terminal") && screen.len() < 2000, "{screen}");
}

#[test]
fn loads_what_skopeo_wrote_in_both_formats() {
    let sandbox = Sandbox::new();
    let from = format!("oci:{}:latest", images::layout("odd").display());
    for kind in ["docker-archive", "oci-archive"] {
        let archive = sandbox.text(&format!("{kind}.tar"));
        let to = format!("{kind}:{archive}:made/by-skopeo:{kind}");
        tools::run("skopeo", ["copy", "--quiet", &from, &to]);
        sandbox.img(&["load", "-i", &archive]).ok().prints(&["Loaded image", "made/by-skopeo"]);
        sandbox.img(&["rmi", "--force", &format!("made/by-skopeo:{kind}")]).ok();
    }
}

#[test]
fn loads_a_compressed_archive() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let archive = sandbox.text("busybox.tar");
    sandbox.ok(&["save", "-o", &archive, "busybox"]);
    for (tool, end) in [("gzip", "gz"), ("zstd", "zst")] {
        let other = sandbox.sibling();
        let words: &[&str] = if tool == "gzip" { &["--keep", &archive] } else { &["--quiet", "--keep", &archive] };
        tools::run(tool, words);
        other.img(&["load", "-i", &format!("{archive}.{end}")]).ok();
        other.img(&["run", "--rm", "--network", "none", "busybox", "true"]).ok();
    }
}

#[test]
fn what_is_no_archive_is_refused_and_nothing_is_kept() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let before = sandbox.store_picture();
    let good = sandbox.img(&["save", "busybox"]);
    let good = good.ok().bytes();
    sandbox.img_with_input(&["load"], "not a tar at all").refuses(1, &["load"]);
    sandbox.img_with_input(&["load"], "").refuses(1, &["load"]);
    sandbox.img_with_input(&["load"], &good[..good.len() / 2]).refuses(1, &["load"]);
    let other = sandbox.sibling();
    let mut damaged = good.to_vec();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    other.img_with_input(&["load"], &damaged).refuses(1, &["sha256"]);
    assert_eq!(other.ok(&["images", "-q"]), "");
    assert_eq!(sandbox.store_picture(), before);
    sandbox.img(&["load", "-i", &sandbox.text("missing.tar")]).refuses(1, &["missing.tar", "no such file"]);
}

#[test]
fn a_layout_directory_goes_out_and_comes_in() {
    let sandbox = Sandbox::new();
    sandbox.pull("odd");
    let directory = sandbox.text("layout");
    sandbox.img(&["save", "--format", "oci-dir", "-o", &directory, "odd"]).ok();
    tools::run("skopeo", ["inspect", &format!("oci:{directory}:latest")]).prints(&["Layers"]);
    let other = sandbox.sibling();
    other.img(&["load", "-i", &directory]).ok().prints(&["Loaded image: odd:latest"]);
    assert_eq!(other.inspect("odd")["Id"], sandbox.inspect("odd")["Id"]);
    // What others made: names are bare tags there.
    let made = images::layout("busybox").display().to_string();
    other.img(&["load", "-i", &made]).ok().prints(&["Loaded image ID: sha256:"]);
    // Never over something, and never half.
    sandbox.img(&["save", "--format", "oci-dir", "-o", &directory, "odd"]).refuses(1, &["is there already"]).hints();
    sandbox.img(&["save", "--format", "oci-dir", "odd"]).refuses(125, &["standard output"]);
    sandbox.img(&["load", "-i", &sandbox.text("home")]).refuses(1, &["without index.json"]).hints();
    let left: Vec<_> = std::fs::read_dir(sandbox.path("")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".part")), "{left:?}");
}

#[test]
fn loads_what_dockers_before_manifests_wrote() {
    let sandbox = Sandbox::new();
    let archive = sandbox.text("old.tar");
    let from = format!("oci:{}:latest", images::layout("odd").display());
    // skopeo writes the old form beside the new one: the new one is taken away. Its layer.tar are links to the tars.
    tools::run("skopeo", ["copy", "--quiet", &from, &format!("docker-archive:{archive}:made/old:1")]);
    let manifest = tools::run("tar", ["-xOf", &archive, "manifest.json"]).json();
    let config = manifest[0]["Config"].as_str().unwrap().to_owned();
    let parts = sandbox.text("parts");
    std::fs::create_dir(&parts).unwrap();
    tools::run("tar", ["-xf", &archive, "-C", &parts]);
    let pack = |without: &[&str]| {
        let left_out = without.iter().map(|name| format!("--exclude={name}"));
        let words = ["-cf", &archive, "-C", &parts].map(str::to_owned).into_iter().chain(left_out);
        tools::run("tar", words.chain([".".to_owned()]));
    };
    pack(&["manifest.json", &config]);
    sandbox.img(&["load", "-i", &archive]).ok().prints_exactly("Loaded image: made/old:1\n");
    sandbox.pull("odd");
    let (old, new) = (sandbox.inspect("made/old:1"), sandbox.inspect("odd"));
    assert_eq!(old["RootFS"], new["RootFS"]);
    assert_eq!(old["Config"]["Cmd"], new["Config"]["Cmd"]);
    assert_eq!(old["Config"]["Labels"], new["Config"]["Labels"]);
    tree::assert_same(&sandbox.flatten("made/old:1", "old"), &sandbox.flatten("odd", "new"), &[]);

    // Without names: the layer that is nobody's parent.
    pack(&["manifest.json", &config, "repositories"]);
    let id = old["Id"].as_str().unwrap();
    sandbox.img(&["load", "-i", &archive]).ok().prints_exactly(&format!("Loaded image ID: {id}\n"));
}

#[test]
fn links_of_an_old_archive_lead_nowhere_outside() {
    let sandbox = Sandbox::new();
    let secret = sandbox.text("secret.tar");
    tools::run("tar", ["-cf", &secret, "-C", "/etc", "hostname"]);
    let up = "../".repeat(20);
    for (name, target) in
        [("absolute", secret.clone()), ("climbing", format!("{up}{secret}")), ("itself", "layer.tar".into())]
    {
        let folder = sandbox.path(name).join("aa");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("json"), r#"{"id":"aa"}"#).unwrap();
        std::os::unix::fs::symlink(&target, folder.join("layer.tar")).unwrap();
        let archive = sandbox.text(&format!("{name}.tar"));
        tools::run("tar", ["-cf", &archive, "-C", &sandbox.text(name), "aa"]);
        sandbox.img(&["load", "-i", &archive]).refuses(1, &["the archive"]);
    }
    // Layers that are their own parents.
    let circle = sandbox.text("circle");
    for (id, parent) in [("aa", "bb"), ("bb", "aa")] {
        sandbox.write(&format!("circle/{id}/json"), format!(r#"{{"id":"{id}","parent":"{parent}"}}"#));
        std::fs::copy(&secret, sandbox.path(format!("circle/{id}/layer.tar"))).unwrap();
    }
    sandbox.write("circle/repositories", r#"{"round":{"1":"aa"}}"#);
    let archive = sandbox.text("circle.tar");
    tools::run("tar", ["-cf", &archive, "-C", &circle, "aa", "bb", "repositories"]);
    sandbox.img(&["load", "-i", &archive]).refuses(1, &["circle"]);
    assert_eq!(sandbox.ok(&["images", "-q", "-a"]), "");
}
