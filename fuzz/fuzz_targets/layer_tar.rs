//! A layer's tar, read to its end: no panic, no memory beyond the limits of the reader, positions that never go back.

use std::io::Read;

use store::layer::tar::Reader;

pub fn run(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    let mut position = 0;
    while let Ok(Some(_)) = reader.next_member() {
        // Some members are read, some skipped: both ways must find the next header.
        if reader.position() % 1024 == 0 {
            let mut data = Vec::new();
            if reader.read_to_end(&mut data).is_err() || reader.finish_member().is_err() {
                break;
            }
            assert!(data.len() <= bytes.len(), "a member gives more bytes than the archive has");
        }
        assert!(reader.position() > position, "a member that takes no room");
        position = reader.position();
    }
    assert!(reader.position() <= bytes.len() as u64, "read beyond the end");
}
