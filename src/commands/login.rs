//! `img login` and `img logout`.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Run;
use crate::config::Context;
use crate::engine::login::Place;
use crate::error::{CommandError, Result};
use crate::ui;

/// Longest password read, bytes.
const PASSWORD_MAX: u64 = 64 * 1024;

/// Log in to a registry
///
/// The registry is asked whether the password is right before anything is stored. Credentials go to the helper that
/// docker's configuration names, else into the kernel's keyring, which the next reboot empties, else (or with
/// `credential-store = "file"`, or --authfile) into a file that its owner alone can read.
#[derive(Args)]
pub struct Login {
    /// The registry; docker.io unless named
    registry: Option<String>,
    /// User name
    #[arg(long, short)]
    username: Option<String>,
    /// Password; better is --password-stdin, which other users cannot see in the process list
    #[arg(long, short)]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long, conflicts_with = "password")]
    password_stdin: bool,
    /// Keep them in this file
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
}

impl Run for Login {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let registry = self.registry.as_deref().unwrap_or("docker.io");
        if self.password.is_some() {
            ui::warn("a password on the command line is seen by all users of this machine; use --password-stdin");
        }
        if self.password_stdin && self.username.is_none() {
            return Err(CommandError::usage("--password-stdin needs --username"));
        }
        let user = match self.username {
            Some(user) => user,
            None => ask("Username: ", true)?,
        };
        let password = match self.password {
            Some(password) => password,
            None if self.password_stdin => {
                let mut text = String::new();
                io::stdin().lock().take(PASSWORD_MAX).read_to_string(&mut text)?;
                text.trim_end_matches(['\n', '\r']).to_owned()
            }
            None => ask("Password: ", false)?,
        };
        match context.engine()?.login(registry, &user, &password, self.authfile.as_deref())? {
            Place::File { path, why } => {
                if let Some(why) = why {
                    ui::warn(ui::Escaped(&format!("the kernel's keyring is not used: {}", why.text())));
                }
                ui::warn(format_args!(
                    "the password is kept unencrypted in {}; a credential helper would be safer",
                    path.display()
                ));
            }
            Place::Keyring => ui::note("Kept in the kernel's keyring until the next reboot; a helper keeps it longer"),
            Place::Helper => {}
        }
        ui::outln("Login Succeeded")?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Asks on the terminal; without echo for a secret.
fn ask(prompt: &str, echo: bool) -> Result<String> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(CommandError::usage("cannot ask for a user name or password without a terminal")
            .hint("use --username and --password-stdin"));
    }
    ui::note_part(prompt);
    let before = rustix::termios::tcgetattr(&stdin).map_err(io::Error::from)?;
    if !echo {
        let mut silent = before.clone();
        silent.local_modes.remove(rustix::termios::LocalModes::ECHO);
        rustix::termios::tcsetattr(&stdin, rustix::termios::OptionalActions::Flush, &silent)
            .map_err(io::Error::from)?;
    }
    let mut line = String::new();
    let read = stdin.lock().take(PASSWORD_MAX).read_line(&mut line);
    if !echo {
        rustix::termios::tcsetattr(&stdin, rustix::termios::OptionalActions::Flush, &before)
            .map_err(io::Error::from)?;
        let _ = writeln!(io::stderr());
    }
    read?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// Forget the credentials of a registry
///
/// They are removed from the helper, keyring or file that `img login` put them in. What was pulled with them stays.
#[derive(Args)]
pub struct Logout {
    /// The registry; docker.io unless named
    registry: Option<String>,
    /// Those in this file
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
}

impl Run for Logout {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let registry = self.registry.as_deref().unwrap_or("docker.io");
        if context.engine()?.logout(registry, self.authfile.as_deref())? {
            ui::outln(format_args!("Removed login credentials for {registry}"))?;
        } else {
            ui::outln(format_args!("Not logged in to {registry}"))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
