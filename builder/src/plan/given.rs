//! Mounts of what is given from outside: secrets and ssh agents. The defaults are BuildKit's
//! (`dockerfile2llb`: secrets below /run/secrets with mode 0400, sockets as /run/buildkit/ssh_agent.N with mode 0600).

use super::{Given, PlannedMount, PlannedSource, SecretVariable};
use crate::buildfile::MountOption;

/// Where secrets are mounted that name no target.
const SECRETS: &str = "/run/secrets";
/// The id of an agent that names none.
const DEFAULT_AGENT: &str = "default";

/// A secret: target and source of its file, unless it is only to be a variable, which goes into `variables`.
pub(super) fn secret(option: &MountOption, variables: &mut Vec<SecretVariable>) -> Option<(String, PlannedSource)> {
    let last = |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or(path).to_owned();
    let id = option.id.clone().unwrap_or_else(|| last(&option.target));
    if let Some(name) = &option.env {
        variables.push(SecretVariable { name: name.clone(), id: id.clone(), required: option.required });
        if option.target.is_empty() {
            return None;
        }
    }
    let target = match option.target.as_str() {
        "" => format!("{SECRETS}/{}", last(&id)),
        // Not taken from the working directory.
        target => format!("/{target}"),
    };
    Some((target, PlannedSource::Secret(given(option, id, 0o400))))
}

/// An agent: target and source of its socket; `before` are the mounts of the instruction so far.
pub(super) fn agent(option: &MountOption, before: &[PlannedMount]) -> (String, PlannedSource) {
    let number = before.iter().filter(|mount| matches!(mount.source, PlannedSource::Agent(_))).count();
    let target = match option.target.as_str() {
        "" => format!("/run/buildkit/ssh_agent.{number}"),
        target => format!("/{target}"),
    };
    let id = option.id.clone().unwrap_or_else(|| DEFAULT_AGENT.to_owned());
    (target, PlannedSource::Agent(given(option, id, 0o600)))
}

fn given(option: &MountOption, id: String, mode: u32) -> Given {
    Given {
        id,
        required: option.required,
        mode: option.mode.unwrap_or(mode),
        uid: option.uid.unwrap_or(0),
        gid: option.gid.unwrap_or(0),
    }
}
