//! A reference: what is accepted has one written form, and that form means the same.

use registry_client::Reference;

pub fn run(bytes: &[u8]) {
    let text = crate::text(bytes);
    let Ok(reference) = Reference::parse(text) else { return };
    let written = reference.to_string();
    let again = Reference::parse(&written).expect("what was written can be read");
    assert_eq!(again, reference);
    assert!(written.split('/').all(|part| !matches!(part, "" | "." | "..")), "no path can come of it");
    assert!(written.bytes().all(|byte| byte.is_ascii_graphic()), "nothing that a terminal would obey");
}
