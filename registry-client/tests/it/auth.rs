//! Who may pull and push: basic, bearer, identity tokens, and where credentials must not go.

use std::sync::Arc;

use registry_client::testing::{Auth, Fault, Registry};
use registry_client::{Client, Config, Credential, CredentialSource, DockerConfig, Error};

use crate::{client, quick};

const SECRET: &str = "s3same";

fn bearer(anonymous_pull: bool) -> Auth {
    Auth::Bearer { user: ("me".into(), SECRET.into()), anonymous_pull }
}

fn with(registry: &Registry, credential: Credential) -> Client {
    let source = CredentialSource::Fixed { registry: registry.host().to_owned(), credential };
    Client::new(Config { credentials: vec![source], ..quick() }).unwrap()
}

fn password(password: &str) -> Credential {
    Credential::Password { username: "me".into(), password: password.into() }
}

#[test]
fn basic() {
    let registry = Registry::with_auth(Auth::Basic("me".into(), SECRET.into()));
    registry.put_image("a/b", "1", &[b"layer"]);
    let reference = registry.reference("a/b:1");
    let client_with = with(&registry, password(SECRET));
    client_with.manifest(&reference, &[]).unwrap();
    client_with.manifest(&reference, &[]).unwrap();
    assert_eq!(
        registry.requests().iter().filter(|r| r.path != "/v2/" && r.header("authorization").is_none()).count(),
        1
    );
    for client in [client(), with(&registry, password("wrong"))] {
        let error = client.manifest(&reference, &[]).unwrap_err();
        assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
        assert!(error.hint().unwrap().contains(&format!("img login {}", registry.host())));
    }
}

#[test]
fn anonymous_tokens() {
    let registry = Registry::with_auth(bearer(true));
    registry.put_image("a/b", "1", &[b"layer"]);
    let client = client();
    let reference = registry.reference("a/b:1");
    client.resolve(&reference, &"linux/amd64".parse().unwrap()).unwrap();
    assert_eq!(registry.count("/token"), 1, "one token serves manifest and config");
    let digest = registry_client::Digest::of(b"x");
    assert!(matches!(client.push_manifest(&reference, "x", b"x"), Err(Error::Unauthorized { .. })), "{digest}");
}

#[test]
fn tokens_for_a_user_are_shared_by_threads_and_renewed() {
    let registry = Registry::with_auth(bearer(false));
    registry.put_image("a/b", "1", &[b"layer"]);
    let client = with(&registry, password(SECRET));
    let reference = registry.reference("a/b:1");
    client.manifest(&reference, &[]).unwrap();
    registry.revoke_tokens();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| client.manifest(&reference, &[]).unwrap());
        }
    });
    assert_eq!(registry.count("/token"), 2);
    registry.put_image("other", "1", &[b"layer"]);
    client.manifest(&registry.reference("other:1"), &[]).unwrap();
    assert_eq!(registry.count("/token"), 3, "another repository is another scope");
    let token = registry.requests().into_iter().find(|r| r.path == "/token").unwrap();
    assert_eq!(token.query("scope"), Some("repository:a/b:pull"));
    assert_eq!((token.query("service"), token.query("account")), (Some("test registry"), Some("me")));
}

#[test]
fn a_token_that_dies_during_a_download_is_renewed() {
    let registry = Registry::with_auth(bearer(false));
    let bytes = crate::noise(1_000_000);
    let blob = registry.put_blob("a/b", "x", &bytes);
    let client = with(&registry, password(SECRET));
    registry.fault(
        "GET /v2/a/b/blobs",
        1,
        Fault::Status(
            401,
            vec![("WWW-Authenticate".into(), format!(r#"Bearer realm="http://{}/token""#, registry.host()))],
        ),
    );
    registry.fault("GET /v2/a/b/blobs", 1, Fault::Truncate(500_000));
    let mut reader = client.blob(&registry.reference("a/b"), &blob, 0).unwrap();
    registry.revoke_tokens();
    let mut read = vec![];
    std::io::Read::read_to_end(&mut reader, &mut read).unwrap();
    assert!(read == bytes);
}

#[test]
fn login_gives_an_identity_token_that_works() {
    let registry = Registry::with_auth(bearer(false));
    registry.put_image("a/b", "1", &[b"layer"]);
    let outcome = client().ping_login(registry.host(), "me", SECRET).unwrap();
    assert!(outcome.checked && matches!(outcome.credential, Credential::IdentityToken(_)));
    with(&registry, outcome.credential).manifest(&registry.reference("a/b:1"), &[]).unwrap();
    // A token server that knows only GET.
    registry.fault("POST /token", 1, Fault::Status(405, vec![]));
    assert!(matches!(
        client().ping_login(registry.host(), "me", SECRET).unwrap().credential,
        Credential::IdentityToken(_)
    ));
    let error = client().ping_login(registry.host(), "me", "wrong").unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }) && error.to_string().contains("incorrect username"), "{error}");
    registry.set_auth(Auth::Basic("me".into(), SECRET.into()));
    assert_eq!(client().ping_login(registry.host(), "me", SECRET).unwrap().credential, password(SECRET));
    assert!(client().ping_login(registry.host(), "me", "wrong").is_err());
    registry.set_auth(Auth::Open);
    assert!(!client().ping_login(registry.host(), "me", "any").unwrap().checked);
    assert!(client().ping_login("http://x", "me", "any").is_err());
}

#[test]
fn credentials_go_nowhere_else() {
    let registry = Registry::with_auth(Auth::Basic("me".into(), SECRET.into()));
    let thief = Registry::with_auth(Auth::Basic("me".into(), SECRET.into()));
    let blob = registry.put_blob("a/b", "x", b"bytes");
    thief.put_blob("a/b", "x", b"bytes");
    registry.fault("/blobs/", 1, Fault::Redirect(format!("http://{}", thief.host())));
    let client = with(&registry, password(SECRET));
    let error = crate::read(&client, &registry, &blob, 0).unwrap_err();
    // The thief asks for credentials and gets none.
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    assert!(!thief.requests().is_empty() && thief.requests().iter().all(|r| r.header("authorization").is_none()));
    let realm = r#"Bearer realm="http://192.0.2.1/token""#;
    registry.fault("/manifests/", 1, Fault::Status(401, vec![("WWW-Authenticate".into(), realm.into())]));
    let error = with(&registry, password(SECRET)).manifest(&registry.reference("a/b:1"), &[]).unwrap_err();
    assert!(matches!(error, Error::Redirect { .. }), "{error}");
}

#[test]
fn token_servers_that_misbehave() {
    let registry = Registry::with_auth(bearer(true));
    registry.put_image("a/b", "1", &[b"layer"]);
    let reference = registry.reference("a/b:1");
    registry.fault("/token", 2, Fault::Status(500, vec![]));
    client().manifest(&reference, &[]).unwrap();
    registry.fault("/token", 1, Fault::Corrupt);
    let error = client().manifest(&reference, &[]).unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }) && !format!("{error:?}").contains("token-"), "{error:?}");
    registry.fault("/token", 1, Fault::Length(2 << 20));
    assert!(matches!(client().manifest(&reference, &[]), Err(Error::TooLarge { .. })));
    registry.fault("/token", 1, Fault::Truncate(3));
    client().manifest(&reference, &[]).unwrap();
}

#[test]
fn namespaces_have_their_own_credentials() {
    let registry = Registry::with_auth(Auth::Basic("me".into(), SECRET.into()));
    registry.put_image("team/app", "1", &[b"layer"]);
    registry.put_image("other/app", "1", &[b"layer"]);
    // "me:s3same" for the team, "me:wrong" for the rest.
    let json = format!(
        r#"{{"auths":{{"{0}/team":{{"auth":"bWU6czNzYW1l"}},"{0}":{{"auth":"bWU6d3Jvbmc="}}}}}}"#,
        registry.host()
    );
    let config = Arc::new(DockerConfig::parse(json.as_bytes(), "auth.json").unwrap());
    let source = CredentialSource::File { config, helper_dirs: vec![] };
    let client = Client::new(Config { credentials: vec![source], ..quick() }).unwrap();
    assert!(client.manifest(&registry.reference("other/app:1"), &[]).is_err());
    client.manifest(&registry.reference("team/app:1"), &[]).unwrap();
    assert!(client.manifest(&registry.reference("other/app:1"), &[]).is_err());
}
