//! What a program finds around it, as it was said.

use serde::{Deserialize, Serialize};

/// Names, mask, time zone, secrets. Of secrets only the words are kept, never what is in them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Inside {
    /// `--domainname`
    pub domainname: Option<String>,
    /// `--annotation`
    pub annotations: Vec<String>,
    /// `--umask`
    pub umask: Option<String>,
    /// `--tz`
    pub tz: Option<String>,
    /// `--secret`
    pub secrets: Vec<String>,
    /// `--read-only-tmpfs`
    pub read_only_tmpfs: bool,
    /// `--no-hosts`
    pub no_hosts: bool,
    /// `--hosts-file`
    pub hosts_file: Option<String>,
    /// `--no-hostname`
    pub no_hostname: bool,
}
