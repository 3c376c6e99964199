//! Whether a container boots a system, as it was said; and how long it may run.

use serde::{Deserialize, Serialize};

/// A system of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct System {
    /// `--system`
    pub system: bool,
    /// `--systemd`: `true`, `false` or `always`.
    pub systemd: Option<String>,
    /// `--timeout`, seconds
    pub timeout: Option<u64>,
    /// `--tty-count`
    pub ttys: Option<u8>,
}

/// How many terminals a system has unless it is said: as many as LXC's own configuration for all distributions has.
const TTYS: u8 = 4;

impl System {
    /// How many terminals there are beside the console.
    pub fn tty_count(&self) -> u8 {
        if self.system { self.ttys.unwrap_or(TTYS) } else { 0 }
    }

    /// Whether the container is prepared for an init of a whole system, which `program` may be.
    pub fn boots(&self, program: &str) -> bool {
        let is_init = matches!(program, "/sbin/init" | "/usr/sbin/init" | "/usr/local/sbin/init" | "/init")
            || program == "systemd"
            || program.ends_with("/systemd");
        self.system
            || match self.systemd.as_deref() {
                Some("always") => true,
                Some("true") => is_init,
                _ => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_boots() {
        let mode = |mode: &str| System { systemd: Some(mode.to_owned()), ..System::default() };
        assert!(mode("true").boots("/sbin/init") && mode("true").boots("/lib/systemd/systemd"));
        assert!(!mode("true").boots("/bin/sh") && !mode("false").boots("/sbin/init"));
        assert!(mode("always").boots("sh") && System { system: true, ..System::default() }.boots("sh"));
        assert!(!System::default().boots("/sbin/init"), "docker does nothing without being asked");
    }
}
