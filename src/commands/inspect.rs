//! `img inspect`.

use std::process::ExitCode;

use clap::Args;

use super::{Run, each};
use crate::config::Context;
use crate::error::{CommandError, Result};
use crate::ui::format;

/// Show all that is known of containers and images
///
/// Prints a JSON list in docker's form. A name is looked for among containers first, then among images.
#[derive(Args)]
pub struct Inspect {
    /// Containers or images, by name or id
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Print by a template such as '{{.State.Status}}', or `json`
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<String>,
    /// Look only among `image`s or `container`s
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
}

impl Run for Inspect {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let mut values = Vec::new();
        let code = each(&self.names, |name| {
            values.push(match self.kind.as_deref() {
                None => match engine.inspect_container(name)? {
                    Some(value) => value,
                    None => engine.inspect_image(name)?.ok_or_else(|| {
                        CommandError::new(format!("no such container or image: {name}"))
                            .hint("`img ps -a` lists containers, `img images` lists images")
                    })?,
                },
                Some("container") => engine
                    .inspect_container(name)?
                    .ok_or_else(|| CommandError::new(format!("no such container: {name}")))?,
                Some("image") => {
                    engine.inspect_image(name)?.ok_or_else(|| CommandError::new(format!("no such image: {name}")))?
                }
                Some(other) => {
                    return Err(CommandError::usage(format!("{other:?} is no type"))
                        .hint("--type takes `container` or `image`"));
                }
            });
            Ok(())
        });
        format::print_inspect(self.format.as_deref(), &values)?;
        Ok(code)
    }
}
