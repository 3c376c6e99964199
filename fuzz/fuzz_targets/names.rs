//! Questions for names, as any program in a container may send them: read without a fault, or left alone.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(answer) = runner::fuzzing::question(bytes) {
        assert!(answer.len() <= 4096);
    }
});
