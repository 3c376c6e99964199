//! Uploads to a registry that sends them elsewhere, lies about what it has, or forgets.

use super::{BASIC, Fault, Row, no, over};

const POST: &str = "POST /v2/hostile/blobs/uploads/";
const PUT: &str = "PUT /v2/hostile/blobs/uploads/";
const MANIFEST: &str = "PUT /v2/hostile/manifests/1";

fn status(code: u16, headers: &str) -> Fault {
    Fault::Status(code, headers.to_owned(), vec![])
}

/// The rows.
pub fn rows() -> Vec<Row> {
    vec![
        over("plain", "an image is pushed", "nothing", 0, Fault::Silence),
        no("location-none", "an upload says where it goes on", POST, status(202, ""), &["no place to upload"]),
        no("location-text", "at a URL", POST, status(202, "Location: http://[bad"), &["Location"]),
        no("location-file", "of HTTP", POST, status(202, "Location: file:///tmp/x"), &["refused to follow"]),
        over(
            "location-other",
            "credentials do not go to a place elsewhere",
            POST,
            100,
            status(202, "Location: http://{other}/v2/hostile/blobs/uploads/1"),
        )
        .but(|s| s.wants = Some(BASIC.into())),
        no(
            "location-user",
            "which brings no user and password",
            POST,
            status(202, "Location: http://mallory:pw@{other}/x"),
            &["refused to follow"],
        )
        .but(|s| s.wants = Some(BASIC.into())),
        no("redirect-other", "nor where a redirect leads", PUT, status(307, "Location: http://{other}/x"), &["push"])
            .but(|s| s.wants = Some(BASIC.into())),
        no("500", "a registry that cannot take it says so", POST, status(500, ""), &["500"]),
        no("413", "or that it is too large", PUT, status(413, ""), &["413"]),
        no("403", "or that it may not be", POST, status(403, ""), &["denied"]),
        no("404", "or that it does not know the repository", POST, status(404, ""), &["push"]),
        over("503", "a fault is got over", POST, 1, status(503, "")),
        over("close", "a broken connection as well", POST, 1, Fault::Close(true)),
        over("close-put", "also in an upload", PUT, 1, Fault::Close(true)),
        no("close-always", "for a bounded number of times", PUT, Fault::Close(true), &["push"]),
        no("silence", "a registry that says nothing is not waited for for ever", POST, Fault::Silence, &["push"]),
        no(
            "digest",
            "a registry that finds another digest is told of",
            PUT,
            Fault::Status(
                400,
                "Content-Type: application/json".into(),
                br#"{"errors":[{"code":"DIGEST_INVALID","message":"\u001b[2J"}]}"#.to_vec(),
            ),
            &["unexpected status 400"],
        ),
        no(
            "202",
            "an upload that is only accepted is not there",
            PUT,
            status(202, "Location: /v2/hostile/blobs/uploads/1"),
            &["202"],
        ),
        no(
            "201-other",
            "one that got another digest is not what was sent",
            PUT,
            status(
                201,
                "Docker-Content-Digest: sha256:0000000000000000000000000000000000000000000000000000000000000000",
            ),
            &["digest"],
        ),
        no("manifest-500", "a manifest that is not taken is no push", MANIFEST, status(500, ""), &["500"]),
        no(
            "manifest-400",
            "whatever the reason",
            MANIFEST,
            Fault::Status(400, String::new(), br#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}"#.to_vec()),
            &["MANIFEST_BLOB_UNKNOWN"],
        ),
        no(
            "manifest-other",
            "one that got another digest is not what was sent",
            MANIFEST,
            status(
                201,
                "Docker-Content-Digest: sha256:0000000000000000000000000000000000000000000000000000000000000000",
            ),
            &["digest"],
        ),
        no("manifest-202", "one that is only accepted is not there", MANIFEST, status(202, ""), &["202"]),
        no(
            "head-lies",
            "a registry that has everything and then nothing is found out",
            "HEAD /v2/hostile/blobs/",
            status(200, "Content-Length: 5"),
            &["MANIFEST_BLOB_UNKNOWN"],
        )
        .and(
            MANIFEST,
            9,
            Fault::Status(400, String::new(), br#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}"#.to_vec()),
        ),
        no(
            "loop",
            "a registry that is never content is left",
            POST,
            status(401, "WWW-Authenticate: Basic realm=\"x\""),
            &["authentication required"],
        ),
    ]
}
