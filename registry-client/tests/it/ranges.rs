//! Several connections for one blob: when they are opened, and what happens when a server is no good at it.

use std::sync::LazyLock;
use std::time::Duration;

use registry_client::testing::{Fault, Registry};
use registry_client::{Client, Config, Descriptor, Error};

use crate::{noise, quick, read};

static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| noise(44 << 20));

/// A client that is patient with a busy machine.
fn client() -> Client {
    Client::new(Config { idle_timeout: 20, ..quick() }).unwrap()
}

/// A blob large enough, from a registry whose first `times` answers about it are slow.
fn slow(registry: &Registry, times: usize) -> (Descriptor, &'static [u8]) {
    let blob = registry.put_blob("a/b", "application/octet-stream", &BYTES);
    registry.fault(&format!("/blobs/{}", blob.digest), times, Fault::Slow(64 << 10, Duration::from_millis(8)));
    (blob, &BYTES)
}

/// The ranges that were asked for.
fn ranges(registry: &Registry) -> Vec<String> {
    let requests = registry.requests();
    requests.iter().filter_map(|request| request.header("range").map(str::to_owned)).collect()
}

#[test]
fn a_slow_connection_is_joined_by_others() {
    let registry = Registry::start();
    let (blob, bytes) = slow(&registry, usize::MAX);
    let client = client();
    assert!(read(&client, &registry, &blob, 0).unwrap() == bytes);
    let ranges = ranges(&registry);
    // From where the first one was, piece by piece to the end.
    assert!(
        ranges.len() > 4 && ranges.iter().any(|range| range.ends_with(&format!("-{}", bytes.len() - 1))),
        "{ranges:?}"
    );
    // Also when it goes on somewhere.
    assert!(read(&client, &registry, &blob, 5 << 20).unwrap() == bytes[5 << 20..]);
}

#[test]
fn a_quick_connection_stays_alone() {
    let registry = Registry::start();
    let blob = registry.put_blob("a/b", "application/octet-stream", &BYTES);
    assert!(read(&client(), &registry, &blob, 0).unwrap() == *BYTES);
    assert_eq!(ranges(&registry), [""; 0]);
}

#[test]
fn what_goes_wrong_with_ranges_leads_back_to_one_connection() {
    let faults = [
        Fault::NoRange,
        Fault::Close,
        Fault::Truncate(100_000),
        Fault::Status(429, vec![]),
        Fault::Status(416, vec![]),
        Fault::Header("Content-Range".into(), "bytes 0-99/100".into()),
        Fault::Extra(b"more".to_vec()),
    ];
    // Side by side: most of the time they wait.
    std::thread::scope(|scope| {
        faults.map(|fault| scope.spawn(|| falls_back(fault))).map(|thread| thread.join().unwrap())
    });
}

fn falls_back(fault: Fault) {
    let registry = Registry::start();
    let (blob, bytes) = slow(&registry, 1);
    // One piece meets it; which requests the others have made by then is chance.
    registry.fault(&format!("/blobs/{}", blob.digest), 1, fault.clone());
    let got = read(&client(), &registry, &blob, 0);
    assert!(got.as_ref().is_ok_and(|got| *got == bytes), "{fault:?}: {:?}", got.err());
    let open = ranges(&registry).iter().filter(|range| range.ends_with('-')).count();
    assert_eq!(open, 1, "{fault:?}: one connection goes on: {:?}", ranges(&registry));
}

#[test]
fn a_wrong_byte_in_a_range_is_noticed() {
    let registry = Registry::start();
    let (blob, _) = slow(&registry, 1);
    registry.fault(&format!("/blobs/{}", blob.digest), 1, Fault::Corrupt);
    let error = read(&client(), &registry, &blob, 0).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
}
