//! Flags of `run` and `create` that say where output is kept.

use clap::Args;

use crate::engine::container::options::LoggingOptions;

/// The log.
#[derive(Args)]
pub struct LoggingFlags {
    /// Where its output is kept: json-file, local, k8s-file, journald, syslog, passthrough, none
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,
    /// An option of that: max-size=10m, max-file=3, compress=true, tag=, syslog-address=, syslog-facility=
    #[arg(long, value_name = "KEY=VALUE")]
    log_opt: Vec<String>,
}

impl LoggingFlags {
    /// The flags as the engine takes them.
    pub fn options(self) -> LoggingOptions {
        LoggingOptions { driver: self.log_driver, options: self.log_opt }
    }
}
