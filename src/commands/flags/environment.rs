//! The flags that make up a program's environment, and the files that variables and labels are read from.
//!
//! A variable without a value takes the caller's, and none if the caller has none, as in docker; a name that ends with
//! `*` takes all that begin so, as in podman.

use clap::Args;
use runner::spec::parse;

use crate::config::Context;
use crate::engine::container::options::environment::Environment;
use crate::error::{CommandError, Result};

/// What is read of a file of variables or labels, bytes.
const FILE_MAX: u64 = 1 << 20;
/// Variables that programs look for a proxy in.
const PROXY: [&str; 8] =
    ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY"];

/// Variables.
#[derive(Args)]
pub struct EnvironmentFlags {
    /// Set a variable; without a value, take it from here; NAME* takes all that begin so
    #[arg(long, short, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read variables from a file, a line each
    #[arg(long, value_name = "FILE")]
    env_file: Vec<String>,
    /// Pass all of the caller's variables on
    #[arg(long)]
    env_host: bool,
    /// Set a variable from others, as PATH=/opt/bin:${PATH}
    #[arg(long, value_name = "NAME=TEXT")]
    env_merge: Vec<String>,
    /// Leave a variable of the image out
    #[arg(long, value_name = "NAME")]
    unsetenv: Vec<String>,
    /// Leave all variables of the image out
    #[arg(long)]
    unsetenv_all: bool,
    /// Pass the caller's proxy variables on
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1,
          default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    http_proxy: bool,
}

impl EnvironmentFlags {
    /// The variables, in the order in which later ones win, and what else is done to the environment.
    ///
    /// # Errors
    /// A file that cannot be read, a variable without a name.
    pub fn environment(self, context: &Context) -> Result<(Vec<String>, Environment)> {
        let mut env = Vec::new();
        if self.env_host {
            env.extend(context.variables().map(|(name, value)| format!("{name}={value}")));
        }
        if self.http_proxy {
            let given = PROXY.iter().filter_map(|name| Some((name, context.variable(name)?)));
            env.extend(given.map(|(name, value)| format!("{name}={value}")));
        }
        env.extend(environment(context, &self.env_file, &self.env)?);
        let environment =
            Environment { env_merge: self.env_merge, unset_env: self.unsetenv, unset_env_all: self.unsetenv_all };
        environment.check()?;
        Ok((env, environment))
    }
}

/// Variables from files, then from the command line.
///
/// # Errors
/// A file that cannot be read, a variable without a name.
pub fn environment(context: &Context, files: &[String], flags: &[String]) -> Result<Vec<String>> {
    let host: Vec<(String, String)> =
        context.variables().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let usage = |error: runner::spec::Error| CommandError::from(error).kind(crate::error::Kind::Usage);
    let mut variables = Vec::new();
    for file in files {
        variables.extend(parse::environment_file(file, &read(file, "variables")?, &host).map_err(usage)?);
    }
    for text in flags {
        variables.extend(parse::environment(text, &host).map_err(usage)?);
    }
    Ok(variables.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
}

/// Labels from files, a line each, then from the command line.
///
/// # Errors
/// A file that cannot be read.
pub fn labels(files: &[String], flags: Vec<String>) -> Result<Vec<String>> {
    let mut labels = Vec::new();
    for file in files {
        let text = String::from_utf8(read(file, "labels")?)
            .map_err(|_| CommandError::usage(format!("the file of labels {file} is not UTF-8")))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        labels.extend(lines.map(str::to_owned));
    }
    labels.extend(flags);
    Ok(labels)
}

fn read(path: &str, of: &str) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    // One byte more than is allowed, so that what is too long is seen to be.
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| CommandError::new(format!("cannot read the file of {of} {path}: {error}")))?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(CommandError::usage(format!("the file of {of} {path} is larger than 1 MiB")));
    }
    Ok(bytes)
}
