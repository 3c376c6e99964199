//! A table of contents: what is accepted is written back as the same table.

use store::layer::Toc;

pub fn run(bytes: &[u8]) {
    let Ok(toc) = Toc::decode(bytes) else { return };
    let again = Toc::decode(&toc.encode()).expect("what was written can be read");
    assert_eq!(again, toc);
    let _ = (toc.implied_directories(), toc.foreign_links(), toc.file_bytes());
}
