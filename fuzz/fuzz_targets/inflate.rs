//! What stands before the tar reader: gzip, zstd or none, told by the first bytes, and the tar inside. No panic, and no
//! more memory than a window; how much comes out is bounded here as the store bounds it.

use std::io::{BufReader, Read};

use store::layer::tar::Reader;

pub fn run(bytes: &[u8]) {
    let Ok((_, inflated)) = store::layer::compression::decompress(bytes) else { return };
    let mut reader = Reader::new(BufReader::new(inflated.take(8 << 20)));
    let mut position = 0;
    while let Ok(Some(_)) = reader.next_member() {
        assert!(reader.position() > position, "a member that takes no room");
        position = reader.position();
    }
}
