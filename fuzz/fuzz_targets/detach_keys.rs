//! What is typed at a terminal, in pieces: all of it arrives, in order, unless the detach keys were met.

use runner::DetachKeys;

pub fn run(bytes: &[u8]) {
    let [length, step, rest @ ..] = bytes else { return };
    let (sequence, typed) = rest.split_at(usize::from(*length % 5).min(rest.len()));
    let mut keys = DetachKeys::new(sequence.to_vec());
    let mut passed = Vec::new();
    let mut detached = false;
    for part in typed.chunks(usize::from(*step).max(1)) {
        let (bytes, done) = keys.filter(part);
        passed.extend(bytes);
        if done {
            detached = true;
            break;
        }
    }
    if !detached {
        passed.extend(keys.finish());
        assert_eq!(passed, typed);
    }
    // The oracle: the sequence was met where it first stands in what was typed.
    let met = (!sequence.is_empty()).then(|| typed.windows(sequence.len()).position(|part| part == sequence)).flatten();
    assert_eq!(detached, met.is_some());
    if let Some(at) = met {
        assert_eq!(passed, typed[..at]);
    }
}
