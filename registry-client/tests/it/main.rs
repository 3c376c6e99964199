//! The client against registries: the one of `testing`, which misbehaves, and real ones.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod auth;
mod faults;
mod pull;
mod push;
mod ranges;
mod real;

use std::io::Read as _;
use std::sync::{Arc, Mutex};

use registry_client::testing::Registry;
use registry_client::{Client, Config, Descriptor, Error, Event, Mirror, RegistryRule};

/// A configuration that does not waste a test's time.
fn quick() -> Config {
    Config { retry_delay: 4, idle_timeout: 1, ..Config::default() }
}

fn client() -> Client {
    Client::new(quick()).unwrap()
}

/// Bytes that no compression or repetition makes alike.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// Reads a whole blob.
fn read(client: &Client, registry: &Registry, blob: &Descriptor, offset: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![];
    let mut reader = client.blob(&registry.reference("a/b"), blob, offset)?;
    reader.read_to_end(&mut bytes).map_err(|error| Error::from_io("read", error))?;
    Ok(bytes)
}

/// A configuration that keeps what it is told.
fn observed(config: Config) -> (Config, Arc<Mutex<Vec<Event>>>) {
    let events = Arc::new(Mutex::new(vec![]));
    let kept = Arc::clone(&events);
    let observer = Arc::new(move |event: &Event| kept.lock().unwrap().push(event.clone()));
    (Config { observer: Some(observer), ..config }, events)
}

/// `reg.example` at `upstream`, with mirrors.
fn mirrored(upstream: &Registry, mirrors: &[&Registry]) -> Config {
    let mirrors = mirrors
        .iter()
        .map(|mirror| Mirror { location: mirror.host().to_owned(), digest_only: false, tag_only: false })
        .collect();
    let rule = RegistryRule { location: Some(upstream.host().to_owned()), mirrors, blocked: false };
    Config { registries: [("reg.example".to_owned(), rule)].into(), ..quick() }
}
