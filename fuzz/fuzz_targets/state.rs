//! The record of a running container: one that can be read is written so that it is read alike.

use runner::State;

pub fn run(bytes: &[u8]) {
    let Ok(state) = serde_json::from_slice::<State>(bytes) else { return };
    let written = serde_json::to_vec(&state).expect("a state can be written");
    assert_eq!(serde_json::from_slice::<State>(&written).expect("and read again"), state);
}
