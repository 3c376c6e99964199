//! The configuration of an image, as the store and as the builder read it.

use store::image::ImageConfig;

pub fn run(bytes: &[u8]) {
    if let Ok(config) = ImageConfig::parse(bytes) {
        let written = serde_json::to_vec(&config).expect("a config can be written");
        let again = ImageConfig::parse(&written).expect("what was written can be read");
        assert_eq!(again, config);
    }
    let _ = builder::config::Config::parse(bytes);
}
