//! Docker's archive form with a `manifest.json` that leads elsewhere, links in the places of layers, and documents that
//! mean two things or too much. Members are streams; nothing in an archive is ever a path on the host.

use serde_json::json;

use crate::archive::{DOCKER, config, digest, docker};
use crate::case::{Case, Input, Outcome};
use crate::tar::{Head, MAJOR, Tar};

fn row(name: &str, rule: &'static str, bytes: Vec<u8>, words: &'static [&'static str]) -> Case {
    Case { name: name.to_owned(), rule, input: Input::Archive(bytes), outcome: Outcome::Refused(words) }
}

fn fine(name: &str, rule: &'static str, bytes: Vec<u8>) -> Case {
    let outcome = Outcome::Taken(vec!["f 644 0:0 1 x".to_owned()]);
    Case { name: name.to_owned(), rule, input: Input::Archive(bytes), outcome }
}

/// The rows.
pub fn cases(canary: &str) -> Vec<Case> {
    let layer = Tar::new().file("x", "x").end();
    let with = |manifest: &str| docker(&layer, manifest).end();
    let naming = |config: &str, layer: &str| {
        with(&json!([{ "Config": config, "RepoTags": ["hostile"], "Layers": [layer] }]).to_string())
    };
    let tags = |tags: serde_json::Value| {
        with(&json!([{ "Config": "config.json", "RepoTags": tags, "Layers": ["layer.tar"] }]).to_string())
    };
    let manifest = |tar: Tar| tar.file("manifest.json", DOCKER).end();
    let config_file = Tar::new().file("config.json", config(&[&layer]).to_string());
    let about = |config: &str| manifest(Tar::new().file("config.json", config).file("layer.tar", &layer));
    let victim = format!("{canary}/victim");
    let mut cases = vec![
        fine("plain", "a well-formed archive is loaded", with(DOCKER)),
        row(
            "config-up",
            "a config's name does not lead out of the archive",
            naming("../../../config.json", "layer.tar"),
            &["`..`"],
        ),
        row(
            "config-absolute",
            "an absolute one is a name in the archive",
            naming(&victim, "layer.tar"),
            &["the archive has no member"],
        ),
        row(
            "config-missing",
            "a config is in the archive",
            naming("other.json", "layer.tar"),
            &["the archive has no member /other.json"],
        ),
        row(
            "layer-up",
            "a layer's name does not lead out of the archive",
            naming("config.json", "../../etc/passwd"),
            &["`..`"],
        ),
        row(
            "layer-absolute",
            "an absolute one is a name in the archive",
            naming("config.json", &victim),
            &["the archive has no member"],
        ),
        row(
            "layer-escape",
            "names in a manifest.json never reach the terminal raw",
            naming("config.json", "\x1b[2J\nerror: fine"),
            &["the archive has no member"],
        ),
        row(
            "layer-is-link-out",
            "a layer that is a link to the host is refused",
            manifest(config_file.clone().symlink("layer.tar", format!("..{victim}"))),
            &["leads out of it"],
        ),
        row(
            "layer-is-absolute-link",
            "an absolute link is one to a member",
            manifest(config_file.clone().symlink("layer.tar", &victim)),
            &["the archive has no member"],
        ),
        row(
            "layer-is-hard-link",
            "so is a hard link",
            manifest(config_file.clone().hard("layer.tar", &victim)),
            &["the archive has no member"],
        ),
        row(
            "layer-is-hard-link-up",
            "a hard link does not lead out of the archive",
            manifest(config_file.clone().hard("layer.tar", "../victim")),
            &["`..`"],
        ),
        row(
            "layer-is-circle",
            "links in a circle end",
            manifest(config_file.clone().symlink("layer.tar", "b").symlink("b", "layer.tar")),
            &["go in a circle"],
        ),
        fine(
            "layer-is-link",
            "a link to another member is that member",
            manifest(config_file.clone().file("d/real", &layer).symlink("layer.tar", "./d/../d/real")),
        ),
        row(
            "layer-is-directory",
            "a layer is a file",
            manifest(config_file.clone().dir("layer.tar")),
            &["the archive has no member"],
        ),
        row(
            "layer-is-fifo",
            "and no pipe to wait at",
            manifest(config_file.clone().put(Head::new(b'6', "layer.tar"), "")),
            &["the archive has no member"],
        ),
        row(
            "layer-is-device",
            "and no device to read",
            manifest(config_file.clone().put(Head::new(b'3', "layer.tar").set(MAJOR, "0000001"), "")),
            &["the archive has no member"],
        ),
        row(
            "manifest-is-link",
            "manifest.json itself is read in the archive",
            config_file.clone().symlink("manifest.json", &victim).end(),
            &["the archive has no member"],
        ),
        row(
            "manifest-twice",
            "two manifest.json are two archives",
            docker(&layer, "[]").file("manifest.json", DOCKER).end(),
            &["two members", "manifest.json"],
        ),
        row(
            "manifest-and-link",
            "also if one is a link",
            docker(&layer, "[]").symlink("manifest.json", "layer.tar").end(),
            &["two members", "manifest.json"],
        ),
        row("manifest-empty", "an archive holds an image", with("[]"), &["holds no image"]),
        row("manifest-null", "manifest.json is a list", with("null"), &["malformed"]),
        row("manifest-object", "and no object", with("{}"), &["malformed"]),
        row("manifest-text", "and JSON", with("Config: x"), &["malformed"]),
        row(
            "manifest-bytes",
            "and UTF-8",
            Tar::new().file("manifest.json", b"[{\"Config\":\"\xff\xfe\"}]").end(),
            &["malformed"],
        ),
        row("manifest-deep", "deep JSON needs no deep stack", with(&"[".repeat(500_000)), &["malformed"]),
        row(
            "manifest-key-twice",
            "a key that comes twice is refused",
            with(&DOCKER.replace("[{", "[{\"Config\":\"other\",")),
            &["duplicate field"],
        ),
        row(
            "manifest-large",
            "manifest.json has at most 4 MiB",
            with(&format!("{}{DOCKER}", " ".repeat(5 << 20))),
            &["larger than"],
        ),
        row(
            "no-manifest",
            "an archive says what it holds",
            config_file.clone().end(),
            &["neither manifest.json nor index.json"],
        ),
        row("tag-up", "a name is held to the grammar of references", tags(json!(["../../etc/x:1"])), &["reference"]),
        row("tag-escape", "and never reaches the terminal raw", tags(json!(["a\u{1b}[2J"])), &["reference"]),
        row("tag-digest", "a tag is no digest", tags(json!([format!("x@{}", digest("x"))])), &["digest"]),
        row("tag-number", "and text", tags(json!([5])), &["malformed"]),
        row(
            "layers-fewer",
            "as many layers as the config has",
            with(&DOCKER.replace("\"layer.tar\"", "")),
            &["0 layers and the config 1"],
        ),
        row(
            "layers-more",
            "and no more",
            with(&DOCKER.replace("\"layer.tar\"", "\"layer.tar\",\"layer.tar\"")),
            &["2 layers and the config 1"],
        ),
        row(
            "layer-other",
            "a layer's digest is the config's",
            manifest(config_file.clone().file("layer.tar", Tar::new().file("y", "y").end())),
            &["sha256:"],
        ),
        row("config-text", "a config is JSON", about("text"), &["config"]),
        row(
            "config-large",
            "of at most 8 MiB",
            about(&format!("{}{}", " ".repeat(9 << 20), config(&[&layer]))),
            &["larger than"],
        ),
        row("config-list", "and an object", about("[]"), &["config"]),
        row("cut", "an archive that is cut is refused", with(DOCKER)[..2000].to_vec(), &["cut short"]),
        row("text", "text is no archive", b"hello\n".repeat(200), &["tar"]),
        row("nothing", "nothing is no archive", vec![], &["neither manifest.json nor index.json"]),
    ];
    let long = |count: usize| {
        format!(
            "[{}]",
            vec![r#"{"Config":"config.json","RepoTags":["hostile"],"Layers":["layer.tar"]}"#; count].join(",")
        )
    };
    cases.push(row(
        "images-many",
        "an archive has a bounded number of images",
        with(&long(20_000)),
        &["more than", "images"],
    ));
    let names: Vec<String> = (0..100_000).map(|number| format!("hostile:{number}")).collect();
    cases.push(row("names-many", "and of names", tags(json!(names)), &["more than", "names"]));
    let many = |count: usize| json!({ "rootfs": { "type": "layers", "diff_ids": vec![digest(&layer); count] }, "os": "linux", "architecture": "amd64" });
    let layers = |count: usize| json!([{ "Config": "config.json", "Layers": vec!["layer.tar"; count] }]).to_string();
    let archive = Tar::new().file("config.json", many(501).to_string()).file("layer.tar", &layer);
    cases.push(row(
        "layers-501",
        "an image has at most 500 layers",
        archive.file("manifest.json", layers(501)).end(),
        &["500"],
    ));
    for (name, value) in [
        ("up", json!("sha256:../../../../etc/passwd")),
        ("upper", json!(digest(&layer).to_uppercase().replace("SHA256", "sha256"))),
        ("short", json!("sha256:abcd")),
        ("md5", json!("md5:d41d8cd98f00b204e9800998ecf8427e")),
        ("no-algorithm", json!(&digest(&layer)[7..])),
        ("number", json!(7)),
        ("null", json!(null)),
    ] {
        let mut text = config(&[&layer]);
        text["rootfs"]["diff_ids"] = json!([value]);
        cases.push(row(
            &format!("diff-id-{name}"),
            "a diff id is a SHA-256 digest in lower case",
            about(&text.to_string()),
            &["config"],
        ));
    }
    cases.extend(exhausting());
    cases
}

/// Archives that are to use up memory.
fn exhausting() -> Vec<Case> {
    let made = |name: &str, rule: &'static str, words: &'static [&'static str], count, member: fn(usize) -> Tar| {
        let make = move |at: &std::path::Path| {
            let mut file = std::io::BufWriter::new(std::fs::File::create(at).unwrap());
            (0..count).for_each(|number| std::io::Write::write_all(&mut file, &member(number).0).unwrap());
        };
        Case { name: name.to_owned(), rule, input: Input::Made(Box::new(make)), outcome: Outcome::Refused(words) }
    };
    vec![
        made("members-many", "an archive has a bounded number of members", &["100000 members"], 100_001, |number| {
            Tar::new().put(Head::new(b'0', number.to_string()), "")
        }),
        made("members-long", "whose names take bounded memory", &["names of the members"], 5000, |number| {
            Tar::new().long(b'L', long(number)).file("x", "")
        }),
        made("links-long", "and whose links as well", &["names of the members"], 5000, |number| {
            Tar::new().long(b'K', long(number)).symlink(format!("l{number}"), "x")
        }),
    ]
}

fn long(number: usize) -> String {
    format!("{number}{}", "/n".repeat(2000))
}
