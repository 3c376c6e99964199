//! Manifests, indexes and configs that mean two things, lead nowhere, lead round and round, or are too much.

use serde_json::json;

use super::{Fault, Row, holds, image_manifest, no, over};
use crate::archive::{OCI_INDEX, OCI_LAYER, OCI_MANIFEST, descriptor, digest};

const TAG: &str = "GET /v2/hostile/manifests/1";

/// The rows.
pub fn rows() -> Vec<Row> {
    let ok = |kind: &str, body: Vec<u8>| Fault::Status(200, format!("Content-Type: {kind}"), body);
    let text = |body: &str| ok(OCI_MANIFEST, body.as_bytes().to_vec());
    let mut rows = vec![
        no(
            "html",
            "a page is no manifest",
            TAG,
            ok("text/html", b"<html><body>hello</body></html>".to_vec()),
            &["manifest"],
        ),
        no("empty", "nothing is no manifest", TAG, text(""), &["manifest"]),
        no("json-text", "nor is any JSON", TAG, text("\"manifest\""), &["manifest"]),
        no("null", "nor null", TAG, text("null"), &["manifest"]),
        no(
            "nothing-known",
            "a document has the fields of one kind",
            TAG,
            text(r#"{"schemaVersion":2}"#),
            &["neither a manifest nor an index"],
        ),
        no("deep", "deep JSON needs no deep stack", TAG, text(&"[".repeat(1 << 20)), &["manifest"]),
        no(
            "deep-field",
            "also in a field that nobody reads",
            TAG,
            text(&format!(r#"{{"x":{}"#, "{\"a\":".repeat(200_000))),
            &["manifest"],
        ),
        no(
            "bytes",
            "JSON is UTF-8",
            TAG,
            ok(OCI_MANIFEST, b"{\"schemaVersion\":2,\"artifactType\":\"\xff\xfe\"}".to_vec()),
            &["manifest"],
        ),
        no(
            "large",
            "a manifest of 96 MB is not read to its end",
            TAG,
            Fault::Endless(
                format!("HTTP/1.1 200 OK\r\nContent-Type: {OCI_MANIFEST}\r\nContent-Length: 100663296\r\n\r\n"),
                vec![b' '; 65536],
            ),
            &["4194304"],
        ),
        no(
            "large-unsaid",
            "also if its length is not said",
            TAG,
            Fault::Endless(format!("HTTP/1.1 200 OK\r\nContent-Type: {OCI_MANIFEST}\r\n\r\n"), vec![b' '; 65536]),
            &["4194304"],
        ),
        no(
            "schema-1",
            "the first format is refused by name",
            TAG,
            ok(
                "application/vnd.docker.distribution.manifest.v1+prettyjws",
                br#"{"schemaVersion":1,"fsLayers":[],"history":[]}"#.to_vec(),
            ),
            &["schema 1"],
        ),
        no(
            "digest-header",
            "a manifest whose header says another digest is refused",
            TAG,
            Fault::Change(|headers, _| {
                headers.iter_mut().filter(|(n, _)| n == "Docker-Content-Digest").for_each(|(_, v)| *v = digest("x"))
            }),
            &["digest"],
        ),
        no(
            "digest-header-text",
            "also if that is none",
            TAG,
            Fault::Change(|headers, _| {
                headers
                    .iter_mut()
                    .filter(|(n, _)| n == "Docker-Content-Digest")
                    .for_each(|(_, v)| *v = "sha256:../../../etc/passwd".into())
            }),
            &["digest"],
        ),
        over(
            "digest-header-missing",
            "a manifest without that header is taken for what it is",
            TAG,
            100,
            Fault::Change(|headers, _| headers.retain(|(n, _)| n != "Docker-Content-Digest")),
        ),
        no(
            "type-header",
            "a manifest sent as an index is refused",
            TAG,
            Fault::Change(|headers, _| {
                headers.iter_mut().filter(|(n, _)| n == "Content-Type").for_each(|(_, v)| *v = OCI_INDEX.into())
            }),
            &["type"],
        ),
        over(
            "type-header-other",
            "a header of no kind that we know says nothing: the document does",
            TAG,
            100,
            Fault::Change(|headers, _| {
                headers.iter_mut().filter(|(n, _)| n == "Content-Type").for_each(|(_, v)| *v = "image/png".into())
            }),
        ),
        holds(
            "both",
            "a document is a manifest or an index, and never both",
            |s| s.change(|m| m["manifests"] = json!([])),
            &["both a manifest and an index"],
        ),
        holds(
            "field-type",
            "a document is of the type that its fields are of",
            |s| s.change(|m| m["mediaType"] = json!(OCI_INDEX)),
            &["type"],
        ),
        holds(
            "key-twice",
            "a key that comes twice is refused",
            |s| s.tag(OCI_MANIFEST, image_manifest().to_string().replacen('{', r#"{"layers":[],"#, 1)),
            &["duplicate field"],
        ),
        holds(
            "version",
            "a manifest of the future is refused",
            |s| s.change(|m| m["schemaVersion"] = json!(3)),
            &["schemaVersion"],
        ),
        holds("size-negative", "a size is not negative", |s| s.change(|m| m["layers"][0]["size"] = json!(-1)), &["-1"]),
        holds(
            "size-huge",
            "a size that no disk has is not believed",
            |s| s.change(|m| m["layers"][1]["size"] = json!(1_u64 << 62)),
            &["expected 4611686018427387904 bytes"],
        ),
        holds(
            "size-wrong",
            "a layer has the size that was said",
            |s| s.change(|m| m["layers"][0]["size"] = json!(7)),
            &["expected 7 bytes"],
        ),
        holds("config-size", "so has a config", |s| s.change(|m| m["config"]["size"] = json!(7)), &["config"]),
        holds(
            "config-large",
            "which has at most 8 MiB",
            |s| s.change(|m| m["config"]["size"] = json!(9 << 20)),
            &["8388608"],
        ),
        holds(
            "layers-none",
            "as many layers as the config has",
            |s| s.change(|m| m["layers"] = json!([])),
            &["0 layers and the config 2"],
        ),
        holds(
            "layers-swapped",
            "in their order",
            |s| s.change(|m| m["layers"].as_array_mut().unwrap().reverse()),
            &["uncompressed layer"],
        ),
        holds(
            "layers-501",
            "and at most 500",
            |s| {
                let l = crate::tar::Tar::new().end();
                let d = s.blob(&l);
                let c = crate::archive::config(&vec![&l[..]; 501]).to_string();
                let at = s.blob(&c);
                s.change(move |m| {
                    m["layers"] = json!(vec![&d; 501]);
                    m["config"]["digest"] = at["digest"].clone();
                    m["config"]["size"] = at["size"].clone();
                });
            },
            &["500"],
        ),
        holds(
            "config-text",
            "a config is an image's",
            |s| {
                let at = s.blob("hello");
                s.change(move |m| {
                    m["config"]["digest"] = at["digest"].clone();
                    m["config"]["size"] = at["size"].clone();
                });
            },
            &["config"],
        ),
        holds(
            "artifact",
            "an artifact is called one",
            |s| s.change(|m| m["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json")),
            &["helm"],
        ),
        holds(
            "artifact-escape",
            "and its type never reaches the terminal raw",
            |s| {
                s.change(|m| {
                    m["artifactType"] = json!("\u{1b}[2J\nerror: fine");
                    m["config"]["mediaType"] = json!("x");
                })
            },
            &["artifact"],
        ),
        holds(
            "foreign",
            "a foreign layer is not fetched from where it says",
            |s| {
                let other = s.other.clone();
                s.change(move |m| {
                    m["layers"][0]["mediaType"] = json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
                    m["layers"][0]["urls"] = json!([format!("http://{other}/x")]);
                });
            },
            &["foreign"],
        ),
        holds(
            "urls",
            "nor any other layer",
            |s| {
                let other = s.other.clone();
                s.change(move |m| {
                    m["layers"][0]["digest"] = json!(digest("gone"));
                    m["layers"][0]["urls"] = json!([format!("http://{other}/x"), "file:///etc/passwd"]);
                });
            },
            &["not found"],
        ),
        holds(
            "encrypted",
            "an encrypted layer is refused for what it is",
            |s| s.change(|m| m["layers"][0]["mediaType"] = json!(format!("{OCI_LAYER}+encrypted"))),
            &["encrypted"],
        ),
        holds(
            "layer-type",
            "a layer is a tar",
            |s| s.change(|m| m["layers"][0]["mediaType"] = json!("application/x-sh")),
            &["application/x-sh"],
        ),
        holds(
            "index-of-itself",
            "an index cannot hold itself, so that one which says so lies",
            |s| {
                let i = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [{ "mediaType": OCI_INDEX, "digest": digest("self"), "size": 300 }] }).to_string();
                s.tag(OCI_INDEX, &i);
                s.content
                    .insert(format!("/v2/hostile/manifests/{}", digest("self")), (OCI_INDEX.into(), i.into_bytes()));
            },
            &["sha256:"],
        ),
        holds(
            "index-deep",
            "indexes lie at most four deep in one another",
            |s| {
                let mut d = descriptor(OCI_MANIFEST, image_manifest().to_string());
                for _ in 0..6 {
                    let i = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [d] }).to_string();
                    s.tag(OCI_INDEX, &i);
                    d = descriptor(OCI_INDEX, &i);
                }
            },
            &["nested"],
        ),
        holds(
            "index-empty",
            "an index without this platform says what it has",
            |s| {
                s.tag(OCI_INDEX, json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [{ "mediaType": OCI_MANIFEST, "digest": digest("x"), "size": 3, "platform": { "os": "linux", "architecture": "\u{1b}[31mevil" } }] }).to_string())
            },
            &["platform"],
        ),
        holds(
            "index-size",
            "a manifest has the size that its index says",
            |s| {
                let mut d = descriptor(OCI_MANIFEST, image_manifest().to_string());
                d["size"] = json!(5);
                s.tag(OCI_INDEX, json!({ "schemaVersion": 2, "manifests": [d] }).to_string());
                s.content.insert(
                    format!("/v2/hostile/manifests/{}", digest(image_manifest().to_string())),
                    (OCI_MANIFEST.into(), image_manifest().to_string().into_bytes()),
                );
            },
            &["expected 5 bytes"],
        ),
        holds(
            "index-type",
            "and the type",
            |s| {
                let m = image_manifest().to_string();
                let d = descriptor(OCI_INDEX, &m);
                s.tag(OCI_INDEX, json!({ "schemaVersion": 2, "manifests": [d] }).to_string());
                s.content
                    .insert(format!("/v2/hostile/manifests/{}", digest(&m)), (OCI_MANIFEST.into(), m.into_bytes()));
            },
            &["its index calls"],
        ),
    ];
    for (name, bad) in [
        ("up", "sha256:../../../../etc/passwd"),
        ("md5", "md5:d41d8cd98f00b204e9800998ecf8427e"),
        ("upper", "sha256:ABCD"),
        ("query", "sha256:00?x=y"),
    ] {
        let words: &'static [&'static str] = &["digest"];
        let text = image_manifest().to_string().replacen(&digest(super::image_config().to_string()), bad, 1);
        rows.push(no(
            Box::leak(format!("digest-{name}").into_boxed_str()),
            "a digest is SHA-256 in lower case hex, and nothing else is ever made a URL of",
            TAG,
            ok(OCI_MANIFEST, text.into_bytes()),
            words,
        ));
    }
    rows
}
