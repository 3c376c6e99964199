//! Hooks of a Spec: programs that are run at certain moments of a container's life, with its state on standard input.
//!
//! They run one after the other where the caller is (the runtime's namespaces, or the container's). The rule: a hook has no
//! terminal, no descriptor of ours and only the environment that the Spec gives it; one that does not end in time is killed.

use std::ffi::CString;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use oci_spec::runtime::Hook;
use rustix::fs::{MemfdFlags, memfd_create};

use crate::error::{Doing, Error, Result};
use crate::sys::{self, Ended};

/// What of a hook's output is shown when it fails.
const MAX_OUTPUT: u64 = 4096;

/// Runs the hooks of one kind in their order. The caller has one thread, and no children that it does not know by a pidfd.
///
/// # Errors
/// The first hook that cannot be run, fails or takes too long; those after it are not run.
pub fn run(kind: &str, hooks: &[Hook], state: &serde_json::Value) -> Result<()> {
    let state = state.to_string();
    hooks.iter().enumerate().try_for_each(|(number, hook)| {
        run_one(hook, state.as_bytes()).map_err(|error| {
            let mut text = error.to_string();
            if let Some(cause) = std::error::Error::source(&error) {
                text = format!("{text}: {cause}");
            }
            Error::invalid(format!("error running {kind} hook #{number} {}: {text}", hook.path().display()))
        })
    })
}

fn run_one(hook: &Hook, state: &[u8]) -> Result<()> {
    let timeout = match hook.timeout() {
        Some(seconds @ 1..) => Some(Duration::from_secs(seconds.unsigned_abs())),
        Some(other) => return Err(Error::invalid(format!("the timeout {other} is not above 0"))),
        None => None,
    };
    if !hook.path().is_absolute() {
        return Err(Error::invalid("the path is not absolute"));
    }
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| Error::invalid("an argument contains a NUL byte"));
    let path = text(hook.path().as_os_str().as_bytes())?;
    let strings =
        |list: &Option<Vec<String>>| list.iter().flatten().map(|one| text(one.as_bytes())).collect::<Result<Vec<_>>>();
    let (mut args, env) = (strings(hook.args())?, strings(hook.env())?);
    if args.is_empty() {
        args.push(path.clone());
    }
    // Files in memory, not pipes: neither side can be held up by the other.
    let memory = || -> Result<std::fs::File> {
        Ok(memfd_create("hook", MemfdFlags::CLOEXEC).doing(|| "make a file in memory".into())?.into())
    };
    let (mut input, mut output) = (memory()?, memory()?);
    input.write_all(state).and_then(|()| input.rewind()).doing(|| "write the state".into())?;
    let program = match sys::fork().doing(|| "start the hook".into())? {
        sys::Forked::Child => {
            let ready = sys::reset_signals()
                .and_then(|()| sys::set_stdio([input.as_fd(), output.as_fd(), output.as_fd()]))
                .and_then(|()| sys::close_on_exec(3, u32::MAX));
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
            let error = ready.err().unwrap_or_else(|| sys::execve(&path, &args, &env));
            let _ = output.write_all(format!("cannot execute it: {error}").as_bytes());
            sys::exit(127)
        }
        sys::Forked::Parent(pid) => {
            let pid = rustix::process::Pid::from_raw(pid).ok_or_else(|| Error::invalid("fork gave no process"))?;
            let open = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty());
            open.doing(|| "watch the hook".into())?
        }
    };
    let ended = wait(&program, timeout)?;
    let said = || -> String {
        let mut bytes = Vec::new();
        let read = output.rewind().and_then(|()| (&output).take(MAX_OUTPUT).read_to_end(&mut bytes));
        let words = String::from_utf8_lossy(&bytes);
        match (read, words.trim()) {
            (Err(_), _) | (_, "") => String::new(),
            (_, words) => format!(": {words}"),
        }
    };
    let mut said = said;
    match ended {
        Some(Ended::Exited(0)) => Ok(()),
        Some(Ended::Exited(code)) => Err(Error::invalid(format!("exit status {code}{}", said()))),
        Some(Ended::Signalled(signal)) => Err(Error::invalid(format!("ended by signal {signal}{}", said()))),
        None => Err(Error::invalid(format!("timed out after {} s{}", timeout.unwrap_or_default().as_secs(), said()))),
    }
}

/// Waits for the hook; `None`: it took too long and was killed.
fn wait(program: &std::os::fd::OwnedFd, timeout: Option<Duration>) -> Result<Option<Ended>> {
    let doing = || "wait for the hook".to_owned();
    let until = timeout.map(|time| Instant::now() + time);
    loop {
        if let Some(ended) = sys::reap(program.as_fd()).doing(doing)? {
            return Ok(Some(ended));
        }
        let left = until.map(|at| at.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            sys::pidfd_send_signal(program.as_fd(), libc::SIGKILL).doing(|| "kill the hook".into())?;
            sys::wait(program.as_fd()).doing(doing)?;
            return Ok(None);
        }
        let mut entry = [libc::pollfd { fd: program.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
        sys::poll(&mut entry, left.map(|left| left + Duration::from_millis(1))).doing(doing)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str, timeout: Option<i64>) -> Hook {
        let mut json = serde_json::json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["WHERE=here"]});
        if let Some(timeout) = timeout {
            json["timeout"] = timeout.into();
        }
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_hook_gets_the_state_and_its_own_environment() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("out");
        let script = format!("cat > {}; echo $WHERE ${{HOME-none}} >> {0}", file.display());
        run("poststart", &[hook(&script, None)], &serde_json::json!({"id": "x"})).unwrap();
        assert_eq!(std::fs::read_to_string(file).unwrap(), "{\"id\":\"x\"}here none\n");
    }

    #[test]
    fn the_first_failure_ends_the_row_and_shows_what_the_hook_said() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("second");
        let hooks = [hook("echo went wrong >&2; exit 3", None), hook(&format!("touch {}", file.display()), None)];
        let error = run("prestart", &hooks, &serde_json::json!({})).unwrap_err().to_string();
        assert_eq!(error, "error running prestart hook #0 /bin/sh: exit status 3: went wrong");
        assert!(!file.exists());
    }

    #[test]
    fn a_slow_hook_is_killed_and_a_wrong_timeout_refused() {
        let error = run("x", &[hook("exec sleep 100", Some(1))], &serde_json::json!({})).unwrap_err();
        assert!(error.to_string().contains("timed out after 1 s"), "{error}");
        assert!(run("x", &[hook("true", Some(0))], &serde_json::json!({})).is_err());
    }
}
