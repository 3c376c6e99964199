//! `img inspect`.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::{Run, each, volume};
use crate::config::Context;
use crate::engine::Engine;
use crate::error::{CommandError, Result};
use crate::ui::{self, format};

/// Show all that is known of containers, images, volumes and networks
///
/// Prints a JSON list in docker's form. A name is looked for among containers first, then images, volumes and networks.
#[derive(Args)]
pub struct Inspect {
    /// Containers, images, volumes or networks, by name or id
    #[arg(required_unless_present = "latest", value_name = "NAME")]
    names: Vec<String>,
    /// The newest container
    #[arg(long, short, conflicts_with = "names")]
    latest: bool,
    /// Print by a template such as '{{.State.Status}}', or `json`
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<String>,
    /// Look only among: container, image, volume, network
    #[arg(long = "type", value_name = "TYPE", value_parser = ["all", "container", "image", "volume", "network"],
          hide_possible_values = true)]
    kind: Option<String>,
    /// Also how much containers wrote: SizeRw, and with the image SizeRootFs
    #[arg(long, short)]
    size: bool,
    /// Print the command lines that made containers
    #[arg(long, conflicts_with_all = ["format", "size"])]
    as_run: bool,
}

impl Run for Inspect {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let names = match self.latest {
            true => engine.containers(true, &[], false)?.into_iter().take(1).map(|container| container.id).collect(),
            false => self.names.clone(),
        };
        let mut values = Vec::new();
        let code = each(&names, |name| {
            let mut value = self.look(engine, name)?;
            if self.size && value.get("State").is_some() {
                engine.inspect_sizes(&mut value)?;
            }
            values.push(value);
            Ok(())
        });
        if !self.as_run {
            format::print_inspect(self.format.as_deref(), &values)?;
            return Ok(code);
        }
        for value in &values {
            let words =
                value["Config"]["CreateCommand"].as_array().filter(|words| !words.is_empty()).ok_or_else(|| {
                    CommandError::new("what it was made by is not recorded")
                        .hint("only containers that this version made know their command line")
                })?;
            let words: Vec<String> = words.iter().filter_map(Value::as_str).map(quoted).collect();
            ui::outln(ui::Escaped(&words.join(" ")))?;
        }
        Ok(code)
    }
}

impl Inspect {
    /// Of these names, whatever they name.
    pub fn of(names: Vec<String>, format: Option<String>) -> Self {
        Self { names, latest: false, format, kind: None, size: false, as_run: false }
    }

    /// What is known of a name.
    fn look(&self, engine: &Engine, name: &str) -> Result<Value> {
        let kind = self.kind.as_deref().unwrap_or("all");
        let wanted = |other: &str| kind == "all" || kind == other;
        if wanted("container")
            && let Some(value) = engine.inspect_container(name)?
        {
            return Ok(value);
        }
        if wanted("image")
            && let Some(value) = engine.inspect_image(name)?
        {
            return Ok(value);
        }
        if wanted("volume") && engine.store().volumes().find(name).is_ok() {
            return Ok(volume::describe(&engine.volume(name)?));
        }
        if kind == "network" || kind == "all" && engine.store().networks().find(name).is_ok() {
            return engine.inspect_network(name);
        }
        let what = if kind == "all" { "container, image, volume or network" } else { kind };
        let error = CommandError::new(format!("no such {what}: {name}"));
        Err(match kind {
            "all" => error.hint("`img ps -a` lists containers, `img images` lists images"),
            _ => error,
        })
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:=,@%+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_shell_reads_what_was_said() {
        assert_eq!((quoted("a=b"), quoted("it's"), quoted("")), ("a=b".into(), r"'it'\''s'".into(), "''".into()));
    }
}
