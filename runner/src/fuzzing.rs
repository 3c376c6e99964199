//! What the fuzz targets call: the readers of a client's frames and of questions for names, which are nobody else's
//! business.

use crate::monitor::frame::Decoder;
use crate::names::message::{Code, Query, Record};

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

/// Reads a question for a name and answers it with an address; `None` if it is none. Panics where an answer is not one
/// to its own question.
pub fn question(bytes: &[u8]) -> Option<Vec<u8>> {
    let query = Query::parse(bytes)?;
    let address = query.address().unwrap_or([10, 0, 0, 1].into());
    let answer = query.answer(Code::Fine, &[Record::Address(address), Record::Name("web.lab".to_owned())], false);
    assert!(query.is_answered_by(&answer, query.id), "an answer to another question");
    Some(answer)
}
