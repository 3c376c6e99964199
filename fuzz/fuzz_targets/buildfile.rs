//! A Buildfile: parsed, or refused with a message that can be shown.
#![no_main]

use builder::Buildfile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(diagnostic) = Buildfile::parse("Buildfile", bytes) {
        assert!(!diagnostic.to_string().is_empty());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Buildfile::parse_trigger(text);
    }
});
