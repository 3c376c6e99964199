//! Docker's `config.json`: a person's file, but written by many programs.

use registry_client::DockerConfig;

pub fn run(bytes: &[u8]) {
    if let Ok(config) = DockerConfig::parse(bytes, "config.json") {
        let _ = config.helper("docker.io");
    }
}
