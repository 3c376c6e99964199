//! What a RUN step gets from outside: secrets as files and variables, sockets of ssh agents. None of it is looked at
//! before the step really runs, so a cached step needs none of it, and no key, record or layer can hold it.

use super::Solver;
use crate::buildfile::diagnostic::did_you_mean;
use crate::op::OpError;
use crate::plan::{Given, PlannedMount, PlannedSource, RunOp};
use crate::ports::RunMountSource;

/// The variable by which programs find an agent (ssh-agent(1)).
const AGENT_VARIABLE: &str = "SSH_AUTH_SOCK";

impl Solver<'_> {
    /// The file of a secret; none if it is not there and need not be.
    pub(super) fn secret_file(&self, given: &Given) -> Result<Option<RunMountSource>, OpError> {
        let Some(secret) = self.options.inputs.secrets.get(&given.id) else {
            return self.missing_secret(&given.id, given.required).map(|()| None);
        };
        let Given { mode, uid, gid, .. } = *given;
        Ok(Some(RunMountSource::Secret { contents: secret.clone(), mode, uid, gid }))
    }

    /// The socket of an agent; none if it is not there and need not be.
    pub(super) fn agent_socket(&self, given: &Given) -> Result<Option<RunMountSource>, OpError> {
        let agents = &self.options.inputs.agents;
        match agents.get(&given.id) {
            Some(socket) => {
                let Given { mode, uid, gid, .. } = *given;
                Ok(Some(RunMountSource::Agent { socket: socket.clone(), mode, uid, gid }))
            }
            None if !given.required => Ok(None),
            None => {
                let near = did_you_mean(&given.id, agents.keys().map(String::as_str));
                Err(OpError::Advised {
                    message: format!("it needs the ssh agent {}, which was not given", given.id),
                    hint: match near {
                        Some(near) => format!("did you mean {near}?"),
                        None if given.id == "default" => "forward your agent: --ssh default".to_owned(),
                        None => format!("give one: --ssh {}=SOCKET", given.id),
                    },
                })
            }
        }
    }

    /// Variables that only the running command sees: its secrets, and where the first agent is unless one is set.
    pub(super) fn given_variables(&self, op: &RunOp, mounts: &[&PlannedMount]) -> Result<Vec<String>, OpError> {
        let mut variables = Vec::new();
        for wanted in &op.secrets {
            let Some(secret) = self.options.inputs.secrets.get(&wanted.id) else {
                self.missing_secret(&wanted.id, wanted.required)?;
                continue;
            };
            let value = std::str::from_utf8(secret.bytes()).ok().filter(|value| !value.contains('\0'));
            let value = value.ok_or_else(|| OpError::Advised {
                message: format!("the secret {} is no text, and cannot be the variable {}", wanted.id, wanted.name),
                hint: "mount it as a file: target=… instead of env=…".to_owned(),
            })?;
            variables.push(format!("{}={value}", wanted.name));
        }
        let has_own = op.env.iter().any(|entry| entry.split('=').next() == Some(AGENT_VARIABLE));
        let agent = mounts.iter().find(|mount| matches!(mount.source, PlannedSource::Agent(_)));
        if let Some(agent) = agent.filter(|_| !has_own) {
            variables.push(format!("{AGENT_VARIABLE}={}", agent.target));
        }
        Ok(variables)
    }

    fn missing_secret(&self, id: &str, required: bool) -> Result<(), OpError> {
        if !required {
            return Ok(());
        }
        let near = did_you_mean(id, self.options.inputs.secrets.keys().map(String::as_str));
        Err(OpError::Advised {
            message: format!("it needs the secret {id}, which was not given"),
            hint: match near {
                Some(near) => format!("did you mean {near}?"),
                None => format!("give it: --secret id={id},src=FILE or --secret id={id},env=NAME"),
            },
        })
    }
}
