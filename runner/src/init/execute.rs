//! The last step: find the program as the shell would, and become it.
//!
//! Failures are told apart as users know them (not found, not executable) and explained: a script whose interpreter is
//! missing and a program for another machine are the usual reasons behind the kernel's short answers.

use std::ffi::CString;
use std::io::{self, Read};
use std::path::Path;

use super::Child;
use super::dialogue::{Failure, FailureKind};
use crate::error::{Doing, Error, Result};
use crate::sys;

/// Where programs are looked for when the environment says nothing.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Child<'_> {
    /// Executes the program; returns only with an error.
    pub(super) fn execute(&mut self) -> Result<()> {
        let process = self.materials.process;
        let args = process.args().as_deref().unwrap_or_default();
        let mut env = process.env().clone().unwrap_or_default();
        if !env.iter().any(|entry| entry.starts_with("HOME=")) {
            env.push(format!("HOME={}", self.user.home.as_deref().unwrap_or("/")));
        }
        let c_string = |text: &String| {
            CString::new(text.as_bytes()).map_err(|_| Error::invalid("an argument or variable contains a NUL byte"))
        };
        let argv = args.iter().map(c_string).collect::<Result<Vec<_>>>()?;
        let envp = env.iter().map(c_string).collect::<Result<Vec<_>>>()?;
        sys::close_on_exec_from(self.materials.first_closed).doing(|| "close descriptors".into())?;
        let program = args.first().map(String::as_str).unwrap_or_default();
        let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
        let mut denied = None;
        for candidate in candidates(program, path) {
            let Ok(name) = CString::new(candidate.as_bytes()) else { continue };
            let error = sys::execve(&name, &argv, &envp);
            match error.raw_os_error() {
                // A file that is there but cannot be run is the better answer, yet a later directory may have a good one.
                Some(libc::ENOENT | libc::ENOTDIR) if !Path::new(&candidate).exists() => {}
                Some(libc::EACCES) => {
                    denied.get_or_insert((candidate, error));
                }
                _ => return Err(explain(program, &candidate, &error)),
            }
        }
        Err(match denied {
            Some((candidate, error)) => explain(program, &candidate, &error),
            None => {
                let place = if program.contains('/') {
                    "no such file or directory"
                } else {
                    "executable file not found in $PATH"
                };
                failure(FailureKind::NotFound, Some(libc::ENOENT), format!("exec {program:?}: {place}"))
            }
        })
    }
}

/// The files a program's name may mean.
fn candidates(program: &str, path: &str) -> Vec<String> {
    if program.is_empty() {
        return Vec::new();
    }
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    let folder =
        |folder: &str| if folder.is_empty() { ".".to_owned() } else { folder.trim_end_matches('/').to_owned() };
    path.split(':').take(1000).map(|part| format!("{}/{program}", folder(part))).collect()
}

/// What lies behind the kernel's answer to an exec.
fn explain(program: &str, file: &str, error: &io::Error) -> Error {
    let mut head = [0u8; 256];
    // The user the program runs as reads it; what cannot be read is not explained.
    let length = std::fs::File::open(file).and_then(|mut file| file.read(&mut head)).unwrap_or(0);
    let head = &head[..length];
    let why = match error.raw_os_error() {
        Some(libc::ENOENT) => match interpreter(head) {
            Some(name) => format!("{file} needs the interpreter {name}, which is not in the image"),
            None => format!("{file} needs a dynamic linker that is not in the image"),
        },
        Some(libc::ENOEXEC) if head.is_empty() => format!("{file} is empty"),
        Some(libc::ENOEXEC) if head.starts_with(b"\x7fELF") => {
            format!("{file} is a program for another kind of machine")
        }
        Some(libc::ENOEXEC) => format!("{file} is neither a program nor a script that begins with #!"),
        Some(libc::EACCES) if Path::new(file).is_dir() => format!("{file} is a directory"),
        Some(libc::EACCES) => format!("{file} may not be executed by this user, or lies on a noexec mount"),
        _ => file.to_owned(),
    };
    let kind = match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => FailureKind::NotFound,
        Some(libc::EACCES | libc::ENOEXEC | libc::EPERM | libc::EISDIR | libc::ETXTBSY | libc::ELOOP) => {
            FailureKind::NotExecutable
        }
        _ => FailureKind::Other,
    };
    failure(kind, error.raw_os_error(), format!("exec {program:?}: {why}: {error}"))
}

/// The interpreter of a script.
fn interpreter(head: &[u8]) -> Option<String> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let text = String::from_utf8_lossy(line);
    text.split_whitespace().next().map(|name| name.escape_debug().to_string())
}

fn failure(kind: FailureKind, errno: Option<i32>, text: String) -> Error {
    Error::Start(Failure { step: "execute the program".into(), kind, text, errno })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_follow_path() {
        assert_eq!(candidates("ls", "/bin:/usr/bin/:"), ["/bin/ls", "/usr/bin/ls", "./ls"]);
        assert_eq!(candidates("./x/y", "/bin"), ["./x/y"]);
        assert!(candidates("", "/bin").is_empty());
    }

    #[test]
    fn scripts_name_their_interpreter() {
        assert_eq!(interpreter(b"#! /bin/bash -e\nx").unwrap(), "/bin/bash");
        assert_eq!(interpreter(b"\x7fELF"), None);
    }

    #[test]
    fn explanations_name_the_cause_and_the_kind() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        std::fs::write(&script, "#!/no/such/shell\n").unwrap();
        let text = script.to_str().unwrap();
        let error = explain("script", text, &io::Error::from_raw_os_error(libc::ENOENT));
        assert!(error.to_string().contains("/no/such/shell") && error.exit_code() == 127, "{error}");
        let error = explain("script", text, &io::Error::from_raw_os_error(libc::ENOEXEC));
        assert!(error.exit_code() == 126, "{error}");
    }
}
