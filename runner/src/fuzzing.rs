//! What the fuzz targets call: the readers of a client's frames, of questions for names and of the dialogue with the child,
//! which are nobody else's business.

use oci_spec::runtime::Spec;

use crate::init::dialogue::Message;
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

/// Reads a message of the dialogue between parent and child, and what is written of it again; `None` if it is none.
pub fn message(bytes: &[u8]) -> Option<[String; 2]> {
    let read = |bytes: &[u8]| serde_json::from_slice::<Message>(bytes).ok();
    let first = read(bytes)?;
    let again = serde_json::to_vec(&first).ok().as_deref().and_then(read);
    Some([format!("{first:?}"), format!("{:?}", again?)])
}

/// The plan of a `config.json`, printed; `None` if it is refused. Nothing is made of it.
pub fn plan(bytes: &[u8], staged: bool) -> Option<String> {
    let spec: Spec = serde_json::from_slice(bytes).ok()?;
    let settings = crate::plan::Settings { staged, init: !staged, create_cwd: !staged, ..Default::default() };
    let linux = spec.linux().as_ref();
    if let Some(seccomp) = linux.and_then(|linux| linux.seccomp().as_ref()) {
        let _ = crate::security::seccomp::compile(seccomp);
    }
    crate::plan::Plan::for_container(&spec, settings).ok().map(|plan| plan.to_string())
}
