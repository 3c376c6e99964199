//! The flags of `img build` that give a build something from outside beside its context.

use std::collections::BTreeMap;

use clap::Args;

use crate::config::Context;
use crate::engine::build::given::{self, Given};
use crate::engine::build::ssh::Keys;
use crate::error::{CommandError, Result};

/// Secrets, ssh agents, named contexts, entitlements.
#[derive(Args)]
pub struct InputFlags {
    /// Give RUN --mount=type=secret a secret: id=NAME,src=FILE or id=NAME,env=VARIABLE; may be given several times
    #[arg(long, value_name = "id=NAME[,src=FILE|,env=VARIABLE]")]
    secret: Vec<String>,
    /// Give RUN --mount=type=ssh an ssh agent: default for yours, or a name and an agent's socket or key files
    #[arg(long, value_name = "default|NAME[=SOCKET|=KEY[,KEY]]")]
    ssh: Vec<String>,
    /// What FROM, COPY --from and from= mean by a name: a directory, a tar or its URL, docker-image://REF,
    /// oci-layout://DIRECTORY[:TAG], target:STAGE, a git repository; may be given several times
    #[arg(long, value_name = "NAME=CONTEXT")]
    build_context: Vec<String>,
    /// Let the Buildfile leave the sandbox: network.host, security.insecure
    #[arg(long, value_name = "ENTITLEMENT")]
    allow: Vec<String>,
}

impl InputFlags {
    /// Names and values of `--build-context`.
    ///
    /// # Errors
    /// A flag without a name or a value.
    pub fn contexts(&self) -> Result<Vec<(String, String)>> {
        let parse = |text: &String| match text.split_once('=') {
            Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(CommandError::usage(format!("--build-context {text:?} is not NAME=CONTEXT"))
                .hint("for example --build-context src=../src")),
        };
        self.build_context.iter().map(parse).collect()
    }

    /// What the flags name, read, and the keys that agents are started for.
    ///
    /// # Errors
    /// Flags that make no sense, files and variables that are not there.
    pub fn read(&self, context: &Context) -> Result<(builder::Inputs, BTreeMap<String, Keys>)> {
        let variable = |name: &str| context.variable(name).map(str::to_owned);
        given::read(&Given { secrets: &self.secret, agents: &self.ssh, allowed: &self.allow }, &variable)
    }
}
