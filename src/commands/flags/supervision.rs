//! Flags of `run` and `create` that say what a container's monitor does for it.

use clap::Args;

use crate::engine::container::options::SupervisionOptions;

/// Restarting and health.
#[derive(Args)]
pub struct SupervisionFlags {
    /// When to start it again after it has ended: no, on-failure[:TIMES], always, unless-stopped
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// Ask for its health with this line for the shell; exit code 0 means healthy
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,
    /// Time between two health checks; 30s unless said otherwise
    #[arg(long, value_name = "TIME")]
    health_interval: Option<String>,
    /// Time after which a health check has failed; 30s unless said otherwise
    #[arg(long, value_name = "TIME")]
    health_timeout: Option<String>,
    /// Time after the start in which failed health checks do not count
    #[arg(long, value_name = "TIME")]
    health_start_period: Option<String>,
    /// Time between two health checks during that; 5s unless said otherwise
    #[arg(long, value_name = "TIME")]
    health_start_interval: Option<String>,
    /// Failed health checks in a row that make it unhealthy; 3 unless said otherwise
    #[arg(long, value_name = "NUMBER")]
    health_retries: Option<u32>,
    /// What is done when it becomes unhealthy: none, kill, restart, stop
    #[arg(long, value_name = "ACTION")]
    health_on_failure: Option<String>,
    /// No health check, though the image has one
    #[arg(long)]
    no_healthcheck: bool,
}

impl SupervisionFlags {
    /// The flags as the engine takes them.
    pub fn options(self) -> SupervisionOptions {
        SupervisionOptions {
            restart: self.restart,
            health_cmd: self.health_cmd,
            health_interval: self.health_interval,
            health_timeout: self.health_timeout,
            health_start_period: self.health_start_period,
            health_start_interval: self.health_start_interval,
            health_retries: self.health_retries,
            health_on_failure: self.health_on_failure,
            no_healthcheck: self.no_healthcheck,
        }
    }
}
