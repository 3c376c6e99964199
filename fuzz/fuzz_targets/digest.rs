//! Digests of both crates: what is read is a plain name, is written as it was, and both read the same.

pub fn run(bytes: &[u8]) {
    let text = crate::text(bytes);
    let (stored, fetched) = (text.parse::<store::Digest>(), text.parse::<registry_client::Digest>());
    assert_eq!(stored.is_ok(), fetched.is_ok(), "the store and the client disagree");
    let Ok(digest) = stored else { return };
    assert_eq!(digest.to_string(), text);
    assert_eq!(fetched.expect("asserted above").to_string(), text);
    assert!(digest.hex().len() == 64 && digest.hex().bytes().all(|byte| byte.is_ascii_hexdigit()), "a plain name");
}
