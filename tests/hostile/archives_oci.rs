//! OCI archives and layouts whose indexes, manifests and descriptors disagree with themselves, with one another or with
//! their content: one document means one thing (CVE-2021-41190), and a digest is never a path (CVE-2024-3727).

use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use crate::archive::{
    Layout, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, config, descriptor, digest, manifest, place,
};
use crate::case::{Case, Input, Outcome};
use crate::tar::Tar;

fn row(name: &str, rule: &'static str, bytes: Vec<u8>, words: &'static [&'static str]) -> Case {
    Case { name: name.to_owned(), rule, input: Input::Archive(bytes), outcome: Outcome::Refused(words) }
}

fn fine(name: &str, rule: &'static str, bytes: Vec<u8>) -> Case {
    let outcome = Outcome::Taken(vec!["f 644 0:0 1 x".to_owned()]);
    Case { name: name.to_owned(), rule, input: Input::Archive(bytes), outcome }
}

fn layer() -> Vec<u8> {
    Tar::new().file("x", "x").end()
}

/// A layout with the layer and the config in it, and their manifest.
fn parts() -> (Layout, Value) {
    let (layer, config) = (layer(), config(&[&layer()]));
    (Layout::new().blob(&layer).blob(config.to_string()), manifest(&config, &[&layer]))
}

/// The archive of the usual image after `change` had a go at its manifest.
fn changed(change: impl Fn(&mut Value)) -> Vec<u8> {
    let (layout, mut manifest) = parts();
    change(&mut manifest);
    layout.image(&manifest)
}

/// The archive of the usual image after `change` had a go at the descriptor in index.json.
fn described(change: impl Fn(&mut Value)) -> Vec<u8> {
    let (layout, manifest) = parts();
    let text = manifest.to_string();
    let mut entry = descriptor(OCI_MANIFEST, &text);
    change(&mut entry);
    layout.blob(text).index(&[entry])
}

/// The rows.
pub fn cases(canary: &str) -> Vec<Case> {
    let victim = format!("{canary}/victim");
    let (layout, usual) = parts();
    let text = usual.to_string();
    let entry = descriptor(OCI_MANIFEST, &text);
    let both = "a document is a manifest or an index, and never both";
    let not_a_path = "a digest is SHA-256 in lower case hex, and nothing else is ever made a name of";
    let blob_link = |target: &str| {
        let layout = Layout(Tar::new()).blob(config(&[&layer()]).to_string());
        Layout(layout.0.symlink(place(layer()), target)).image(&usual)
    };
    let named = |name: &str| described(|entry| entry["annotations"] = json!({ "io.containerd.image.name": name }));
    let mut cases = vec![
        fine("plain", "a well-formed layout is loaded", layout.clone().image(&usual)),
        row("index-text", "index.json is JSON", layout.clone().index_text("hello"), &["not a manifest"]),
        row(
            "index-deep",
            "deep JSON needs no deep stack",
            layout.clone().index_text("{\"manifests\":[".repeat(50_000)),
            &["not a manifest"],
        ),
        row(
            "index-large",
            "index.json has at most 4 MiB",
            layout.clone().index_text(vec![b' '; 5 << 20]),
            &["larger than"],
        ),
        row("index-empty", "an archive holds an image", layout.clone().index(&[]), &["holds no image"]),
        row(
            "index-key-twice",
            "a key that comes twice is refused",
            layout.clone().index_text(r#"{"manifests":[],"manifests":[]}"#),
            &["duplicate field"],
        ),
        row(
            "index-twice",
            "two index.json are two archives",
            Layout(layout.clone().0.file("index.json", "{}")).blob(&text).index(std::slice::from_ref(&entry)),
            &["two members", "index.json"],
        ),
        row(
            "index-is-link",
            "index.json is read in the archive",
            layout.clone().0.symlink("index.json", &victim).end(),
            &["the archive has no member"],
        ),
        row(
            "manifest-missing",
            "a manifest is in the archive",
            layout.clone().index(std::slice::from_ref(&entry)),
            &["the archive has no member"],
        ),
        row(
            "manifest-other",
            "and is what its digest says",
            Layout(layout.clone().0.file(place(&text), text.replace('x', "y") + " "))
                .index(std::slice::from_ref(&entry)),
            &["sha256:"],
        ),
        row("manifest-size", "and as large as was said", described(|entry| entry["size"] = json!(3)), &["size"]),
        row(
            "size-negative",
            "a size is not negative",
            described(|entry| entry["size"] = json!(-1)),
            &["not a manifest"],
        ),
        row("size-large", "and a 64-bit number", described(|entry| entry["size"] = json!(1e30)), &["not a manifest"]),
        row(
            "manifest-and-index",
            both,
            changed(|manifest| manifest["manifests"] = json!([entry])),
            &["both a manifest and an index"],
        ),
        row(
            "manifest-and-empty-index",
            both,
            changed(|manifest| manifest["manifests"] = json!([])),
            &["both a manifest and an index"],
        ),
        row(
            "layers-and-manifests",
            both,
            changed(|m| {
                m["manifests"] = json!([entry]);
                m.as_object_mut().unwrap().remove("config");
            }),
            &["both a manifest and an index"],
        ),
        row(
            "type-index",
            "a document is of the type that its fields are of",
            changed(|m| m["mediaType"] = json!(OCI_INDEX)),
            &["type"],
        ),
        row(
            "type-announced",
            "and of the one it was announced as",
            described(|e| e["mediaType"] = json!(OCI_INDEX)),
            &["type"],
        ),
        row("type-unknown", "which is one we know", changed(|m| m["mediaType"] = json!("application/x")), &["type"]),
        row(
            "schema-1",
            "an old manifest is refused",
            changed(|m| m["schemaVersion"] = json!(1)),
            &["several kinds of document"],
        ),
        row("schema-3", "and one of the future", changed(|m| m["schemaVersion"] = json!(3)), &["schema"]),
        row(
            "schema-none",
            "and one of no version",
            changed(|m| {
                m.as_object_mut().unwrap().remove("schemaVersion");
            }),
            &["schema"],
        ),
        row(
            "no-config",
            "a manifest has a config",
            changed(|m| {
                m.as_object_mut().unwrap().remove("config");
            }),
            &["config"],
        ),
        row(
            "no-layers",
            "and says which layers",
            changed(|m| {
                m.as_object_mut().unwrap().remove("layers");
            }),
            &["layers"],
        ),
        row(
            "layers-fewer",
            "as many as the config has",
            changed(|m| m["layers"] = json!([])),
            &["0 layers and the config 1"],
        ),
        row("layer-size", "a layer is as large as was said", changed(|m| m["layers"][0]["size"] = json!(17)), &["17"]),
        row(
            "layer-missing",
            "a layer is in the archive",
            changed(|m| m["layers"][0]["digest"] = json!(digest("no"))),
            &["the archive has no member"],
        ),
        row(
            "layer-swapped",
            "a layer is what its digest says",
            Layout(Tar::new().file(place(layer()), Tar::new().file("y", "y").end()))
                .blob(config(&[&layer()]).to_string())
                .image(&usual),
            &["sha256:"],
        ),
        row(
            "config-other-layer",
            "a layer is what the config says",
            {
                let c = config(&[b"other"]);
                Layout::new().blob(layer()).blob(c.to_string()).image(&manifest(&c, &[&layer()]))
            },
            &["the uncompressed layer"],
        ),
        row(
            "config-twice-layer",
            "an image's layers may not change places",
            {
                let (a, b) = (layer(), Tar::new().file("y", "y").end());
                let c = config(&[&a, &b]);
                Layout::new().blob(&a).blob(&b).blob(c.to_string()).image(&manifest(&c, &[&b, &a]))
            },
            &["the uncompressed layer"],
        ),
        row(
            "foreign",
            "a layer that is elsewhere is not fetched from there",
            changed(
                |m| m["layers"][0] = json!({ "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "digest": digest("no"), "size": 2, "urls": ["file:///etc/passwd", "http://127.0.0.1:1/"] }),
            ),
            &["foreign"],
        ),
        row(
            "encrypted",
            "an encrypted layer is refused for what it is",
            changed(|m| m["layers"][0]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+gzip+encrypted")),
            &["encrypted"],
        ),
        row(
            "layer-type",
            "a layer is a tar",
            changed(|m| m["layers"][0]["mediaType"] = json!("application/vnd.wasm.content.layer.v1+wasm")),
            &["application/vnd.wasm.content.layer.v1+wasm"],
        ),
        row(
            "config-type",
            "a config is an image's",
            changed(|m| m["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json")),
            &["application/vnd.cncf.helm.config.v1+json"],
        ),
        fine(
            "layer-type-lies",
            "what a layer is compressed with, its bytes say",
            changed(|m| m["layers"][0]["mediaType"] = json!(format!("{OCI_LAYER}+zstd"))),
        ),
        fine(
            "data-lies",
            "data beside a descriptor are not believed",
            changed(|m| m["config"]["data"] = json!("e30=")),
        ),
        row(
            "blob-is-link",
            "a blob that is a link to the host is refused",
            blob_link(&format!("../..{victim}")),
            &["no member"],
        ),
        row(
            "blob-is-link-out",
            "also one that climbs out of the archive",
            blob_link(&format!("../../..{victim}")),
            &["leads out of it"],
        ),
        row("name-up", "a name is held to the grammar of references", named("../../etc/passwd"), &["reference"]),
        row("name-escape", "and never reaches the terminal raw", named("a\u{1b}]0;x\u{7}"), &["reference"]),
        row("name-long", "nor is it of any length", named(&"a".repeat(5000)), &["reference"]),
        row(
            "annotation-number",
            "an annotation is text",
            described(|entry| entry["annotations"] = json!({ "a": 1 })),
            &["not a manifest"],
        ),
        row(
            "layout-version",
            "a layout of the future is refused",
            Layout(Tar::new().file("oci-layout", r#"{"imageLayoutVersion":"2.0.0"}"#))
                .blob(layer())
                .blob(config(&[&layer()]).to_string())
                .image(&usual),
            &["2.0.0"],
        ),
    ];
    for (name, value) in [
        ("up", json!("sha256:../../../../../etc/passwd")),
        ("slash", json!(format!("sha256:{}/{}", "a".repeat(31), "b".repeat(32)))),
        ("upper", json!(digest(&text).to_uppercase())),
        ("short", json!("sha256:ab")),
        ("algorithm", json!("../sha256:ab")),
        ("empty", json!("")),
        ("nul", json!(format!("{}\0", digest(&text)))),
        ("object", json!({})),
    ] {
        cases.push(row(
            &format!("digest-{name}"),
            not_a_path,
            described(|entry| entry["digest"] = value.clone()),
            &["not a manifest"],
        ));
    }
    let mut nested = (Layout(layout.0.clone()).blob(&text), entry.clone());
    for _ in 0..6 {
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [nested.1] }).to_string();
        nested = (nested.0.blob(&index), descriptor(OCI_INDEX, &index));
    }
    cases.push(row(
        "nested",
        "indexes lie at most four deep in one another",
        nested.0.index(&[nested.1]),
        &["too deep"],
    ));
    let many = vec![entry.clone(); 15_000];
    cases.push(row(
        "images-many",
        "an archive has a bounded number of images",
        layout.clone().blob(&text).index(&many),
        &["more than", "images"],
    ));
    let attestation = json!({ "os": "unknown", "architecture": "unknown" });
    let only = described(|entry| entry["platform"] = json!({ "os": "plan9", "architecture": "../x" }));
    cases.push(fine("platform", "a platform in an index is for choosing and means nothing else", only));
    let index = json!({ "schemaVersion": 2, "manifests": [{ "mediaType": OCI_MANIFEST, "digest": digest("x"), "size": 1, "platform": attestation }] }).to_string();
    let inner = layout.clone().blob(&index).index(&[descriptor(OCI_INDEX, &index)]);
    cases.push(row("attestation", "an attestation is no image", inner, &["no image for this platform"]));
    let (c, l) = (config(&vec![&layer()[..]; 501]), vec![layer(); 501]);
    let blobs: Vec<&[u8]> = l.iter().map(Vec::as_slice).collect();
    let archive = Layout::new().blob(layer()).blob(c.to_string()).image(&manifest(&c, &blobs));
    cases.push(row("layers-501", "an image has at most 500 layers", archive, &["500"]));
    let big = format!("{}{}", " ".repeat(9 << 20), config(&[&layer()]));
    let mut about = usual.clone();
    about["config"] = descriptor(OCI_CONFIG, &big);
    cases.push(row(
        "config-large",
        "a config has at most 8 MiB",
        Layout::new().blob(&big).blob(layer()).image(&about),
        &["larger than"],
    ));
    cases.extend(directories(canary));
    cases
}

/// Layouts that are directories: what lies in them is not always a file.
fn directories(canary: &str) -> Vec<Case> {
    let victim = format!("{canary}/victim");
    let made = |name: &str, rule: &'static str, words: &'static [&'static str], spoil: Box<dyn Fn(&Path)>| {
        let make = move |at: &Path| {
            let (layout, manifest) = parts();
            let mut archive = ::tar::Archive::new(std::io::Cursor::new(layout.image(&manifest)));
            archive.unpack(at).unwrap();
            spoil(at);
        };
        Case { name: name.to_owned(), rule, input: Input::Made(Box::new(make)), outcome: Outcome::Refused(words) }
    };
    let link = |what: String, to: String| {
        Box::new(move |at: &Path| {
            std::fs::remove_file(at.join(&what)).unwrap();
            symlink(&to, at.join(&what)).unwrap();
        })
    };
    let fifo = |what: String| {
        Box::new(move |at: &Path| {
            std::fs::remove_file(at.join(&what)).unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, at.join(&what), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        })
    };
    vec![
        made(
            "directory-index-link",
            "index.json of a directory is no link out of it",
            &["index.json"],
            link("index.json".into(), victim.clone()),
        ),
        made("directory-index-fifo", "and no pipe to wait at", &["index.json"], fifo("index.json".into())),
        made(
            "directory-blob-link",
            "a blob of a directory is no link out of it",
            &["no member"],
            link(place(layer()), victim),
        ),
        made("directory-blob-fifo", "and no pipe to wait at", &["no member"], fifo(place(layer()))),
        made("directory-blobs-link", "the folder of blobs is no link out of it", &["blobs"], {
            let canary = canary.to_owned();
            Box::new(move |at: &Path| {
                std::fs::remove_dir_all(at.join("blobs/sha256")).unwrap();
                symlink(&canary, at.join("blobs/sha256")).unwrap();
            })
        }),
    ]
}
