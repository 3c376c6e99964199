//! A metadata image, walked to its last entry: it may be damaged, it must not loop, panic or grow without bounds.

use store::erofs::Reader;

const ENTRIES_MAX: usize = 10_000;

pub fn run(bytes: &[u8]) {
    let Ok(reader) = Reader::new(bytes) else { return };
    if let Ok(found) = reader.entries(ENTRIES_MAX) {
        assert!(found.len() <= ENTRIES_MAX);
    }
}
