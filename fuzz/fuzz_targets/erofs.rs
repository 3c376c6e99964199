//! A metadata image, walked to its last entry: it may be damaged, it must not loop, panic or grow without bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use store::erofs::Reader;

const ENTRIES_MAX: usize = 10_000;

fuzz_target!(|bytes: &[u8]| {
    let Ok(reader) = Reader::new(bytes) else { return };
    if let Ok(found) = reader.entries(ENTRIES_MAX) {
        assert!(found.len() <= ENTRIES_MAX);
    }
});
