//! Credential helpers: programs named `docker-credential-…` that keep secrets in a keyring (docker-credential-helpers
//! protocol: one word as argument, a document on standard input, a document on standard output).
//!
//! A helper runs in a process group of its own with a deadline; what it prints is bounded, and never repeated in an
//! error, because it may be a secret.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::auth::credentials::{Credential, TOKEN_USER};
use crate::error::{Error, Result};
use crate::limit;

/// How long a helper may take: it may have to ask the user to unlock a keyring.
const DEADLINE: Duration = Duration::from_secs(60);
/// What helpers print when they have nothing, with exit code 1.
const NOT_FOUND: &str = "credentials not found";

/// Keeps credentials somewhere else.
pub trait CredentialHelper: Send + Sync {
    /// The credential for `server`, if there is one.
    ///
    /// # Errors
    /// [`Error::Credentials`] when the helper fails.
    fn get(&self, server: &str) -> Result<Option<Credential>>;

    /// Keeps a credential.
    ///
    /// # Errors
    /// [`Error::Credentials`] when the helper fails.
    fn store(&self, server: &str, credential: &Credential) -> Result<()>;

    /// Forgets a credential; it is no error if there is none.
    ///
    /// # Errors
    /// [`Error::Credentials`] when the helper fails.
    fn erase(&self, server: &str) -> Result<()>;
}

/// A helper that is a program.
#[derive(Debug, Clone)]
pub struct ProcessHelper {
    program: PathBuf,
    deadline: Duration,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    #[serde(default, rename = "ServerURL")]
    server_url: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

impl ProcessHelper {
    /// The helper at `program`.
    #[must_use]
    pub fn new(program: &Path) -> Self {
        Self { program: program.to_owned(), deadline: DEADLINE }
    }

    /// The same helper with another deadline.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// The helper that configuration files call `name`, from the first of `dirs` that has it.
    ///
    /// # Errors
    /// [`Error::Credentials`] when no directory has it, or `name` is no plain file name.
    pub fn named(name: &str, dirs: &[PathBuf]) -> Result<Self> {
        let wrong = |why: String| Error::Credentials { registry: name.to_owned(), why, source: None };
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
            return Err(wrong("not the name of a credential helper".into()));
        }
        let file = format!("docker-credential-{name}");
        let program = dirs.iter().map(|dir| dir.join(&file)).find(|path| path.is_file());
        program.map(|program| Self::new(&program)).ok_or_else(|| wrong(format!("{file} is not installed")))
    }

    /// Runs the helper; gives back whether it succeeded, and what it printed.
    fn run(&self, action: &str, server: &str, input: &[u8]) -> Result<(bool, String)> {
        let failed = |why: &str, source: Option<std::io::Error>| Error::Credentials {
            registry: server.to_owned(),
            why: format!("{} {action}: {why}", self.program.display()),
            source: source.map(Into::into),
        };
        let mut child = Command::new(&self.program)
            .arg(action)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| failed("cannot start", Some(error)))?;
        let (sender, receiver) = mpsc::channel();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let input = input.to_owned();
        let worker = std::thread::spawn(move || {
            let written = stdin.map_or(Ok(()), |mut stdin| stdin.write_all(&input));
            let mut output = vec![];
            let read = stdout.map_or(Ok(0), |stdout| stdout.take(limit::HELPER_OUTPUT + 1).read_to_end(&mut output));
            // A helper may answer without reading all of its input; what it printed decides.
            let result = read.map(|_| (written.is_ok(), output));
            // The receiver is gone only after the deadline, when nobody wants the result.
            let _ = sender.send(result);
        });
        let result = receiver.recv_timeout(self.deadline);
        if result.is_err() {
            end(&mut child);
        }
        let status = wait(&mut child, self.deadline);
        let joined = worker.join();
        let Ok(result) = result else {
            return Err(failed(&format!("no answer within {} s", self.deadline.as_secs()), None));
        };
        joined.map_err(|_| failed("its reader failed", None))?;
        let (_, output) = result.map_err(|error| failed("cannot read its answer", Some(error)))?;
        if output.len() as u64 > limit::HELPER_OUTPUT {
            return Err(Error::TooLarge {
                what: format!("answer of {}", self.program.display()),
                limit: limit::HELPER_OUTPUT,
            });
        }
        let text = String::from_utf8(output).map_err(|_| failed("its answer is not text", None))?;
        Ok((status.map_err(|error| failed("cannot wait for it", Some(error)))?, text))
    }

    fn refused(&self, action: &str, server: &str) -> Error {
        let why = format!("{} {action} failed", self.program.display());
        Error::Credentials { registry: server.to_owned(), why, source: None }
    }
}

/// Kills the helper and what it has started.
fn end(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended by itself, which is as good.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Waits for a helper that has closed its output; one that goes on regardless is killed.
fn wait(child: &mut Child, deadline: Duration) -> std::io::Result<bool> {
    let step = Duration::from_millis(5);
    let mut waited = Duration::ZERO;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if waited >= deadline {
            end(child);
            return child.wait().map(|status| status.success());
        }
        std::thread::sleep(step);
        waited += step;
    }
}

impl CredentialHelper for ProcessHelper {
    fn get(&self, server: &str) -> Result<Option<Credential>> {
        let (success, text) = self.run("get", server, server.as_bytes())?;
        if !success {
            return if text.to_ascii_lowercase().contains(NOT_FOUND) {
                Ok(None)
            } else {
                Err(self.refused("get", server))
            };
        }
        let document: Document = serde_json::from_str(&text).map_err(|_| self.refused("get", server))?;
        Ok(Credential::from_pair(document.username, document.secret))
    }

    fn store(&self, server: &str, credential: &Credential) -> Result<()> {
        let (username, secret) = match credential {
            Credential::Password { username, password } => (username.clone(), password.clone()),
            Credential::IdentityToken(token) | Credential::RegistryToken(token) => {
                (TOKEN_USER.to_owned(), token.clone())
            }
        };
        let document = Document { server_url: server.to_owned(), username, secret };
        let input = serde_json::to_vec(&document).map_err(|_| self.refused("store", server))?;
        let (success, _) = self.run("store", server, &input)?;
        if success { Ok(()) } else { Err(self.refused("store", server)) }
    }

    fn erase(&self, server: &str) -> Result<()> {
        let (success, text) = self.run("erase", server, server.as_bytes())?;
        if success || text.to_ascii_lowercase().contains(NOT_FOUND) {
            Ok(())
        } else {
            Err(self.refused("erase", server))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Instant;

    use super::*;

    /// A helper made of shell script, in a directory of its own.
    fn helper(script: &str) -> (tempfile::TempDir, ProcessHelper) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker-credential-test");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let helper = ProcessHelper::named("test", &["/nonexistent".into(), dir.path().to_owned()]).unwrap();
        (dir, helper.with_deadline(Duration::from_secs(5)))
    }

    #[test]
    fn get_store_erase() {
        let (dir, helper) = helper(
            r#"cd "$(dirname "$0")"
               case $1 in
               store) cat > kept ;;
               get) read -r server
                    if [ -f kept ]; then cat kept; else echo 'credentials not found in native keychain'; exit 1; fi ;;
               erase) rm -f kept ;;
               esac"#,
        );
        assert_eq!(helper.get("reg.example").unwrap(), None);
        let credential = Credential::Password { username: "u".into(), password: "p\"q".into() };
        helper.store("reg.example", &credential).unwrap();
        assert_eq!(helper.get("reg.example").unwrap(), Some(credential));
        helper.store("reg.example", &Credential::IdentityToken("t".into())).unwrap();
        assert_eq!(helper.get("reg.example").unwrap(), Some(Credential::IdentityToken("t".into())));
        let kept = std::fs::read_to_string(dir.path().join("kept")).unwrap();
        assert!(kept.contains(r#""ServerURL":"reg.example""#), "{kept}");
        helper.erase("reg.example").unwrap();
        assert_eq!(helper.get("reg.example").unwrap(), None);
    }

    #[test]
    fn failures_do_not_repeat_the_answer() {
        for script in ["echo hunter2; exit 1", "echo hunter2", "head -c 100000 /dev/zero | tr '\\0' x"] {
            let (_dir, helper) = helper(script);
            let error = format!("{:?}", helper.get("reg.example").unwrap_err());
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(ProcessHelper::named("../evil", &["/bin".into()]).is_err());
    }

    #[test]
    fn a_helper_that_hangs_is_ended_with_all_it_started() {
        let (_dir, helper) = helper("sleep 100 & sleep 100");
        let start = Instant::now();
        assert!(helper.with_deadline(Duration::from_millis(300)).get("reg.example").is_err());
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
