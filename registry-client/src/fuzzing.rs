//! What the fuzz targets call: the readers of a registry's answers, which are nobody else's business.

use crate::auth::challenge;
use crate::failure;
use crate::manifest;
use crate::media_type::MediaType;

/// Reads `bytes` as a manifest or index that came as `content_type`.
pub fn manifest(content_type: &str, bytes: &[u8]) {
    // Refusing is as good as reading; what must not happen is a panic.
    drop(manifest::parse("fuzz", &MediaType::from(content_type), bytes));
}

/// Chooses among the challenges of `headers`.
pub fn challenge(headers: &[String]) {
    drop(challenge::choose(headers));
}

/// What is shown of an error's body.
#[must_use]
pub fn error(body: &[u8]) -> String {
    crate::redact::text(&failure::said(body))
}
