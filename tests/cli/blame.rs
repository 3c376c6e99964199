//! `img blame`: which line wrote a path, which older copies are hidden below it, and that waste adds up to the byte.

use crate::support::{Sandbox, tree};

const TEXT: &str = "FROM busybox AS tools\nRUN mkdir /out && for i in 0 1 2 3 4 5 6 7 8 9; do echo tool$i > /out/t$i; done\nFROM busybox AS data\nCOPY files/ /data/\nFROM busybox\nCOPY --from=tools /out /tools\nCOPY --from=data /data /data\nRUN echo changed > /data/f3; rm /data/f4; mkdir -p /own; for i in 0 1 2 3 4 5 6 7 8 9; do echo $i > /own/o$i; done\nCOPY files/f5 /tools/t5\n";

fn built() -> Sandbox {
    let sandbox = Sandbox::new();
    for number in 0..80 {
        sandbox.write(&format!("context/files/f{number}"), "x".repeat(100 + number));
    }
    sandbox.build("context", "app", TEXT).ok();
    sandbox
}

#[test]
fn a_hundred_files_of_three_stages() {
    let sandbox = built();
    let mut checked = 0;
    let mut line_is = |path: String, line: u64| {
        let blame = sandbox.img(&["blame", "--format", "json", "app", &path]).ok().json();
        assert_eq!(blame["versions"][0]["by"]["line"], line, "{path}: {blame}");
        assert_eq!((&blame["present"], &blame["versions"][0]["action"]), (&true.into(), &"written".into()), "{blame}");
        checked += 1;
    };
    for number in 0..10 {
        line_is(format!("/tools/t{number}"), if number == 5 { 9 } else { 6 });
        line_is(format!("/own/o{number}"), 8);
    }
    for number in (0..80).filter(|number| *number != 4) {
        line_is(format!("data/f{number}"), if number == 3 { 8 } else { 7 });
    }
    line_is("/own".to_owned(), 8);
    assert_eq!(checked, 100);
}

#[test]
fn hidden_copies_and_deletions_are_told() {
    let sandbox = built();
    let out = sandbox.ok(&["blame", "app", "/data/f3"]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "/data/f3");
    assert!(lines[1].starts_with("  written by Buildfile:8 [stage-2 3/4] RUN echo changed"), "{out}");
    assert!(lines[2].contains(", file, 8B, mode 0644, owner 0:0"), "{out}");
    assert_eq!(lines[3], "  hidden copy by Buildfile:7 [stage-2 2/4] COPY --from=data /data /data");
    let gone = sandbox.img(&["blame", "--format", "json", "app", "/data/f4"]).ok().json();
    assert_eq!(gone["present"], false);
    assert_eq!((&gone["versions"][0]["action"], &gone["versions"][0]["by"]["line"]), (&"deleted".into(), &8.into()));
    assert_eq!((&gone["versions"][1]["action"], &gone["versions"][1]["by"]["line"]), (&"written".into(), &7.into()));
    sandbox
        .img(&["blame", "app", "/data/f33x"])
        .refuses(1, &["no layer of app has /data/f33x", "did you mean /data/f33?"]);
    // Through a link on the way, and what the base brought.
    let base = sandbox.ok(&["blame", "app", "/bin/busybox"]);
    assert!(base.contains("written by") && !base.contains("Buildfile:"), "{base}");
}

#[test]
fn waste_adds_up_to_the_byte() {
    let sandbox = built();
    let waste = sandbox.img(&["blame", "--waste", "--format", "json", "app"]).ok().json();
    let number = |key: &str| waste[key].as_u64().unwrap();
    assert_eq!(number("wasted_bytes"), 103 + 104 + "tool5\n".len() as u64);
    let groups = waste["hidden"].as_array().unwrap();
    assert_eq!(groups.iter().map(|group| group["bytes"].as_u64().unwrap()).sum::<u64>(), number("wasted_bytes"));
    let lines = |group: &serde_json::Value| (group["written_by"]["line"].clone(), group["hidden_by"]["line"].clone());
    assert_eq!(lines(&groups[0]), (7.into(), 8.into()));
    assert_eq!(lines(&groups[1]), (6.into(), 9.into()));
    // Against sizes that others count: all layers by `img inspect`, the flat tree by GNU tar.
    assert_eq!(sandbox.inspect("app")["Size"].as_u64().unwrap(), number("layer_bytes"));
    let flat = sandbox.flatten("app", "flat");
    assert_eq!(tree::bytes(&flat), number("flat_bytes"));
    let table = sandbox.ok(&["blame", "--waste", "app"]);
    assert!(table.ends_with(&format!("= {0} wasted ({0}B)", number("wasted_bytes"))), "{table}");
}

#[test]
fn an_image_built_elsewhere_has_its_history() {
    let sandbox = Sandbox::new();
    sandbox.pull("odd");
    let waste = sandbox.img(&["blame", "--waste", "--format", "json", "odd"]).ok().json();
    assert_eq!(waste["layer_bytes"].as_u64(), sandbox.inspect("odd")["Size"].as_u64());
    let flat = sandbox.flatten("odd", "flat");
    assert_eq!(waste["flat_bytes"].as_u64().unwrap(), tree::bytes(&flat));
    for group in waste["hidden"].as_array().unwrap() {
        assert!(group["written_by"]["instruction"].as_str().unwrap().contains("base-images"), "{group}");
    }
}

#[test]
fn lines_follow_the_buildfile_when_only_they_move() {
    let sandbox = Sandbox::new();
    sandbox.build("context", "app", "FROM busybox\nRUN echo 1 > /one\n").ok();
    let line =
        || sandbox.img(&["blame", "--format", "json", "app", "/one"]).ok().json()["versions"][0]["by"]["line"].clone();
    assert_eq!(line(), 2);
    sandbox.build("context", "app", "# a comment\nFROM busybox\n\nRUN echo 1 > /one\n").ok();
    assert_eq!(line(), 4);
}
