//! Challenges and token servers that are after the password, or talk nonsense.

use super::{BASIC, Fault, Row, State, no, over};

const TAG: &str = "GET /v2/hostile/manifests/1";

fn challenge(text: &str) -> Fault {
    Fault::Status(401, format!("WWW-Authenticate: {text}"), vec![])
}

fn token(text: &str) -> Fault {
    Fault::Status(200, "Content-Type: application/json".into(), text.as_bytes().to_vec())
}

fn basic(state: &mut State) {
    state.wants = Some(BASIC.into());
}

fn bearer(state: &mut State) {
    state.wants = Some("Bearer sesame".into());
}

/// The rows.
pub fn rows() -> Vec<Row> {
    let at = "GET /token";
    let large = format!(r#"{{"token":"{}"}}"#, "t".repeat(2 << 20));
    let words: &'static [&'static str] = &["token"];
    let said = |name, rule, fault| no(name, rule, at, fault, words).but(bearer);
    vec![
        over("basic", "a password goes to the host that it is for", "nothing", 0, Fault::Silence).but(basic),
        over("bearer", "a token is fetched and used", "nothing", 0, Fault::Silence).but(bearer),
        no(
            "bearer-twice",
            "a token that is worth nothing at once is no reason to ask again",
            at,
            token(r#"{"token":"old"}"#),
            &["authentication required"],
        )
        .but(bearer),
        no(
            "loop",
            "a registry that is never content is left",
            TAG,
            challenge("Basic realm=\"x\""),
            &["authentication required"],
        )
        .sees(|s| s.count("/manifests/1") <= 4),
        no(
            "loop-bearer",
            "also one that takes no token",
            TAG,
            challenge("Bearer realm=\"http://{host}/token\""),
            &["authentication required"],
        )
        .sees(|s| s.count("/token") <= 4),
        no(
            "none",
            "a refusal without a challenge is one",
            TAG,
            Fault::Status(401, String::new(), vec![]),
            &["authentication required"],
        ),
        no("unknown", "an unknown scheme is named", TAG, challenge("Negotiate abc"), &["authentication required"]),
        no(
            "digest-scheme",
            "a scheme that we have not is no reason to send a password",
            TAG,
            challenge("Digest realm=\"x\", nonce=\"y\""),
            &["authentication required"],
        ),
        no(
            "no-realm",
            "a challenge says where to get a token",
            TAG,
            challenge("Bearer service=\"x\""),
            &["authentication required"],
        ),
        no("realm-text", "at a URL", TAG, challenge("Bearer realm=\"here\""), &["realm"]),
        no("realm-file", "of HTTP", TAG, challenge("Bearer realm=\"file:///etc/passwd\""), &["refused to follow"]),
        no(
            "realm-other",
            "a password does not go to a token server without TLS",
            TAG,
            challenge("Bearer realm=\"http://192.0.2.1/token\",service=\"x\""),
            &["refused to follow"],
        ),
        no(
            "realm-user",
            "a realm brings no user and password",
            TAG,
            challenge("Bearer realm=\"http://mallory:pw@{other}/token\""),
            &["refused to follow"],
        ),
        no(
            "realm-loop",
            "a token server that wants a token is left",
            at,
            challenge("Bearer realm=\"http://{host}/token\""),
            &["authentication required"],
        )
        .but(bearer)
        .sees(|s| s.count("/token") <= 6),
        over(
            "realm-redirect",
            "a token server's redirect does not take the password along",
            at,
            1,
            Fault::Status(307, "Location: http://{other}/token".into(), vec![]),
        )
        .but(bearer),
        no(
            "challenge-garbage",
            "a challenge that is none is refused",
            TAG,
            challenge("\"\"\",,,=,=\u{7f}"),
            &["header"],
        ),
        no(
            "challenge-large",
            "one of any length as well",
            TAG,
            challenge(&format!("Bearer realm=\"{}\"", "x".repeat(60_000))),
            &["realm"],
        ),
        no(
            "challenge-open",
            "a quote that is never closed hides nothing",
            TAG,
            challenge("Bearer realm=\"http://{other}/token"),
            &["authentication required"],
        ),
        no(
            "challenge-many",
            "of many challenges the first that we know counts",
            TAG,
            challenge(&format!("{}Basic realm=\"x\"", "New x=\"y\", ".repeat(1000))),
            &["authentication required"],
        ),
        no(
            "scope-escape",
            "what a challenge says never reaches the terminal raw",
            TAG,
            challenge("X\u{1b}[2J realm=\"\u{1b}]0;x\u{7}\""),
            &["header"],
        ),
        said("token-empty", "an answer without a token is none", token("{}")),
        said("token-text", "a token answer is JSON", token("sesame")),
        said("token-html", "and no page", Fault::Status(200, "Content-Type: text/html".into(), b"<html>".to_vec())),
        said("token-number", "a token is text", token(r#"{"token":5}"#)),
        said("token-newline", "without a line break that would be a header", token(r#"{"token":"a\r\nX-Evil: 1"}"#)),
        said("token-nul", "and without NUL", token(r#"{"token":"a\u0000b"}"#)),
        said("token-large", "a token answer has at most 1 MiB", Fault::Status(200, String::new(), large.into_bytes())),
        said("token-endless", "and an end", Fault::Endless("HTTP/1.1 200 OK\r\n\r\n".into(), vec![b'{'; 65536])),
        said("token-500", "a token server that is broken is named", Fault::Status(500, String::new(), vec![])),
        said("token-close", "also one that closes", Fault::Close(false)),
        said("token-silence", "or says nothing", Fault::Silence),
        over("token-503", "a fault of it is got over", at, 1, Fault::Status(503, String::new(), vec![])).but(bearer),
        no(
            "token-wrong",
            "a token that is worth nothing is not tried for ever",
            at,
            token(r#"{"token":"wrong"}"#),
            &["authentication required"],
        )
        .but(bearer)
        .sees(|s| s.count("/token") <= 4),
        said("token-expiry", "a lifetime is not negative", token(r#"{"token":"sesame","expires_in":-5}"#)),
    ]
}
