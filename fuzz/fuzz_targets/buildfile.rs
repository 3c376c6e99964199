//! A Buildfile: parsed, or refused with a message that can be shown.

use builder::Buildfile;

pub fn run(bytes: &[u8]) {
    if let Err(diagnostic) = Buildfile::parse("Buildfile", bytes) {
        assert!(!diagnostic.to_string().is_empty());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Buildfile::parse_trigger(text);
    }
}
