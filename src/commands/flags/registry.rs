//! The flags of commands that speak to one registry: whose name is told it, and whether its certificate counts.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use crate::engine::transport::Access;

/// How a registry is spoken to.
#[derive(Args, Clone)]
pub struct RegistryFlags {
    /// User and password; `img login` keeps them out of the process list
    #[arg(long, value_name = "USER:PASSWORD")]
    creds: Option<String>,
    /// Tell the registry no name
    #[arg(long, conflicts_with = "creds")]
    no_creds: bool,
    /// Take credentials from this file alone
    #[arg(long, value_name = "FILE", conflicts_with = "no_creds")]
    authfile: Option<PathBuf>,
    /// Want HTTPS and a certificate; `=false` does without
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value_t = true, hide_default_value = true)]
    tls_verify: bool,
}

impl From<RegistryFlags> for Access {
    fn from(flags: RegistryFlags) -> Self {
        Self {
            credentials: flags.creds,
            anonymous: flags.no_creds,
            insecure: !flags.tls_verify,
            auth_file: flags.authfile,
        }
    }
}
