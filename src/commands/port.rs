//! `img port`.

use std::process::ExitCode;

use clap::Args;

use super::Run;
use crate::config::Context;
use crate::error::{CommandError, Result};
use crate::ui;

/// Show the published ports of a running container
///
/// A line for each: port and protocol in the container, address and port of the host. With a port, the host's side of it
/// alone; it is an error if that one is not published.
#[derive(Args)]
pub struct Port {
    /// Container, by name or id
    container: String,
    /// Only this one
    #[arg(value_name = "PORT[/PROTOCOL]")]
    port: Option<String>,
}

impl Run for Port {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let ports = context.engine()?.published_ports(&self.container)?;
        let Some(wanted) = &self.port else {
            for port in ports {
                ui::outln(format!("{} -> {}", port.inside, port.host))?;
            }
            return Ok(ExitCode::SUCCESS);
        };
        let wanted = if wanted.contains('/') { wanted.to_ascii_lowercase() } else { format!("{wanted}/tcp") };
        let fitting: Vec<_> = ports.iter().filter(|port| port.inside == wanted).collect();
        if fitting.is_empty() {
            return Err(CommandError::new(format!("container {} does not publish port {wanted}", self.container))
                .hint(format!("`img port {}` lists what it publishes", self.container)));
        }
        for port in fitting {
            ui::outln(&port.host)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
