//! What goes wrong below the documents: heads that are bombs or no HTTP, lengths that lie, connections that break at every
//! point, waits without end, redirects round and round and to other hosts, and servers that ask to be left alone.

use std::time::Duration;

use super::{BASIC, Fault, Row, no, over};

const TAG: &str = "GET /v2/hostile/manifests/1";
const BLOBS: &str = "/blobs/";

fn raw(text: &str) -> Fault {
    Fault::Raw(text.as_bytes().to_vec())
}

fn status(code: u16, headers: &str) -> Fault {
    Fault::Status(code, headers.to_owned(), vec![])
}

/// The rows.
pub fn rows() -> Vec<Row> {
    let many: String = (0..3000).map(|n| format!("X-{n}: {}\r\n", "x".repeat(100))).collect();
    let manifest = super::image_manifest().to_string();
    let typed = |rest: &str| format!("HTTP/1.1 200 OK\r\nContent-Type: {}\r\n{rest}", crate::archive::OCI_MANIFEST);
    let to = |url: &str| status(307, &format!("Location: {url}"));
    let error = |body: Vec<u8>| Fault::Status(403, "Content-Type: application/json".into(), body);
    vec![
        no("no-http", "what is no HTTP is refused", TAG, raw("\u{0}\u{1}\u{2} hello\r\n\r\n"), &["manifest"]),
        no("ssh", "also if it greets", TAG, raw("SSH-2.0-OpenSSH_9.2\r\n"), &["manifest"]),
        no(
            "http-2",
            "HTTP 2 is spoken only when agreed on",
            TAG,
            raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            &["manifest"],
        ),
        no("status-text", "a status is a number", TAG, raw("HTTP/1.1 OK fine\r\n\r\n"), &["manifest"]),
        no("status-99", "of three digits", TAG, raw("HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n"), &["manifest"]),
        no("status-1000", "and no more", TAG, raw("HTTP/1.1 1000 High\r\nContent-Length: 0\r\n\r\n"), &["manifest"]),
        no(
            "header-large",
            "a header has an end",
            TAG,
            Fault::Endless("HTTP/1.1 200 OK\r\nX-A: ".into(), vec![b'a'; 65536]),
            &["manifest"],
        ),
        no(
            "headers-endless",
            "and so have all of them",
            TAG,
            Fault::Endless("HTTP/1.1 200 OK\r\n".into(), b"X-A: aaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(500)),
            &["manifest"],
        ),
        no(
            "headers-many",
            "together they have at most 64 KiB",
            TAG,
            Fault::Raw(format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 0\r\n\r\n").into_bytes()),
            &["manifest"],
        ),
        no(
            "continues",
            "interim answers have an end",
            TAG,
            Fault::Endless(String::new(), b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100)),
            &["manifest"],
        ),
        no(
            "length-text",
            "a length is a number",
            TAG,
            raw("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"),
            &["manifest"],
        ),
        no(
            "length-negative",
            "and not negative",
            TAG,
            raw("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
            &["manifest"],
        ),
        no(
            "length-two",
            "two lengths that differ are none",
            TAG,
            Fault::Raw(
                format!("{}Content-Length: 2\r\nContent-Length: {}\r\n\r\n{manifest}", typed(""), manifest.len())
                    .into_bytes(),
            ),
            &["manifest"],
        ),
        no(
            "length-huge",
            "no room is made for a length before it comes",
            TAG,
            raw(&typed("Content-Length: 18446744073709551615\r\n\r\n{}")),
            &["manifest"],
        ),
        no(
            "chunk-text",
            "a chunk's size is a number",
            TAG,
            raw(&typed("Transfer-Encoding: chunked\r\n\r\nzzz\r\nhello\r\n0\r\n\r\n")),
            &["manifest"],
        ),
        no(
            "chunk-huge",
            "of 64 bits",
            TAG,
            raw(&typed("Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx")),
            &["manifest"],
        ),
        no(
            "chunk-cut",
            "a chunked body that is cut is not whole",
            TAG,
            Fault::Raw(
                format!("{}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{manifest}\r\n", typed(""), manifest.len())
                    .into_bytes(),
            ),
            &["manifest"],
        ),
        no(
            "chunk-extension",
            "a chunk's extension has an end",
            TAG,
            Fault::Endless(typed("Transfer-Encoding: chunked\r\n\r\n5;"), vec![b'e'; 65536]),
            &["manifest"],
        ),
        no(
            "trailers",
            "and so have trailers",
            TAG,
            Fault::Endless(typed("Transfer-Encoding: chunked\r\n\r\n0\r\n"), b"X-A: aaaaaaaaaa\r\n".repeat(1000)),
            &["manifest"],
        ),
        over(
            "encoding-unknown",
            "an encoding that was not asked for is not undone",
            TAG,
            100,
            Fault::Change(|h, _| h.push(("Content-Encoding".into(), "br".into()))),
        ),
        over("close", "a connection that closes without an answer is tried again", TAG, 1, Fault::Close(false)),
        over("reset", "one that is reset as well", TAG, 1, Fault::Close(true)),
        no("close-always", "for a bounded number of times", TAG, Fault::Close(false), &["manifest"])
            .sees(|s| s.count("/manifests/1") <= 6),
        over("reset-body", "also in the middle of a document", TAG, 1, Fault::Reset(100)),
        over("cut-body", "or when it ends early", TAG, 1, Fault::Cut(100)),
        no("silence", "a server that says nothing is not waited for for ever", TAG, Fault::Silence, &["manifest"]),
        no("stall", "nor one that stops in the middle", TAG, Fault::Stall(100), &["manifest"]),
        over("silence-once", "but it is asked again", TAG, 1, Fault::Silence),
        no(
            "drip-header",
            "a document a byte at a time is given up in a minute",
            TAG,
            Fault::Drip(Duration::from_millis(700)),
            &["manifest"],
        ),
        over("500", "a fault of the server is tried again", TAG, 2, status(500, "")),
        over("502-503", "of any kind", TAG, 1, status(502, "")).and(TAG, 1, status(503, "")),
        no("500-always", "for a bounded number of times", TAG, status(500, ""), &["500"])
            .sees(|s| s.count("/manifests/1") <= 3),
        over("503-blob", "also for blobs", BLOBS, 2, status(503, "")),
        no("501", "what a server cannot do is not asked again", TAG, status(501, ""), &["501"])
            .sees(|s| s.count("/manifests/1") == 1),
        over("429", "a server that asks for a pause gets it", TAG, 1, status(429, "Retry-After: 1")),
        over(
            "429-date",
            "also until a time of day that is past",
            TAG,
            1,
            status(429, "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT"),
        ),
        over("429-text", "a pause that is none is one of our own", TAG, 1, status(429, "Retry-After: soon")),
        over("429-negative", "as is a negative one", TAG, 1, status(429, "Retry-After: -1")),
        no(
            "429-day",
            "one of a day is an error and no wait",
            TAG,
            status(429, "Retry-After: 86400"),
            &["too many requests"],
        ),
        no(
            "429-year",
            "also as a date",
            TAG,
            status(429, "Retry-After: Fri, 31 Dec 2066 23:59:59 GMT"),
            &["too many requests"],
        ),
        no(
            "429-overflow",
            "or as a number beyond all",
            TAG,
            status(429, "Retry-After: 99999999999999999999999"),
            &["too many requests"],
        ),
        no("204", "a success without content is none", TAG, status(204, ""), &["manifest"]),
        no(
            "206",
            "nor is a part of what was asked for whole",
            TAG,
            status(206, "Content-Range: bytes 0-0/9"),
            &["manifest"],
        ),
        no("304", "nor an unchanged answer to the first question", TAG, status(304, ""), &["304"]),
        no(
            "101",
            "no other protocol is switched to",
            TAG,
            raw("HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
            &["manifest"],
        ),
        no(
            "error-html",
            "an error page is not shown",
            TAG,
            Fault::Status(403, "Content-Type: text/html".into(), b"<html><script>alert()</script>".to_vec()),
            &["denied"],
        ),
        no(
            "error-escape",
            "what an error says never reaches the terminal raw",
            TAG,
            error(b"{\"errors\":[{\"code\":\"DENIED\",\"message\":\"\\u001b[2J\\u0007\\nerror: fine\"}]}".to_vec()),
            &["denied"],
        ),
        no(
            "error-large",
            "nor at any length",
            TAG,
            Fault::Endless(
                "HTTP/1.1 403 No\r\nContent-Type: application/json\r\n\r\n{\"errors\":[{\"message\":\"".into(),
                vec![b'm'; 65536],
            ),
            &["denied"],
        ),
        no(
            "error-many",
            "nor as many as there are",
            TAG,
            error(format!("{{\"errors\":[{}{{}}]}}", "{\"code\":\"X\",\"message\":\"m\"},".repeat(100)).into_bytes()),
            &["denied"],
        ),
        no("error-deep", "an error's JSON needs no deep stack", TAG, error(b"[".repeat(8000)), &["denied"]),
        over("redirect", "a redirect on the same host is followed", BLOBS, 1, to("http://{host}/v2/hostile/blobs/x"))
            .and("/blobs/x", 1, Fault::Status(307, "Location: /v2/hostile/blobs/y".into(), vec![]))
            .and("/blobs/y", 1, status(503, "")),
        no(
            "redirect-loop",
            "redirects round and round end",
            TAG,
            to("http://{host}/v2/hostile/manifests/1"),
            &["redirect"],
        )
        .sees(|s| s.count("/manifests/1") <= 11),
        no(
            "redirect-long",
            "redirects that go ever on as well",
            "/v2/hostile/",
            Fault::Status(302, "Location: /v2/hostile/manifests/1/more".into(), vec![]),
            &["redirect"],
        ),
        no("redirect-file", "a redirect leads to no file", BLOBS, to("file:///etc/passwd"), &["refused to follow"]),
        no("redirect-ftp", "and to no other protocol", BLOBS, to("ftp://{other}/x"), &["refused to follow"]),
        no("redirect-nothing", "and somewhere", BLOBS, status(307, ""), &["unexpected status 307"]),
        no("redirect-text", "which is a URL", BLOBS, to("http://[::bad"), &["is no URL"]),
        no(
            "redirect-user",
            "a redirect brings no user and password",
            BLOBS,
            to("http://mallory:pw@{other}/x"),
            &["refused to follow"],
        )
        .but(|s| s.wants = Some(BASIC.into())),
        no("redirect-port-0", "and leads to a port", BLOBS, to("http://127.0.0.1:0/x"), &["cannot reach"])
            .but(|s| s.wants = None),
        no(
            "redirect-other",
            "credentials do not go where a redirect leads",
            BLOBS,
            to("http://{other}/v2/hostile/blobs/none"),
            &["not found"],
        )
        .but(|s| s.wants = Some(BASIC.into())),
        no("redirect-manifest-other", "also for a manifest", TAG, to("http://{other}/elsewhere"), &["not found"])
            .but(|s| s.wants = Some(BASIC.into())),
        no(
            "redirect-see-other",
            "also with status 303",
            BLOBS,
            Fault::Status(303, "Location: http://{other}/v2/hostile/blobs/none".into(), vec![]),
            &["not found"],
        )
        .but(|s| s.wants = Some(BASIC.into())),
        no("redirect-back", "also if the other one sends them back", BLOBS, to("http://{other}/back"), &["not found"])
            .but(|s| s.wants = Some(BASIC.into())),
    ]
}
