//! Questions for names, as any program in a container may send them: read without a fault, or left alone.

pub fn run(bytes: &[u8]) {
    if let Some(answer) = runner::fuzzing::question(bytes) {
        assert!(answer.len() <= 4096);
    }
}
