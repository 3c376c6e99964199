//! The last step: find the program as the shell would, and become it.
//!
//! Failures are told apart as users know them (not found, not executable); what lies behind the kernel's short answers is found
//! out by [`crate::diagnosis`].

use std::ffi::CString;
use std::path::Path;

use super::Child;
use crate::diagnosis::Attempt;
use crate::error::{Doing, Error, Result};
use crate::timing::{self, Mark};
use crate::{broker, sys};

/// Where programs are looked for when the environment says nothing.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Child<'_> {
    /// Looks for the program without executing it, so that its absence is known before the container counts as made.
    pub(super) fn find_program(&mut self) -> Result<()> {
        let process = self.materials.process;
        let args = process.args().as_deref().unwrap_or_default();
        let program = args.first().map(String::as_str).unwrap_or_default();
        let env = process.env().as_deref().unwrap_or_default();
        let path = search_path(env);
        let mut refused = None;
        for candidate in candidates(program, path) {
            match rustix::fs::access(&candidate, rustix::fs::Access::EXEC_OK) {
                Ok(()) if !Path::new(&candidate).is_dir() => return Ok(()),
                Ok(()) | Err(rustix::io::Errno::ACCESS) => {
                    refused.get_or_insert((candidate, std::io::Error::from_raw_os_error(libc::EACCES)));
                }
                Err(_) => {}
            }
        }
        self.explain(args, env, refused)
    }

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
        broker::close_on_exec_all_but(&self.materials.passed_on).doing(|| "close descriptors".into())?;
        let program = args.first().map(String::as_str).unwrap_or_default();
        let path = search_path(&env);
        timing::mark(Mark::Confined);
        let mut refused = None;
        for candidate in candidates(program, path) {
            let Ok(name) = CString::new(candidate.as_bytes()) else { continue };
            let error = sys::execve(&name, &argv, &envp);
            match error.raw_os_error() {
                // A file that is there but cannot be run is the better answer, yet a later directory may have a good one.
                Some(libc::ENOENT | libc::ENOTDIR) if !Path::new(&candidate).exists() => {
                    if std::fs::symlink_metadata(&candidate).is_ok() {
                        refused.get_or_insert((candidate, error));
                    }
                }
                Some(libc::EACCES) => {
                    refused.get_or_insert((candidate, error));
                }
                _ => {
                    refused = Some((candidate, error));
                    break;
                }
            }
        }
        self.explain(args, &env, refused)
    }

    /// Why there is nothing to execute.
    fn explain(&mut self, args: &[String], env: &[String], refused: Option<(String, std::io::Error)>) -> Result<()> {
        let directory = std::env::current_dir().unwrap_or_else(|_| "/".into());
        let groups: Vec<u32> = [self.user.gid].into_iter().chain(self.user.groups.iter().copied()).collect();
        let (uid, root) = (self.user.uid, self.root()?);
        let path = search_path(env);
        let attempt = Attempt { root, directory: &directory, args, env, path, uid, groups: &groups };
        Err(Error::Start(match refused {
            Some((candidate, error)) => attempt.refused(&candidate, &error),
            None => attempt.not_found(),
        }))
    }
}

/// Where programs are looked for.
fn search_path(env: &[String]) -> &str {
    env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH)
}

/// The files a program's name may mean.
pub fn candidates(program: &str, path: &str) -> Vec<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_follow_path() {
        assert_eq!(candidates("ls", "/bin:/usr/bin/:"), ["/bin/ls", "/usr/bin/ls", "./ls"]);
        assert_eq!(candidates("./x/y", "/bin"), ["./x/y"]);
        assert!(candidates("", "/bin").is_empty());
    }
}
