//! Blobs that are not what they are called, range answers that lie, and content that changes while it is fetched.

use std::time::Duration;

use super::{Fault, Row, holds, layers, no, over};
use crate::archive::digest;

/// Rows name blobs by a word; here it becomes the digest, once and for all.
fn blob(name: &str) -> &'static str {
    let [small, large] = layers();
    let bytes = if name == "small" { small } else { large };
    Box::leak(format!("/blobs/{}", digest(bytes)).into_boxed_str())
}

fn set(headers: &mut Vec<(String, String)>, name: &str, value: &str) {
    headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
    headers.push((name.to_owned(), value.to_owned()));
}

/// The rows.
pub fn rows() -> Vec<Row> {
    let (small, large) = (blob("small"), blob("large"));
    let config = Box::leak(format!("/blobs/{}", digest(super::image_config().to_string())).into_boxed_str());
    let middle = |_: &mut Vec<(String, String)>, body: &mut Vec<u8>| {
        let at = body.len() / 2;
        body[at] ^= 4;
    };
    let empty = |_: &mut Vec<(String, String)>, body: &mut Vec<u8>| body.clear();
    let longer = |_: &mut Vec<(String, String)>, body: &mut Vec<u8>| body.push(0);
    let html = || Fault::Status(200, "Content-Type: text/html".into(), b"<html>log in</html>".to_vec());
    vec![
        no("flip-small", "a layer with one bit changed is not taken", small, Fault::Change(middle), &["digest"]),
        no("flip-large", "nor a large one", large, Fault::Change(middle), &["sha256:"]),
        no("flip-config", "nor a config", config, Fault::Change(middle), &["sha256:"]),
        no("empty", "an empty body is no layer", small, Fault::Change(empty), &["expected 2048 bytes"]),
        no("empty-config", "and no config", config, Fault::Change(empty), &["config"]),
        no(
            "longer",
            "a layer that goes on after its end is not taken",
            small,
            Fault::Change(longer),
            &["expected 2048 bytes"],
        ),
        no("longer-config", "nor such a config", config, Fault::Change(longer), &["config"]),
        no(
            "shorter",
            "a layer that ends early by its own length is not taken",
            small,
            Fault::Change(|_, body| body.truncate(body.len() - 1)),
            &["expected 2048 bytes"],
        ),
        no(
            "swapped",
            "a layer is not another layer",
            small,
            Fault::Change(|_, body| *body = layers()[1].clone()),
            &["expected 2048 bytes"],
        ),
        no("html", "a page to log in is no layer", small, html(), &["expected 2048 bytes"]),
        no("html-config", "and no config", config, html(), &["config"]),
        no(
            "other-digest-header",
            "what the header calls a blob does not make it that",
            small,
            Fault::Change(|headers, body| {
                set(headers, "Docker-Content-Digest", "sha256:aa");
                body[0] ^= 1;
            }),
            &["layer"],
        ),
        over(
            "wrong-digest-header",
            "nor does a wrong header spoil a right blob",
            small,
            100,
            Fault::Change(|headers, _| set(headers, "Docker-Content-Digest", "sha256:../../x")),
        ),
        over(
            "wrong-type-header",
            "nor a wrong type",
            small,
            100,
            Fault::Change(|headers, _| set(headers, "Content-Type", "text/html; charset=\"x")),
        ),
        no(
            "missing",
            "a layer that is not there is named",
            small,
            Fault::Status(404, String::new(), vec![]),
            &["not found"],
        ),
        no("gone", "also when it is gone for good", small, Fault::Status(410, String::new(), vec![]), &["410"]),
        over(
            "encoded",
            "an encoding that the header claims is not believed: the digest counts",
            small,
            100,
            Fault::Change(|headers, _| set(headers, "Content-Encoding", "gzip")),
        ),
        over("cut", "a layer that is cut is gone on with where it ended", large, 1, Fault::Cut(1 << 20)).sees(
            |state| {
                state
                    .requests
                    .iter()
                    .any(|r| r.headers.iter().any(|(n, v)| n == "range" && v.starts_with("bytes=1048576-")))
            },
        ),
        over("cut-twice", "also if it is cut again", large, 2, Fault::Cut(1 << 20)),
        over("cut-small", "a small one too", small, 1, Fault::Cut(100)),
        over("cut-at-once", "also before its first byte", large, 1, Fault::Cut(0)),
        over("reset", "also if the connection is reset", large, 1, Fault::Reset(1 << 20)),
        over("stall", "a layer that stops coming is gone on with", large, 1, Fault::Stall(1 << 20)).sees(|state| {
            state
                .requests
                .iter()
                .any(|r| r.headers.iter().any(|(n, v)| n == "range" && v.starts_with("bytes=1048576-")))
        }),
        no("stall-always", "for a bounded number of times without progress", large, Fault::Stall(0), &["layer"]),
        no("cut-always", "a layer that never comes whole is given up", small, Fault::Cut(10), &["layer"]),
        over(
            "range-ignored",
            "a whole body in answer to a range is not put behind what is there",
            large,
            1,
            Fault::Cut(1 << 20),
        )
        .and(large, 1, Fault::Status(200, String::new(), layers()[1].clone())),
        no(
            "range-elsewhere",
            "a range that begins elsewhere is not put behind what is there",
            large,
            Fault::Cut(1 << 20),
            &["layer"],
        )
        .first(1)
        .and(
            large,
            100,
            Fault::Change(|headers, body| {
                let whole = layers()[1].clone();
                set(headers, "Content-Range", &format!("bytes 0-{}/{}", whole.len() - 1, whole.len()));
                *body = whole;
            }),
        ),
        no("range-of-other", "nor one of other bytes", large, Fault::Cut(1 << 20), &["sha256:"]).first(1).and(
            large,
            100,
            Fault::Change(|_, body| body.fill(7)),
        ),
        over("range-refused", "a registry without ranges sends it anew", large, 1, Fault::Cut(1 << 20)).and(
            large,
            1,
            Fault::Status(416, String::new(), vec![]),
        ),
        no("range-text", "a range header of text is refused", large, Fault::Cut(1 << 20), &["layer"]).first(1).and(
            large,
            100,
            Fault::Change(|headers, _| set(headers, "Content-Range", "bytes a lot")),
        ),
        no("range-longer", "a range that goes on after the end is cut there", large, Fault::Cut(1 << 20), &["layer"])
            .first(1)
            .and(
                large,
                100,
                Fault::Change(|headers, body| {
                    body.extend_from_slice(&[0; 4096]);
                    set(headers, "Content-Range", "bytes 1048576-9999999/10000000");
                }),
            ),
        no(
            "changed-between",
            "a layer that changes between two tries is not taken",
            large,
            Fault::Cut(1 << 20),
            &["sha256:"],
        )
        .first(1)
        .and(
            large,
            100,
            Fault::Change(|headers, body| {
                set(headers, "ETag", "\"other\"");
                body[0] ^= 1;
            }),
        ),
        no(
            "drip",
            "a layer that comes a byte at a time is given up",
            large,
            Fault::Drip(Duration::from_millis(30)),
            &["sent too little"],
        ),
        no(
            "endless",
            "an endless layer ends at its size",
            small,
            Fault::Endless("HTTP/1.1 200 OK\r\n\r\n".into(), vec![b'x'; 65536]),
            &["layer"],
        ),
        no(
            "endless-config",
            "so does an endless config",
            config,
            Fault::Endless("HTTP/1.1 200 OK\r\n\r\n".into(), vec![b' '; 65536]),
            &["config"],
        ),
        holds(
            "diff-id",
            "a layer is what the config says, whatever the manifest does",
            |state| {
                let other = state.blob(crate::tar::Tar::new().file("other", "o").end());
                state.change(|manifest| manifest["layers"][0] = other.clone());
            },
            &["uncompressed layer"],
        ),
        holds(
            "bomb",
            "a bomb is stopped while it is inflated",
            |state| {
                let bomb = state.blob(crate::compression::zeros(10_000));
                state.change(|manifest| manifest["layers"][0] = bomb.clone());
            },
            &["bytes for each compressed one"],
        ),
    ]
}
