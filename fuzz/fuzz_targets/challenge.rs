//! The `WWW-Authenticate` headers of a registry, one a line.

pub fn run(bytes: &[u8]) {
    let text = crate::text(bytes);
    let headers: Vec<String> = text.lines().map(str::to_owned).collect();
    registry_client::fuzzing::challenge(&headers);
}
