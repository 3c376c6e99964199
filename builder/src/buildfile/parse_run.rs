//! RUN: its command, documents and flags.

use super::diagnostic::Diagnostic;
use super::instruction::{Command, NetworkMode, Run};
use super::mount_option::MountOption;
use super::parser::Parser;

/// Parses the arguments of RUN.
pub(super) fn parse(parser: &mut Parser<'_>) -> Result<Run, Box<Diagnostic>> {
    let mut mounts = Vec::new();
    for flag in parser.take_flags("mount") {
        let value = flag.value.unwrap_or_default();
        // Options with variables can only be judged once their values are known.
        if !value.contains('$') {
            MountOption::parse(&value).map_err(|message| parser.at(flag.start, flag.end, message))?;
        }
        mounts.push((value, parser.line.span(flag.start, flag.end)));
    }
    let network = match parser.take_value("network")? {
        None => NetworkMode::Default,
        Some((value, flag)) => match value.as_str() {
            "default" => NetworkMode::Default,
            "none" => NetworkMode::None,
            "host" => NetworkMode::Host,
            _ => {
                let message = format!("--network is default, none or host, not {value:?}");
                return Err(parser.at(flag.start, flag.end, message));
            }
        },
    };
    let insecure = match parser.take_value("security")? {
        Some((value, _)) if value == "insecure" => true,
        Some((value, flag)) if value != "sandbox" => {
            let message = format!("--security is sandbox or insecure, not {value:?}");
            return Err(parser.at(flag.start, flag.end, message));
        }
        _ => false,
    };
    if let Some(flag) = parser.take_flags("device").first() {
        return Err(parser.at(flag.start, flag.end, "RUN --device is not supported yet"));
    }
    parser.no_more_flags(&["mount", "network", "security"])?;
    let command = parser.command()?;
    let empty = match &command {
        Command::Shell(text) => text.is_empty(),
        Command::Exec(args) => args.is_empty(),
    };
    if empty {
        return Err(parser.about_arguments("RUN needs a command"));
    }
    Ok(Run { command, documents: parser.line.heredocs.clone(), mounts, network, insecure })
}
