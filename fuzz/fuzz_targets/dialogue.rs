//! The messages between a container's parent and its child: what was understood is written so that it is understood alike.

pub fn run(bytes: &[u8]) {
    if let Some([first, again]) = runner::fuzzing::message(bytes) {
        assert_eq!(first, again);
    }
}
