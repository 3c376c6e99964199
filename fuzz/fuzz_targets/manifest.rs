//! A manifest or index under each media type it may come with.

pub fn run(bytes: &[u8]) {
    let Some((kind, document)) = bytes.split_first() else { return };
    let types = [
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/octet-stream",
    ];
    registry_client::fuzzing::manifest(types[usize::from(*kind) % types.len()], document);
}
