//! Instructions that change the image's config, and WORKDIR, which changes it and makes a directory. None of the
//! others ever makes a layer or a step.

use super::Op;
use super::dispatch::Dispatch;
use super::lint;
use super::stages::Planner;
use crate::buildfile::{Command, Expander, Instruction, Kind};
use crate::error::BuildError;
use crate::mutation::broken;

/// Signals by name, without SIG (signal(7), Linux on x86 and arm).
const SIGNALS: [&str; 33] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "IOT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
    "TERM", "STKFLT", "CHLD", "CLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
    "WINCH", "IO", "PWR", "SYS",
];

impl Planner<'_> {
    pub(super) fn meta(&mut self, stage: &mut Dispatch, instruction: &Instruction) -> Result<(), BuildError> {
        let created_by = match &instruction.kind {
            Kind::Env(pairs) => {
                let mut text = "ENV".to_owned();
                let mut expanded = Vec::new();
                for pair in pairs {
                    let key = self.expand(stage, instruction, &pair.key)?;
                    let value = self.expand(stage, instruction, &pair.value)?;
                    if key.is_empty() {
                        return Err(self.wrong(instruction, format!("the name {} is empty", pair.key)));
                    }
                    text.push_str(&format!(" {key}={value}"));
                    if broken("values-before-the-instruction") {
                        stage.env.set(&key, &value);
                    }
                    expanded.push((key, value));
                }
                // All values are those before the instruction.
                for (key, value) in expanded {
                    self.warnings.extend(lint::secret_name("ENV", &key, instruction.span));
                    stage.env.set(&key, &value);
                    stage.config.set_env(&key, &value);
                }
                text
            }
            Kind::Label(pairs) => {
                let mut text = "LABEL".to_owned();
                for pair in pairs {
                    let key = self.expand(stage, instruction, &pair.key)?;
                    let value = self.expand(stage, instruction, &pair.value)?;
                    text.push_str(&format!(" {key}={value}"));
                    stage.config.set_label(&key, &value);
                }
                text
            }
            Kind::Expose(ports) => self.expose(stage, instruction, ports)?,
            Kind::Volume(paths) => {
                let mut expanded = Vec::new();
                for path in paths {
                    let path = self.expand(stage, instruction, path)?;
                    if path.is_empty() {
                        return Err(self.wrong(instruction, "VOLUME takes no empty path"));
                    }
                    stage.config.add_volume(&path);
                    expanded.push(path);
                }
                format!("VOLUME {}", exec(&expanded))
            }
            Kind::User(user) => {
                let user = self.expand(stage, instruction, user)?;
                if user.is_empty() {
                    return Err(self.wrong(instruction, "the user is empty"));
                }
                stage.config.set_user(&user);
                format!("USER {user}")
            }
            Kind::Stopsignal(signal) => {
                let signal = self.expand(stage, instruction, signal)?;
                if !is_signal(&signal) {
                    return Err(self.wrong(instruction, format!("{signal} is not a signal")));
                }
                stage.config.set_stop_signal(&signal);
                format!("STOPSIGNAL {signal}")
            }
            Kind::Workdir(path) => return self.workdir(stage, instruction, path),
            Kind::Shell(args) => {
                stage.config.set_shell(args);
                format!("SHELL {}", exec(args))
            }
            Kind::Cmd(command) => {
                self.advise_exec_form(stage, instruction, command);
                let args = self.command(stage, command);
                stage.config.set_cmd(&args);
                stage.cmd_set = true;
                format!("CMD {}", exec(&args))
            }
            Kind::Entrypoint(command) => {
                self.advise_exec_form(stage, instruction, command);
                let args = self.command(stage, command);
                stage.config.set_entrypoint(&args);
                // The base image's command was written for its own entry point.
                let keep = stage.cmd_set && !broken("entrypoint-keeps-own-cmd");
                if !keep && !broken("entrypoint-resets-cmd") {
                    stage.config.reset_cmd();
                }
                format!("ENTRYPOINT {}", exec(&args))
            }
            Kind::Healthcheck(check) => {
                stage.config.set_healthcheck(check);
                instruction.text.clone()
            }
            Kind::Maintainer(author) => {
                stage.config.set_author(author);
                instruction.text.clone()
            }
            Kind::Onbuild(trigger) => {
                // It does nothing to this image, and leaves no line in its history.
                stage.config.add_on_build(trigger);
                return Ok(());
            }
            // These are steps or scopes, and go elsewhere.
            Kind::Arg(_) | Kind::Copy(_) | Kind::Run(_) => instruction.text.clone(),
        };
        stage.note(instruction, created_by, None);
        Ok(())
    }

    /// Whoever chose a shell meant the shell form.
    fn advise_exec_form(&mut self, stage: &Dispatch, instruction: &Instruction, command: &Command) {
        if matches!(command, Command::Shell(_)) && !stage.config.has_shell() {
            self.warnings.push(lint::shell_form(instruction.kind.keyword(), instruction.span));
        }
    }

    /// The command as it is started: shell forms get the shell in front.
    fn command(&self, stage: &Dispatch, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(args) => args.clone(),
            Command::Shell(text) => [stage.config.shell(), vec![text.clone()]].concat(),
        }
    }

    fn workdir(&mut self, stage: &mut Dispatch, instruction: &Instruction, path: &str) -> Result<(), BuildError> {
        let path = self.expand(stage, instruction, path)?;
        if !path.starts_with('/') && !stage.workdir_set {
            self.warnings.push(lint::relative_workdir(&path, instruction.span));
        }
        stage.workdir_set = true;
        let path = if broken("relative-workdir") { format!("/{path}") } else { path };
        let absolute = stage.absolute(&path);
        let absolute = if absolute == "/" { absolute } else { absolute.trim_end_matches('/').to_owned() };
        stage.config.set_working_dir(&absolute);
        let shown = format!("WORKDIR {absolute}");
        if absolute == "/" {
            stage.note(instruction, shown, None);
        } else {
            let user = if broken("owner-of-workdir") { "" } else { stage.config.user() };
            let op = Op::Workdir { path: absolute, user: user.to_owned() };
            stage.step(instruction, shown.clone(), shown, op);
        }
        Ok(())
    }

    fn expose(
        &mut self,
        stage: &mut Dispatch,
        instruction: &Instruction,
        ports: &[String],
    ) -> Result<String, BuildError> {
        let mut text = "EXPOSE".to_owned();
        for word in ports {
            // One variable may hold several ports.
            let expanded = self.expand_with(Expander::new(self.file.escape), stage, instruction, word)?;
            for port in expanded.words {
                self.warnings.extend(lint::exposed(&port, instruction.span));
                let parsed = exposed(&port).map_err(|message| self.wrong(instruction, message))?;
                parsed.iter().for_each(|port| stage.config.add_port(port));
                text.push_str(&format!(" {port}"));
            }
        }
        Ok(text)
    }
}

/// Ports as the config lists them: `80`, `80/udp`, `8000-8002/tcp`. What stands before a colon (a host address or
/// port) has no meaning in an image and is left out.
fn exposed(text: &str) -> Result<Vec<String>, String> {
    let bad = || format!("{text} is not a port: it is number[-number][/tcp|udp|sctp]");
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(bad());
    }
    let ports = ports.rsplit(':').next().unwrap_or(ports);
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => {
            Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
        }
        _ => Err(bad()),
    }
}

fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<u8>() {
        return (1..=64).contains(&number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let real_time = |offset: &str, sign: char| {
        offset.is_empty() || offset.strip_prefix(sign).and_then(|n| n.parse::<u8>().ok()).is_some_and(|n| n <= 30)
    };
    SIGNALS.contains(&name)
        || name.strip_prefix("RTMIN").is_some_and(|offset| real_time(offset, '+'))
        || name.strip_prefix("RTMAX").is_some_and(|offset| real_time(offset, '-'))
}

/// A list as the exec form writes it.
pub(super) fn exec(args: &[String]) -> String {
    serde_json::to_string(args).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_signals() {
        assert_eq!(exposed("80").unwrap(), ["80/tcp"]);
        assert_eq!(exposed("53/UDP").unwrap(), ["53/udp"]);
        assert_eq!(exposed("8000-8002/tcp").unwrap(), ["8000/tcp", "8001/tcp", "8002/tcp"]);
        assert_eq!(exposed("127.0.0.1:8080:80").unwrap(), ["80/tcp"]);
        for bad in ["", "x", "80/x", "9-8", "70000", "-1", "+80", "80-"] {
            assert!(exposed(bad).is_err(), "{bad}");
        }
        for good in ["9", "TERM", "SIGTERM", "sigquit", "SIGRTMIN+3", "RTMAX-1", "SIGRTMIN"] {
            assert!(is_signal(good), "{good}");
        }
        for bad in ["0", "65", "SIGNOPE", "", "RTMIN-1", "RTMIN+99"] {
            assert!(!is_signal(bad), "{bad}");
        }
    }
}
