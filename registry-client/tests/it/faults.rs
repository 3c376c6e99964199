//! Pulls from a registry that misbehaves, fault by fault.

use std::time::{Duration, Instant};

use registry_client::testing::{Fault, Registry};
use registry_client::{Client, Config, Descriptor, Error, Event};

use crate::{client, noise, observed, quick, read};

const SIZE: usize = 1_500_000;

fn blob() -> (Registry, Descriptor, Vec<u8>) {
    let (registry, bytes) = (Registry::start(), noise(SIZE));
    let descriptor = registry.put_blob("a/b", "x", &bytes);
    (registry, descriptor, bytes)
}

fn ranges(registry: &Registry) -> Vec<String> {
    registry.requests().iter().filter_map(|r| r.header("range").map(str::to_owned)).collect()
}

#[test]
fn a_cut_download_goes_on_where_it_was() {
    let (registry, blob, bytes) = blob();
    registry.fault("/blobs/", 1, Fault::Truncate(1000));
    registry.fault("/blobs/", 1, Fault::Truncate(100_000));
    registry.fault("/blobs/", 1, Fault::Close);
    registry.fault("/blobs/", 1, Fault::Status(503, vec![]));
    let client = client();
    assert!(read(&client, &registry, &blob, 0).unwrap() == bytes);
    assert_eq!(ranges(&registry), ["bytes=1000-", "bytes=101000-", "bytes=101000-", "bytes=101000-"]);
}

#[test]
fn a_server_without_ranges_starts_over_and_the_bytes_still_fit() {
    let (registry, blob, bytes) = blob();
    registry.fault("/blobs/", 1, Fault::Truncate(700_001));
    registry.fault("/blobs/", usize::MAX, Fault::NoRange);
    let client = client();
    assert!(read(&client, &registry, &blob, 0).unwrap() == bytes);
    assert!(read(&client, &registry, &blob, 5).unwrap() == bytes[5..]);
}

#[test]
fn offsets() {
    let (registry, blob, bytes) = blob();
    let client = client();
    assert!(read(&client, &registry, &blob, 123_456).unwrap() == bytes[123_456..]);
    assert_eq!(read(&client, &registry, &blob, blob.size - 1).unwrap(), bytes[SIZE - 1..]);
    assert_eq!(read(&client, &registry, &blob, blob.size).unwrap(), b"");
    assert!(matches!(read(&client, &registry, &blob, blob.size + 1), Err(Error::SizeMismatch { .. })));
    registry.fault("/blobs/", 1, Fault::Header("Content-Range".into(), "bytes 0-9/10".into()));
    assert!(matches!(read(&client, &registry, &blob, 10), Err(Error::Protocol { .. })));
}

#[test]
fn wrong_bytes_are_an_error_at_the_end() {
    let (registry, blob, _) = blob();
    registry.fault("/blobs/", 1, Fault::Corrupt);
    let error = read(&client(), &registry, &blob, 0).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
}

#[test]
fn more_or_fewer_bytes_than_announced_are_an_error() {
    let (registry, blob, bytes) = blob();
    let client = Client::new(Config { tries: 1, ..quick() }).unwrap();
    for fault in [
        Fault::Extra(noise(10)),
        Fault::Length(SIZE + 1),
        Fault::Length(SIZE - 1),
        Fault::Length(usize::from(u16::MAX) << 8),
    ] {
        registry.fault("/blobs/", 1, fault);
        let error = read(&client, &registry, &blob, 0).unwrap_err();
        assert!(matches!(error, Error::SizeMismatch { .. }), "{error}");
    }
    // A body without a length, as long as it should be.
    registry.fault("/blobs/", 1, Fault::Extra(vec![]));
    assert!(read(&client, &registry, &blob, 0).unwrap() == bytes);
}

#[test]
fn silence_is_cut_short_and_slowness_is_not() {
    let (registry, blob, bytes) = blob();
    let start = Instant::now();
    registry.fault("/blobs/", 1, Fault::StallBody(5000, Duration::from_secs(30)));
    registry.fault("/blobs/", 1, Fault::Stall(Duration::from_secs(30)));
    registry.fault("/blobs/", 1, Fault::Slow(400_000, Duration::from_millis(300)));
    assert!(read(&client(), &registry, &blob, 0).unwrap() == bytes);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    registry.fault("/blobs/", 1, Fault::Stall(Duration::from_secs(30)));
    let impatient = Client::new(Config { tries: 1, ..quick() }).unwrap();
    assert!(matches!(read(&impatient, &registry, &blob, 0), Err(Error::Stalled { .. })));
}

#[test]
fn a_trickle_is_a_stall() {
    let (registry, blob, _) = blob();
    registry.fault("/blobs/", 1, Fault::Slow(10, Duration::from_millis(100)));
    let impatient = Client::new(Config { tries: 1, ..quick() }).unwrap();
    let start = Instant::now();
    assert!(matches!(read(&impatient, &registry, &blob, 0), Err(Error::Stalled { .. })));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn server_faults_are_tried_again_five_times_and_refusals_never() {
    let registry = Registry::start();
    registry.put_image("a/b", "1", &[b"layer"]);
    let reference = registry.reference("a/b:1");
    let client = client();
    registry.fault("/manifests/", 4, Fault::Status(500, vec![]));
    client.manifest(&reference, &[]).unwrap();
    assert_eq!(registry.count("/manifests/"), 5);
    registry.fault("/manifests/", 5, Fault::Status(502, vec![]));
    assert!(matches!(client.manifest(&reference, &[]), Err(Error::Status { status: 502, .. })));
    assert_eq!(registry.count("/manifests/"), 10);
    for (status, count) in [(400, 11), (403, 12), (404, 13), (418, 14)] {
        registry.fault("/manifests/", 1, Fault::Status(status, vec![]));
        client.manifest(&reference, &[]).unwrap_err();
        assert_eq!(registry.count("/manifests/"), count);
    }
    registry.fault("/manifests/", 1, Fault::Status(403, vec![]));
    let error = client.manifest(&reference, &[]).unwrap_err();
    assert!(matches!(error, Error::Denied { .. }) && error.to_string().ends_with("access denied: fault"), "{error}");
}

#[test]
fn too_many_requests_wait_as_told_but_not_for_a_day() {
    let registry = Registry::start();
    registry.put_image("a/b", "1", &[b"layer"]);
    let wait = |seconds: &str| Fault::Status(429, vec![("Retry-After".into(), seconds.into())]);
    let (config, events) = observed(quick());
    let client = Client::new(config).unwrap();
    registry.fault("/manifests/", 1, wait("1"));
    let start = Instant::now();
    client.manifest(&registry.reference("a/b:1"), &[]).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    let event = events.lock().unwrap()[0].clone();
    assert!(
        matches!(event, Event::Retry { delay, rate_limited: true, .. } if delay == Duration::from_secs(1)),
        "{event:?}"
    );
    registry.fault("/manifests/", 1, wait("86400"));
    let error = client.manifest(&registry.reference("a/b:1"), &[]).unwrap_err();
    assert!(matches!(error, Error::RateLimited { retry_after: Some(wait), .. } if wait.as_secs() == 86_400));
    assert!(error.hint().unwrap().contains("86400"));
}

#[test]
fn manifests_are_bounded_and_verified() {
    let registry = Registry::start();
    let pushed = registry.put_image("a/b", "1", &[b"layer"]);
    let reference = registry.reference("a/b:1");
    let client = client();
    let fails = |fault: Fault| {
        registry.fault("/manifests/", 1, fault);
        client.manifest(&reference, &[]).unwrap_err()
    };
    assert!(matches!(fails(Fault::Length(5 << 20)), Error::TooLarge { .. }));
    assert!(matches!(fails(Fault::Extra(vec![b' '; 5 << 20])), Error::TooLarge { .. }));
    assert!(matches!(fails(Fault::Corrupt), Error::DigestMismatch { .. }));
    let other = format!("sha256:{}", "0".repeat(64));
    assert!(matches!(fails(Fault::Header("Docker-Content-Digest".into(), other)), Error::DigestMismatch { .. }));
    assert!(matches!(fails(Fault::Header("Docker-Content-Digest".into(), "nonsense".into())), Error::Protocol { .. }));
    let index = "application/vnd.oci.image.index.v1+json".to_owned();
    assert!(matches!(fails(Fault::Header("Content-Type".into(), index)), Error::Unsupported { .. }));
    assert!(matches!(fails(Fault::Header("X-Bomb".into(), "x".repeat(100_000))), Error::TooLarge { .. }));
    let pinned = registry.reference(&format!("a/b@{}", pushed.digest));
    registry.put_manifest("a/b", &pushed.digest.to_string(), "application/vnd.oci.image.manifest.v1+json", b"{}");
    assert!(matches!(client.manifest(&pinned, &[]), Err(Error::DigestMismatch { .. })));
    registry.fault("/manifests/", 2, Fault::Truncate(10));
    client.manifest(&reference, &[]).unwrap();
}

#[test]
fn redirects_are_followed_and_bounded() {
    let (registry, blob, bytes) = blob();
    let elsewhere = Registry::start();
    elsewhere.put_blob("a/b", "x", &bytes);
    let client = client();
    registry.fault("/blobs/", 1, Fault::Redirect(format!("http://{}", elsewhere.host())));
    assert!(read(&client, &registry, &blob, 0).unwrap() == bytes);
    // A cut behind a redirect: the registry is asked again, since its link may have expired.
    registry.fault("/blobs/", 2, Fault::Redirect(format!("http://{}", elsewhere.host())));
    elsewhere.fault("/blobs/", 1, Fault::Truncate(600_000));
    assert!(read(&client, &registry, &blob, 0).unwrap() == bytes);
    assert_eq!(ranges(&elsewhere), ["bytes=600000-"]);
    registry.fault("/blobs/", usize::MAX, Fault::Redirect(format!("http://{}", registry.host())));
    let error = read(&client, &registry, &blob, 0).unwrap_err();
    assert!(error.to_string().contains("more than 10 redirects"), "{error}");
}

#[test]
fn redirects_to_plain_http_elsewhere_and_to_files_are_refused() {
    let (registry, blob, _) = blob();
    for target in ["http://192.0.2.1/x", "file:///etc/passwd", "https://user:pw@127.0.0.1/", "http:///"] {
        registry.fault("/blobs/", 1, Fault::RedirectTo(target.into()));
        let error = read(&client(), &registry, &blob, 0).unwrap_err();
        assert!(matches!(error, Error::Redirect { .. } | Error::Protocol { .. }), "{target}: {error}");
        assert!(!error.to_string().contains("pw"));
    }
}

#[test]
fn nobody_there() {
    let host = Registry::start().host().to_owned();
    let start = Instant::now();
    let error = client().manifest(&format!("{host}/a:1").parse().unwrap(), &[]).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }) && error.hint().is_some(), "{error}");
    assert!(start.elapsed() < Duration::from_secs(1));
    let error = client().manifest(&"no-such-host.invalid/a:1".parse().unwrap(), &[]).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[test]
fn what_a_server_says_cannot_drive_a_terminal() {
    let registry = Registry::start();
    let config = Config { tries: 1, ..quick() };
    registry.fault("/manifests/", 1, Fault::Status(404, vec![("X".into(), "y".into())]));
    let error = Client::new(config).unwrap().manifest(&registry.reference("a/b:1"), &[]).unwrap_err();
    assert_eq!(error.to_string(), format!("manifest of {}/a/b:1: not found: fault", registry.host()));
}
