//! The keys that detach from a container: `ctrl-p,ctrl-q`.

use super::{Error, Result};

/// The bytes a terminal sends for a comma-separated list of keys: single ASCII characters, or `ctrl-` with a letter or one of `@[\]^_`.
/// An empty text means that no keys detach.
pub fn detach_keys(text: &str) -> Result<Vec<u8>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let error = |key: &str| {
        Error::invalid("detach keys", text, format!("`{key}` is not a key"))
            .with_hint("keys are single characters or ctrl-<letter>, separated by commas, as ctrl-p,ctrl-q")
    };
    let mut bytes = Vec::new();
    for key in text.split(',') {
        let lower = key.to_ascii_lowercase();
        bytes.push(match (key.as_bytes(), lower.strip_prefix("ctrl-").map(str::as_bytes)) {
            (&[byte @ 0x20..0x7f], _) => byte,
            (_, Some(&[letter @ (b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')])) => letter & 0x1f,
            _ => return Err(error(key)),
        });
    }
    if bytes.len() > 16 {
        return Err(Error::invalid("detach keys", text, "more than 16 keys"));
    }
    Ok(bytes)
}
