//! The frames between a monitor and its clients: however the bytes are cut, the same frames or the same refusal.

pub fn run(bytes: &[u8]) {
    let Some((step, wire)) = bytes.split_first() else { return };
    let whole = runner::fuzzing::frames(wire, wire.len().max(1));
    let cut = runner::fuzzing::frames(wire, usize::from(*step).max(1));
    assert_eq!(whole, cut);
}
