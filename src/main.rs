//! img
fn main() {}
