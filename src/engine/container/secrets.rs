//! Secrets of a container: read when it is started, mounted from memory or put into the environment of its program, and
//! kept nowhere. The record has the words of the flag alone, so a restart reads the file again.

use std::io::Read as _;

use runner::MountedFile;
use runner::spec::parse::{MountKind, MountRequest};

use super::options::Options;
use crate::engine::Engine;
use crate::error::{CommandError, Context as _, Result};

/// Largest secret, bytes; docker and BuildKit have the same limit.
const SECRET_MAX: u64 = 500 << 10;
/// Where secrets are mounted unless said otherwise.
const PLACE: &str = "/run/secrets";

/// A flag understood.
#[derive(Debug, Default, PartialEq)]
struct Words {
    id: String,
    file: Option<String>,
    variable: Option<String>,
    into_environment: bool,
    target: Option<String>,
    owner: (u32, u32),
    mode: u32,
}

/// What a container is given.
#[derive(Default)]
pub(super) struct Given {
    /// Files in memory.
    pub files: Vec<MountedFile>,
    /// Their mounts.
    pub mounts: Vec<MountRequest>,
    /// Variables.
    pub env: Vec<String>,
}

/// Whether the flags are understood; nothing is read.
///
/// # Errors
/// The first that is not.
pub(super) fn check(asked: &Options) -> Result<()> {
    asked.inside.secrets.iter().try_for_each(|text| words(text).map(drop))
}

impl Engine {
    /// Reads the secrets of a container. `first` is the number of the first file among its files in memory.
    ///
    /// # Errors
    /// A file or variable that is not there.
    pub(super) fn secrets(&self, asked: &Options, first: usize) -> Result<Given> {
        let mut given = Given::default();
        for text in &asked.inside.secrets {
            let words = words(text)?;
            let contents = self.secret(&words)?;
            if words.into_environment {
                let name = words.target.as_deref().unwrap_or(&words.id);
                let value = String::from_utf8(contents)
                    .ok()
                    .filter(|value| !value.contains('\0'))
                    .ok_or_else(|| CommandError::usage(format!("the secret {} is no text for a variable", words.id)))?;
                given.env.push(format!("{name}={value}"));
                continue;
            }
            let number = (first + given.files.len()).to_string();
            let target = match words.target.as_deref() {
                None => format!("{PLACE}/{}", words.id),
                Some(path) if path.starts_with('/') => path.to_owned(),
                Some(name) => format!("{PLACE}/{name}"),
            };
            given.mounts.push(MountRequest::new(MountKind::File, Some(&number), &target));
            let (uid, gid) = words.owner;
            given.files.push(MountedFile { contents: contents.into(), mode: words.mode, uid, gid });
        }
        Ok(given)
    }

    fn secret(&self, words: &Words) -> Result<Vec<u8>> {
        let id = &words.id;
        if let Some(name) = &words.variable {
            return self.variable(name).map(|value| value.as_bytes().to_vec()).ok_or_else(|| {
                CommandError::usage(format!("the secret {id} comes from the variable {name}, which is not set"))
                    .hint("a secret from a variable must be set at every start; src=FILE is read again")
            });
        }
        let path = words.file.as_deref().unwrap_or_default();
        let mut contents = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(SECRET_MAX + 1).read_to_end(&mut contents))
            .with_context(|| format!("cannot read the secret {id} from {path}"))?;
        if contents.len() as u64 > SECRET_MAX {
            return Err(CommandError::usage(format!("the secret {id} in {path} is larger than 500 KiB")));
        }
        Ok(contents)
    }
}

fn words(text: &str) -> Result<Words> {
    let usage = |message: String| CommandError::usage(format!("--secret: {message}"));
    let mut words = Words { mode: 0o444, ..Words::default() };
    for field in text.split(',') {
        // A value that is no field may be the secret itself, given by mistake: it is not repeated.
        let Some((key, value)) = field.split_once('=') else {
            return Err(usage("each field is KEY=VALUE".to_owned()).hint(
                "secrets are not kept here; name a file or variable: --secret id=NAME,src=FILE or id=NAME,env=VARIABLE",
            ));
        };
        let number = || value.parse().ok().filter(|number| *number != u32::MAX);
        match key {
            "id" | "name" => words.id = value.to_owned(),
            "src" | "source" | "file" => words.file = Some(value.to_owned()),
            "env" => words.variable = Some(value.to_owned()),
            "target" | "dst" | "destination" => words.target = Some(value.to_owned()),
            "type" if matches!(value, "mount" | "file") => words.into_environment = false,
            "type" if value == "env" => words.into_environment = true,
            "type" => return Err(usage(format!("the type is mount or env, not {value:?}"))),
            "uid" => words.owner.0 = number().ok_or_else(|| usage(format!("{value:?} is no user number")))?,
            "gid" => words.owner.1 = number().ok_or_else(|| usage(format!("{value:?} is no group number")))?,
            "mode" => match u32::from_str_radix(value, 8) {
                Ok(mode @ 0..=0o777) => words.mode = mode,
                _ => return Err(usage(format!("{value:?} is no mode")).hint("as mode=0400")),
            },
            other => {
                return Err(usage(format!("there is no field {other:?}"))
                    .hint("the fields are id, src, env, type, target, uid, gid and mode"));
            }
        }
    }
    if words.id.is_empty() || words.id.contains('/') || words.id.starts_with('.') {
        return Err(usage("it has no id that can be a file's name".to_owned()).hint("id=NAME"));
    }
    match (&words.file, &words.variable) {
        (Some(_), Some(_)) => Err(usage(format!("{} is to come from a file and a variable at once", words.id))),
        (None, None) => Err(usage(format!("{} has no source", words.id)).hint("src=FILE or env=VARIABLE")),
        (Some(path), None) if !std::path::Path::new(path).is_absolute() => {
            // It is read again at a restart, which may be anywhere.
            let path = std::path::absolute(path).context("cannot find the secret")?;
            words.file = Some(path.to_string_lossy().into_owned());
            Ok(words)
        }
        _ => Ok(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_the_secret_is_never_repeated() {
        let all = words("id=key,src=/k,target=/etc/key,uid=5,gid=6,mode=0400").unwrap();
        assert_eq!((all.owner, all.mode, all.target.as_deref()), ((5, 6), 0o400, Some("/etc/key")));
        assert!(words("id=key,env=KEY,type=env").unwrap().into_environment);
        for bad in [
            "",
            "hunter2",
            "id=a",
            "id=a/b,src=/k",
            "src=/k",
            "id=a,src=/k,env=K",
            "id=a,src=/k,mode=8",
            "id=a,src=/k,x=y",
        ] {
            let error = words(bad).unwrap_err().text();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
