//! Docker's `config.json`: a person's file, but written by many programs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use registry_client::DockerConfig;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(config) = DockerConfig::parse(bytes, "config.json") {
        let _ = config.helper("docker.io");
    }
});
