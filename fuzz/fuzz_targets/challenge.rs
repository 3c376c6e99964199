//! The `WWW-Authenticate` headers of a registry, one a line.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let headers: Vec<String> = text.lines().map(str::to_owned).collect();
    registry_client::fuzzing::challenge(&headers);
});
