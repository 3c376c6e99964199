//! What the user asked of a container's monitor, as it was said.

use serde::{Deserialize, Serialize};

/// Restarting and health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SupervisionOptions {
    /// `--restart`
    pub restart: Option<String>,
    /// `--health-cmd`
    pub health_cmd: Option<String>,
    /// `--health-interval`
    pub health_interval: Option<String>,
    /// `--health-timeout`
    pub health_timeout: Option<String>,
    /// `--health-start-period`
    pub health_start_period: Option<String>,
    /// `--health-start-interval`
    pub health_start_interval: Option<String>,
    /// `--health-retries`
    pub health_retries: Option<u32>,
    /// `--health-on-failure`
    pub health_on_failure: Option<String>,
    /// `--no-healthcheck`
    pub no_healthcheck: bool,
}

impl SupervisionOptions {
    /// Whether a flag says how a health check is to be done.
    #[must_use]
    pub fn speaks_of_health(&self) -> bool {
        let texts = [
            &self.health_cmd,
            &self.health_interval,
            &self.health_timeout,
            &self.health_start_period,
            &self.health_start_interval,
            &self.health_on_failure,
        ];
        self.health_retries.is_some() || texts.into_iter().any(Option::is_some)
    }
}
