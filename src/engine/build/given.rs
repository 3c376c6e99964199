//! `--secret`, `--ssh` and `--allow` of a build: their words, and what they name, read once before the build begins.
//! The forms are buildx's (docs.docker.com, "docker buildx build").

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use builder::buildfile::comma_separated;
use builder::buildfile::diagnostic::did_you_mean;
use builder::{Entitlement, Inputs, Secret};

use crate::error::{CommandError, Context as _, Result};

use super::ssh::Keys;

/// Largest secret, bytes; BuildKit has the same limit.
const SECRET_MAX: u64 = 500 << 10;
/// The variable by which programs find an agent (ssh-agent(1)).
const AGENT_VARIABLE: &str = "SSH_AUTH_SOCK";

/// The flags as written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given<'a> {
    /// `--secret`
    pub secrets: &'a [String],
    /// `--ssh`
    pub agents: &'a [String],
    /// `--allow`
    pub allowed: &'a [String],
}

/// Reads what the flags name; `variable` gives a variable of the caller's environment. Beside the inputs come the keys
/// that an agent must be started for, by their ids.
///
/// # Errors
/// Words that make no sense; files, variables and sockets that are not there.
pub fn read(given: &Given<'_>, variable: &dyn Fn(&str) -> Option<String>) -> Result<(Inputs, BTreeMap<String, Keys>)> {
    let (mut inputs, mut keys) = (Inputs::default(), BTreeMap::new());
    for text in given.secrets {
        let (id, value) = secret(text, variable)?;
        inputs.secrets.insert(id, value);
    }
    for text in given.agents {
        let (id, path) = text.split_once('=').unwrap_or((text, ""));
        if id.is_empty() {
            return Err(CommandError::usage(format!("--ssh {text:?} has no name"))
                .hint("--ssh default, NAME=SOCKET or NAME=KEY[,KEY]"));
        }
        let socket = match path {
            "" => variable(AGENT_VARIABLE).filter(|path| !path.is_empty()).ok_or_else(|| {
                CommandError::usage(format!("--ssh {text} forwards your ssh agent, and {AGENT_VARIABLE} is not set"))
                    .hint("start one (eval $(ssh-agent), ssh-add), or name its socket or a key: --ssh default=PATH")
                    .hint("sudo drops the variable unless told: sudo --preserve-env=SSH_AUTH_SOCK img build …")
            })?,
            path => path.to_owned(),
        };
        let is_socket = fs::metadata(&socket).map(|about| about.file_type().is_socket());
        if *is_socket.as_ref().unwrap_or(&false) {
            keys.remove(id);
            inputs.agents.insert(id.to_owned(), socket.into());
        } else if path.is_empty() {
            // What the variable names is an agent or a mistake.
            let error = CommandError::usage(format!("{AGENT_VARIABLE} names {socket}, which is no socket"));
            return Err(is_socket.err().map_or(error, |cause| {
                CommandError::from(cause).prefixed(&format!("cannot use {socket} as the ssh agent {id}"))
            }));
        } else {
            inputs.agents.remove(id);
            keys.insert(id.to_owned(), Keys::read(id, &socket.split(',').collect::<Vec<_>>())?);
        }
    }
    for text in given.allowed {
        // buildx takes several in one flag.
        for name in comma_separated(text).map_err(CommandError::usage)? {
            inputs.allowed.insert(Entitlement::parse(&name).map_err(CommandError::usage)?);
        }
    }
    Ok((inputs, keys))
}

/// The id and the bytes that one `--secret` names.
fn secret(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<(String, Secret)> {
    let usage = |message: String| CommandError::usage(format!("--secret: {message}"));
    let (mut id, mut file, mut env, mut kind) = (None, None, None, None);
    for field in comma_separated(text).map_err(usage)? {
        // A value that is no field may be the secret itself, given by mistake: it is not repeated.
        let (key, value) = field.split_once('=').ok_or_else(|| {
            usage("each field is KEY=VALUE".to_owned()).hint("--secret id=NAME,src=FILE or id=NAME,env=VARIABLE")
        })?;
        match key.to_ascii_lowercase().as_str() {
            "id" => id = Some(value.to_owned()),
            "src" | "source" => file = Some(value.to_owned()),
            "env" => env = Some(value.to_owned()),
            "type" if matches!(value, "file" | "env") => kind = Some(value.to_owned()),
            "type" => return Err(usage(format!("the type is file or env, not {value:?}"))),
            other => {
                let near = did_you_mean(other, ["id", "src", "source", "env", "type"]);
                let error = usage(format!("there is no field {other:?}"));
                return Err(match near {
                    Some(near) => error.hint(format!("did you mean {near}?")),
                    None => error.hint("the fields are id, src, env and type"),
                });
            }
        }
    }
    let id = id.filter(|id| !id.is_empty()).ok_or_else(|| usage("it has no id".to_owned()).hint("id=NAME"))?;
    if kind.as_deref() == Some("env") && env.is_none() {
        env = file.take();
    }
    let value = match (env, file) {
        (Some(_), Some(_)) => return Err(usage(format!("{id} is to come from a file and a variable at once"))),
        (Some(name), None) => from_variable(&id, &name, variable)?,
        (None, Some(path)) => from_file(&id, &path)?,
        // With an id alone it is a variable of that name, if there is one, or a file.
        (None, None) if kind.as_deref() != Some("file") => match variable(&id) {
            Some(value) => value.into_bytes(),
            None if kind.is_some() => from_variable(&id, &id, variable)?,
            None => from_file(&id, &id).map_err(|error| {
                error.hint(format!("there is no variable {id} either; name the source: --secret id={id},src=FILE"))
            })?,
        },
        (None, None) => from_file(&id, &id)?,
    };
    if value.len() as u64 > SECRET_MAX {
        return Err(CommandError::new(format!("the secret {id} is larger than {SECRET_MAX} bytes")));
    }
    Ok((id, Secret::new(value)))
}

fn from_variable(id: &str, name: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Vec<u8>> {
    variable(name).map(String::into_bytes).ok_or_else(|| {
        CommandError::new(format!("the variable {name} of the secret {id} is not set"))
            .hint(format!("export {name}, or take the secret from a file: --secret id={id},src=FILE"))
    })
}

fn from_file(id: &str, path: &str) -> Result<Vec<u8>> {
    let doing = || format!("cannot read the secret {id} from {path}");
    let file = fs::File::open(Path::new(path)).with_context(doing)?;
    if file.metadata().with_context(doing)?.is_dir() {
        return Err(CommandError::new(format!("{}: it is a directory", doing())));
    }
    let mut bytes = Vec::new();
    file.take(SECRET_MAX + 1).read_to_end(&mut bytes).with_context(doing)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str) -> Option<String> {
        (name == "TOKEN").then(|| "from the environment".to_owned())
    }

    fn one(text: &str) -> Result<Vec<u8>> {
        secret(text, &variable).map(|(id, value)| [id.as_bytes(), b"=", value.bytes()].concat())
    }

    #[test]
    fn every_form_of_a_secret() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a,b").display().to_string();
        fs::write(&path, "from a file").unwrap();
        for (text, expected) in [
            (format!("id=x,\"src={path}\""), "x=from a file"),
            (format!("id=x,type=file,\"source={path}\""), "x=from a file"),
            ("id=x,env=TOKEN".to_owned(), "x=from the environment"),
            ("type=env,id=x,src=TOKEN".to_owned(), "x=from the environment"),
            ("id=TOKEN".to_owned(), "TOKEN=from the environment"),
            ("type=env,id=TOKEN".to_owned(), "TOKEN=from the environment"),
        ] {
            assert_eq!(String::from_utf8(one(&text).unwrap()).unwrap(), expected, "{text}");
        }
        fs::write(&path, vec![0; SECRET_MAX as usize + 1]).unwrap();
        assert!(one(&format!("id=x,\"src={path}\"")).is_err_and(|error| error.text().contains("larger")));
    }

    #[test]
    fn mistakes_are_named_and_values_not_repeated() {
        for (text, part) in [
            ("hunter2", "KEY=VALUE"),
            ("src=/x", "no id"),
            ("id=", "no id"),
            ("id=x,scr=/x", "no field"),
            ("id=x,type=value", "file or env"),
            ("id=x,src=a,env=b", "at once"),
            ("id=x,env=NOT_SET", "not set"),
            ("type=env,id=x", "not set"),
            ("id=x,src=/does/not/exist", "/does/not/exist"),
            ("id=x,src=/", "directory"),
        ] {
            let error = one(text).expect_err(text);
            assert!(error.text().contains(part), "{text}: {error}");
            assert!(!error.text().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn agents_and_entitlements() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("agent");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let socket = socket.display().to_string();
        let own = socket.clone();
        let variable = move |name: &str| (name == AGENT_VARIABLE).then(|| own.clone());
        let words = |text: &str| vec![text.to_owned()];
        let with = |agents: &[String], allowed: &[String]| read(&Given { secrets: &[], agents, allowed }, &variable);
        assert_eq!(with(&words("default"), &[]).unwrap().0.agents["default"], Path::new(&socket));
        assert_eq!(with(&words(&format!("work={socket}")), &[]).unwrap().0.agents["work"], Path::new(&socket));
        fs::write(directory.path().join("id_ed25519"), "key").unwrap();
        let key = directory.path().join("id_ed25519").display().to_string();
        let error = with(&words(&format!("default={key}")), &[]).unwrap_err();
        assert!(error.text().contains("nor a private key") && error.hints[0].contains("ssh-keygen"), "{error:?}");
        assert!(with(&words("=x"), &[]).is_err() && with(&words("x=/none"), &[]).is_err());
        assert_eq!(with(&[], &words("network.host,security.insecure")).unwrap().0.allowed.len(), 2);
        assert!(with(&[], &words("network")).is_err());
        // What the variable names is never read as a key.
        let wrong = read(&Given { agents: &words("default"), ..Given::default() }, &|_| Some(key.clone())).unwrap_err();
        assert!(wrong.text().contains("no socket"), "{wrong:?}");
        let none = read(&Given { agents: &words("default"), ..Given::default() }, &|_| None).unwrap_err();
        assert!(none.text().contains(AGENT_VARIABLE));
    }
}
