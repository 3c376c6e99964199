//! A program that could not be started: whatever its bytes are, what it says of itself is read without a panic and stays short.

use runner::diagnosis::{content, elf};

pub fn run(bytes: &[u8]) {
    let _ = content::classify(&bytes[..bytes.len().min(content::HEAD)]);
    let Some(elf) = elf::parse(bytes) else { return };
    let names = elf.needed.iter().chain(&elf.interpreter).chain(&elf.search);
    assert!(elf.needed.len() <= 256 && names.map(String::len).all(|length| length <= 3 * 4096));
    let _ = elf.architecture();
}
