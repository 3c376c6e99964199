//! Uploads, whole and in chunks, cut and resumed.

use std::cell::{Cell, RefCell};
use std::io::{self, Cursor, Read};

use registry_client::testing::{Auth, Fault, Registry};
use registry_client::{
    Client, Config, Credential, CredentialSource, Descriptor, Digest, Error, MediaType, PushOutcome,
};

use crate::{client, noise, quick};

const SIZE: usize = 1_000_000;

fn chunked() -> Client {
    Client::new(Config { upload_chunk: Some(300_000), ..quick() }).unwrap()
}

fn push(client: &Client, registry: &Registry, bytes: &[u8], from: Option<&str>) -> Result<PushOutcome, Error> {
    let owned = bytes.to_owned();
    let open = |offset: u64| Ok(Box::new(Cursor::new(owned[offset as usize..].to_vec())) as Box<dyn Read + Send>);
    client.push_blob(&registry.reference("a/b"), &Descriptor::of("x", bytes), &open, from, None)
}

#[test]
fn whole_chunked_existing_and_empty() {
    let registry = Registry::start();
    for (client, bytes) in
        [(client(), noise(SIZE)), (chunked(), noise(SIZE + 1)), (client(), vec![]), (chunked(), vec![7; 299])]
    {
        assert_eq!(push(&client, &registry, &bytes, None).unwrap(), PushOutcome::Uploaded);
        assert!(registry.blob("a/b", &Digest::of(&bytes)).unwrap() == bytes);
        assert_eq!(push(&client, &registry, &bytes, None).unwrap(), PushOutcome::Existed);
        assert!(client.has_blob(&registry.reference("a/b"), &Digest::of(&bytes)).unwrap());
    }
    assert_eq!(registry.count("PATCH"), 4);
    assert!(!client().has_blob(&registry.reference("a/b"), &Digest::of(b"other")).unwrap());
}

#[test]
fn mounts() {
    let registry = Registry::start();
    let bytes = noise(SIZE);
    registry.put_blob("base/image", "x", &bytes);
    assert_eq!(push(&client(), &registry, &bytes, Some("base/image")).unwrap(), PushOutcome::Mounted);
    assert_eq!((registry.count("PUT"), registry.blob("a/b", &Digest::of(&bytes)).is_some()), (0, true));
    // The repository does not have it: the session that comes instead is used.
    assert_eq!(push(&client(), &registry, b"new", Some("base/image")).unwrap(), PushOutcome::Uploaded);
    registry.fault("mount=", 1, Fault::Status(403, vec![]));
    assert_eq!(push(&client(), &registry, b"newer", Some("base/image")).unwrap(), PushOutcome::Uploaded);
    assert!(push(&client(), &registry, b"newest", Some("../x?y=")).is_err());
}

#[test]
fn a_cut_upload_goes_on_where_it_was() {
    for client in [client(), chunked()] {
        let registry = Registry::start();
        let bytes = noise(SIZE);
        registry.fault("/blobs/uploads/session", 1, Fault::CutUpload(250_000));
        registry.fault("PATCH", 1, Fault::CutUpload(100_000));
        registry.fault("PATCH", 1, Fault::Status(500, vec![]));
        registry.fault("POST", 2, Fault::Status(502, vec![]));
        let offsets = RefCell::new(vec![]);
        let open = |offset: u64| {
            offsets.borrow_mut().push(offset);
            Ok(Box::new(Cursor::new(bytes[offset as usize..].to_vec())) as Box<dyn Read + Send>)
        };
        let told = Cell::new(0);
        let progress = |sent: u64| told.set(sent);
        let descriptor = Descriptor::of("x", &bytes);
        client.push_blob(&registry.reference("a/b"), &descriptor, &open, None, Some(&progress)).unwrap();
        assert!(registry.blob("a/b", &descriptor.digest).unwrap() == bytes);
        assert_eq!(told.get(), SIZE as u64);
        assert_eq!(offsets.borrow()[..3], [0, 250_000, 350_000]);
    }
}

#[test]
fn a_lost_session_starts_over() {
    let registry = Registry::start();
    let bytes = noise(SIZE);
    registry.fault("PUT", 1, Fault::CutUpload(200_000));
    registry.fault("GET /v2/a/b/blobs/uploads/", 1, Fault::Status(404, vec![]));
    assert_eq!(push(&client(), &registry, &bytes, None).unwrap(), PushOutcome::Uploaded);
    assert_eq!(registry.count("POST"), 2);
    // A session that ends, or that disagrees about the range, is not the end either.
    registry.fault("PATCH", 1, Fault::Status(404, vec![]));
    registry.fault("PATCH", 1, Fault::Status(416, vec![]));
    assert_eq!(push(&chunked(), &registry, &noise(SIZE + 1), None).unwrap(), PushOutcome::Uploaded);
}

#[test]
fn a_blob_that_cannot_be_read_or_is_too_short_is_an_error_at_once() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("disk on fire"))
        }
    }
    let registry = Registry::start();
    let bytes = noise(SIZE);
    let descriptor = Descriptor::of("x", &bytes);
    let reference = registry.reference("a/b");
    let client = client();
    let broken = |_| Ok(Box::new(Cursor::new(noise(200_000)).chain(Broken)) as Box<dyn Read + Send>);
    let error = client.push_blob(&reference, &descriptor, &broken, None, None).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    let short = |_| Ok(Box::new(Cursor::new(noise(200_000))) as Box<dyn Read + Send>);
    let error = client.push_blob(&reference, &descriptor, &short, None, None).unwrap_err();
    assert!(matches!(error, Error::SizeMismatch { .. }), "{error:?}");
    let other = |_| Ok(Box::new(Cursor::new(vec![0_u8; SIZE])) as Box<dyn Read + Send>);
    let error = client.push_blob(&reference, &descriptor, &other, None, None).unwrap_err();
    assert!(matches!(error, Error::Status { status: 400, .. }), "{error:?}");
    assert!(registry.blob("a/b", &descriptor.digest).is_none());
}

#[test]
fn a_refusal_in_the_middle_is_reported_and_not_waited_for() {
    let registry = Registry::start();
    registry.fault("PUT", 1, Fault::Status(413, vec![]));
    let error = push(&client(), &registry, &noise(9_000_000), None).unwrap_err();
    assert!(matches!(error, Error::Status { status: 413, .. }), "{error:?}");
}

#[test]
fn authorization_lasts_through_an_upload() {
    let registry = Registry::with_auth(Auth::Bearer { user: ("me".into(), "pw".into()), anonymous_pull: true });
    let credential = Credential::Password { username: "me".into(), password: "pw".into() };
    let source = CredentialSource::Fixed { registry: registry.host().to_owned(), credential };
    let client = Client::new(Config { credentials: vec![source], upload_chunk: Some(300_000), ..quick() }).unwrap();
    let bytes = noise(SIZE);
    let descriptor = Descriptor::of("x", &bytes);
    let revoked = Cell::new(false);
    let open = |offset: u64| {
        if offset >= 300_000 && !revoked.replace(true) {
            registry.revoke_tokens();
        }
        Ok(Box::new(Cursor::new(bytes[offset as usize..].to_vec())) as Box<dyn Read + Send>)
    };
    client.push_blob(&registry.reference("a/b"), &descriptor, &open, None, None).unwrap();
    assert!(revoked.get() && registry.blob("a/b", &descriptor.digest).unwrap() == bytes);
    registry.put_blob("base", "x", b"mounted");
    assert_eq!(push(&client, &registry, b"mounted", Some("base")).unwrap(), PushOutcome::Mounted);
}

#[test]
fn manifests_tags_and_deletion() {
    let registry = Registry::start();
    let client = client();
    let config = Descriptor::of(MediaType::OCI_CONFIG, b"{}");
    let bytes = serde_json::json!({"schemaVersion":2,"config":config,"layers":[]}).to_string().into_bytes();
    let tagged = registry.reference("a/b:1");
    registry.fault("PUT", 1, Fault::Status(503, vec![]));
    let digest = client.push_manifest(&tagged, MediaType::OCI_MANIFEST, &bytes).unwrap();
    assert_eq!((digest, registry.manifest("a/b", "1").unwrap()), (Digest::of(&bytes), bytes.clone()));
    assert_eq!(client.tags(&tagged).unwrap(), ["1"]);
    let other = tagged.with_digest(Digest::of(b"other"));
    assert!(matches!(client.push_manifest(&other, "x", &bytes), Err(Error::DigestMismatch { .. })));
    assert!(client.delete_manifest(&tagged).is_err());
    client.delete_manifest(&tagged.with_digest(digest)).unwrap();
    assert_eq!(client.manifest_exists(&tagged).unwrap(), None);
    assert!(client.delete_manifest(&tagged.with_digest(digest)).unwrap_err().is_not_found());
}
