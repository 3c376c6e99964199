//! The body of a registry's error: what is shown of it is short and nothing that a terminal would obey.

pub fn run(bytes: &[u8]) {
    let said = registry_client::fuzzing::error(bytes);
    assert!(!said.chars().any(char::is_control), "a control character in {said:?}");
    assert!(said.len() <= registry_client::limit::ERROR_BODY as usize, "{} bytes are said", said.len());
}
