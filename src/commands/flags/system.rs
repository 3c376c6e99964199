//! The flags of containers that boot a system of their own; and how long a container may run.

use clap::Args;

use crate::engine::container::options::system::System;

/// A system of its own.
#[derive(Args)]
pub struct SystemFlags {
    /// Boot the image's init, with a console, and with what an init needs; without a command /sbin/init
    #[arg(long)]
    system: bool,
    /// Prepare it for systemd: true if the program is an init, always, false
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = ["true", "false", "always"], hide_possible_values = true)]
    systemd: Option<String>,
    /// Terminals of a system beside its console, /dev/tty1 and so on, for `img console -t`; 4 unless said
    #[arg(long, value_name = "NUMBER", requires = "system", value_parser = clap::value_parser!(u8).range(0..=32))]
    tty_count: Option<u8>,
    /// Seconds after which it is killed
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

impl SystemFlags {
    /// The same as the engine takes it.
    pub fn system(self) -> System {
        System {
            system: self.system,
            systemd: self.systemd,
            timeout: self.timeout.filter(|seconds| *seconds > 0),
            ttys: self.tty_count,
        }
    }
}
