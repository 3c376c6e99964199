//! What the fuzz targets call: the reader of a client's frames, which is nobody else's business.

use crate::monitor::frame::Decoder;

/// The frames of `wire`, fed in pieces of `step` bytes, as text; the last one is the refusal if there was one.
pub fn frames(wire: &[u8], step: usize) -> Vec<String> {
    let mut decoder = Decoder::default();
    let mut found = Vec::new();
    for part in wire.chunks(step) {
        decoder.push(part);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => found.push(format!("{frame:?}")),
                Ok(None) => break,
                Err(error) => {
                    found.push(error.to_string());
                    return found;
                }
            }
        }
    }
    found
}
