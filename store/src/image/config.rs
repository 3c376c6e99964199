//! The image configuration: the fields of the OCI image spec (config.md) and Docker's extras, as parsed from the raw
//! bytes that make the image's id.
//!
//! It is for reading and for making new configurations. An existing image's bytes are never re-encoded; unknown
//! fields are kept in `other` so that a changed copy still has them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::digest::DiffId;
use crate::error::{Error, Result};

/// Longest configuration accepted, bytes.
pub const CONFIG_MAX: u64 = 8 << 20;
/// Most layers of one image (RELIABILITY: layers 500).
pub const LAYERS_MAX: usize = 500;

/// An image configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When the image was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// CPU architecture, in Go's words: `amd64`, `arm64`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub architecture: String,
    /// Variant of the architecture, like `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Operating system: `linux`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub os: String,
    /// What a container of the image is started with.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: RunConfig,
    /// The layers.
    #[serde(default, deserialize_with = "null_is_default")]
    pub rootfs: RootFs,
    /// How it came to be, oldest first.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The layers of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The layers, lowest first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<DiffId>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// One step of an image's history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// The instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// A remark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// It made no layer.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_false")]
    pub empty_layer: bool,
}

/// What a container is started with (config.md "config", and Docker's `Healthcheck`, `Shell`, `OnBuild`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunConfig {
    /// `user[:group]`, names or numbers.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `port/protocol`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Value>,
    /// `NAME=value`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The command, to which `cmd` is appended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Default arguments, or the command if there is no entry point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Paths that become volumes.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Value>,
    /// Working directory.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Labels.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks the container to end, by name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Seconds between that signal and SIGKILL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// How its health is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// The shell of shell-form instructions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// Instructions for builds on this image.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Docker's health check. Durations are nanoseconds; 0 or absent means the default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", "…"]`; empty inherits.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Time between two checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<i64>,
    /// Time after which a check has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
    /// Time after the start in which failures do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_period: Option<i64>,
    /// Time between two checks during the start period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_interval: Option<i64>,
    /// Failures in a row that make the container unhealthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<i64>,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl ImageConfig {
    /// Parses the raw bytes of a configuration.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no configuration, [`Error::Limit`] for one too large or with too many layers.
    pub fn parse(raw: &[u8]) -> Result<Self> {
        let invalid = |reason: String| Error::Invalid { what: "image config", reason };
        if raw.len() as u64 > CONFIG_MAX {
            return Err(Error::Limit { what: "image config".to_owned(), limit: format!("{CONFIG_MAX} bytes") });
        }
        let config: Self = serde_json::from_slice(raw).map_err(|error| invalid(error.to_string()))?;
        if config.rootfs.kind != "layers" {
            return Err(invalid(format!("rootfs has the type {:?}", config.rootfs.kind)));
        }
        if config.rootfs.diff_ids.len() > LAYERS_MAX {
            return Err(Error::Limit { what: "number of layers".to_owned(), limit: LAYERS_MAX.to_string() });
        }
        Ok(config)
    }
}

/// Go writes `null` for empty lists and maps.
fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_docker_adds() {
        let raw = br#"{"architecture":"amd64","os":"linux","docker_version":"29","config":{"Env":["A=b"],"Cmd":null,
            "Volumes":null,"OnBuild":null,"Labels":{"k":"v"},"Shell":["/bin/bash"],"ArgsEscaped":true,"Healthcheck":
            {"Test":["CMD","true"],"Interval":1000000000,"Retries":3},"StopSignal":"SIGINT"},"rootfs":{"type":"layers",
            "diff_ids":null},"history":[{"created":"2024-01-02T03:04:05.678Z","created_by":"RUN x","empty_layer":true}]}"#;
        let config = ImageConfig::parse(raw).unwrap();
        assert_eq!(config.other["docker_version"], "29");
        assert_eq!(config.config.other["ArgsEscaped"], true);
        assert_eq!(config.config.healthcheck.as_ref().unwrap().retries, Some(3));
        assert!(config.history[0].empty_layer);
        let again = ImageConfig::parse(&serde_json::to_vec(&config).unwrap()).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn refuses_what_is_no_config() {
        for bad in
            ["", "[]", "{\"rootfs\":{\"type\":\"x\"}}", "{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"../x\"]}}"]
        {
            assert!(ImageConfig::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(ImageConfig::parse(b"{}").unwrap().rootfs.diff_ids.is_empty());
    }
}
