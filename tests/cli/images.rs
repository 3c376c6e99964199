//! `img images`, `tag`, `rmi` and `inspect` of images: columns, filters, formats, and who keeps what alive.

use crate::support::Sandbox;

#[test]
fn the_table_has_dockers_columns() {
    let sandbox = Sandbox::new();
    sandbox.img(&["images"]).ok().prints_exactly("REPOSITORY   TAG       IMAGE ID   CREATED   SIZE\n");
    sandbox.pull("busybox");
    let table = sandbox.img(&["images"]);
    let stdout = table.ok().stdout();
    let mut lines = stdout.lines();
    let head: Vec<&str> = lines.next().unwrap().split("  ").map(str::trim).filter(|s| !s.is_empty()).collect();
    assert_eq!(head, ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]);
    let row: Vec<&str> = lines.next().unwrap().split("  ").map(str::trim).filter(|s| !s.is_empty()).collect();
    assert_eq!(&row[..2], ["busybox", "latest"]);
    assert_eq!(row[2].len(), 12, "a short id");
    assert!(row[3].ends_with("ago") && row[4].ends_with('B'), "{row:?}");
}

#[test]
fn quiet_no_trunc_digests_and_formats() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let id = sandbox.inspect("busybox")["Id"].as_str().unwrap().to_owned();
    assert_eq!(sandbox.ok(&["images", "-q", "--no-trunc"]), id);
    assert_eq!(sandbox.ok(&["images", "-q"]), id["sha256:".len()..][..12]);
    sandbox.img(&["images", "--digests"]).ok().prints(&["DIGEST", "sha256:"]);
    assert_eq!(
        sandbox.ok(&["images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]),
        format!("busybox:latest {}", &id[7..19])
    );
    let row = &sandbox.img(&["images", "--format", "{{json .}}"]).ok().json_lines()[0];
    for key in ["Repository", "Tag", "ID", "CreatedAt", "CreatedSince", "Size"] {
        assert!(row[key].is_string(), "{key} in {row}");
    }
}

#[test]
fn filters_choose() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.pull("odd");
    sandbox.ok(&["tag", "busybox", "example.org/team/tool:7"]);
    let names = |words: &[&str]| {
        let mut all = vec!["images", "--format", "{{.Repository}}:{{.Tag}}"];
        all.extend(words);
        let mut lines: Vec<String> = sandbox.img(&all).ok().stdout().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(names(&[]), ["busybox:latest", "example.org/team/tool:7", "odd:latest"]);
    assert_eq!(names(&["busybox"]), ["busybox:latest"]);
    assert_eq!(names(&["--filter", "label=kind=odd"]), ["odd:latest"]);
    assert_eq!(names(&["--filter", "reference=example.org/*/*"]), ["example.org/team/tool:7"]);
    assert_eq!(names(&["--filter", "dangling=true"]), [""; 0]);
    sandbox.img(&["images", "--filter", "colour=red"]).refuses(1, &["colour"]);
}

#[test]
fn a_tag_is_one_more_name_and_untagging_keeps_the_image() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.img(&["tag", "busybox", "mine:1"]).ok().prints_exactly("");
    assert_eq!(sandbox.inspect("mine:1")["Id"], sandbox.inspect("busybox")["Id"]);
    let out = sandbox.img(&["rmi", "busybox"]);
    out.ok().prints(&["Untagged: busybox:latest"]);
    assert!(!out.stdout().contains("Deleted:"), "mine:1 still names it\n{out}");
    sandbox.img(&["run", "--rm", "--network", "none", "mine:1", "true"]).ok();
    sandbox.img(&["rmi", "mine:1"]).ok().prints(&["Untagged: mine:1", "Deleted: sha256:"]);
    assert_eq!(sandbox.ok(&["images", "-q"]), "");
    sandbox.img(&["tag", "busybox", "again"]).refuses(1, &["busybox", "no such image"]);
}

#[test]
fn names_in_use_are_kept_unless_forced() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let id = sandbox.ok(&["create", "--name", "user", "busybox", "true"]);
    sandbox.img(&["rmi", "busybox"]).refuses(1, &["used by", &id[..12]]);
    sandbox.img(&["run", "--rm", "--network", "none", "busybox", "true"]).ok();
    sandbox.img(&["rmi", "--force", "busybox"]).ok();
    sandbox.img(&["start", "--attach", "user"]).ok();
    sandbox.ok(&["rm", "user"]);
}

#[test]
fn rmi_takes_ids_and_their_beginnings_and_says_what_it_could_not_find() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let id = sandbox.ok(&["images", "-q"]);
    sandbox.ok(&["tag", "busybox", "second"]);
    sandbox.img(&["rmi", &id]).refuses(1, &["more than one"]);
    sandbox.img(&["rmi", "--force", &id]).ok();
    let out = sandbox.img(&["rmi", "nothing", "neither"]);
    out.refuses(1, &["nothing", "neither", "no such image"]);
    sandbox.img(&["rmi", "--force", "nothing"]).ok();
}

#[test]
fn removing_the_last_name_gives_the_space_back() {
    let sandbox = Sandbox::new();
    sandbox.pull("debian");
    let layers = sandbox.root().join("layers/sha256");
    assert_eq!(std::fs::read_dir(&layers).unwrap().count(), 1);
    sandbox.img(&["rmi", "debian"]).ok();
    assert_eq!(std::fs::read_dir(&layers).unwrap().count(), 0);
    sandbox.img(&["system", "check"]).ok();
}

#[test]
fn inspect_has_dockers_keys() {
    let sandbox = Sandbox::new();
    sandbox.pull("odd");
    let facts = sandbox.inspect("odd");
    assert_eq!(facts["RepoTags"][0], "odd:latest");
    assert!(facts["RepoDigests"][0].as_str().unwrap().contains("@sha256:"));
    assert_eq!(facts["Os"], "linux");
    assert_eq!(facts["Config"]["User"], "1000:1000");
    assert_eq!(facts["Config"]["WorkingDir"], "/odd");
    assert_eq!(facts["Config"]["Labels"]["kind"], "odd");
    assert_eq!(facts["RootFS"]["Layers"].as_array().unwrap().len(), 5);
    assert_eq!(sandbox.ok(&["inspect", "--format", "{{.Config.User}} {{.Os}}", "odd"]), "1000:1000 linux");
    assert_eq!(sandbox.ok(&["inspect", "--format", "{{json .Config.Labels}}", "odd"]), "{\"kind\":\"odd\"}");
    let out = sandbox.img(&["inspect", "nothing"]);
    out.exits(1).prints_exactly("[]\n").says(&["error: ", "nothing"]);
}

#[test]
fn a_broken_pipe_is_success() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    for command in ["images", "history busybox", "inspect busybox", "ps -a"] {
        let line = format!("set -o pipefail; \"$0\" {command} | true");
        let img = sandbox.command(&[]);
        let mut shell = std::process::Command::new("bash");
        shell.args(["-c", &line]).arg(img.get_program()).env_clear();
        shell.envs(img.get_envs().filter_map(|(k, v)| Some((k, v?))));
        let out = crate::support::Out::of(shell, None, std::time::Duration::from_secs(20));
        assert_eq!((out.code(), out.stderr().as_str()), (0, ""), "{command}\n{out}");
    }
}

#[test]
fn prune_takes_what_has_no_tag_and_all_only_when_asked() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.pull("odd");
    sandbox.ok(&["create", "--name", "user", "busybox", "true"]);
    let id = sandbox.inspect("odd")["Id"].as_str().unwrap().to_owned();
    sandbox.img(&["image", "prune", "-f"]).ok().prints(&["Total reclaimed space: 0B"]);
    sandbox.img(&["image", "prune", "-a", "--dry-run"]).ok().prints(&["untagged", &id, "Would reclaim"]);
    sandbox.ok(&["image", "exists", "odd"]);
    sandbox.img(&["image", "prune", "-a"]).refuses(125, &["terminal"]).hints();
    sandbox.img(&["image", "prune", "-af"]).ok().prints(&["untagged", &id]);
    sandbox.img(&["image", "exists", "odd"]).exits(1);
    sandbox.ok(&["image", "exists", "busybox"]);
}
