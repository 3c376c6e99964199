//! The process that watches: it traces the container's processes from their exec on and keeps what was refused.
//!
//! Forked before the container is, so that it holds the plan of it and nothing else of the parent; told the child's number
//! while that waits for its network. It ends when nothing is left to trace. If it is killed the container ends with it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use super::Denial;
use super::call::{Ended, error_name};
use super::cause::Facts;
use super::place::Process;
use super::sys::{self, Call, Resume};
use crate::broker;
use crate::container::Container;
use crate::error::{Doing, Error, Result};
use crate::security::seccomp::evaluate;
use crate::state::Exit;

/// The most different refusals kept.
const MOST: usize = 1000;

/// The parent's handle on the witness.
#[derive(Debug)]
pub(crate) struct Witness {
    pidfd: OwnedFd,
    line: UnixStream,
    memory: Option<i64>,
}

impl Witness {
    /// Forks it. It knows what the container is to be.
    pub fn start(container: &Container) -> Result<Self> {
        let facts = Facts::of(container)?;
        let memory = facts.memory;
        let (ours, theirs) = UnixStream::pair().doing(|| "make the line to the witness".into())?;
        let pidfd = broker::spawn(&[theirs.as_raw_fd()], || i32::from(serve(&theirs, &facts).is_err()))?;
        Ok(Self { pidfd, line: ours, memory })
    }

    /// Begins to watch a process, which must not have executed its program yet.
    pub fn watch(&self, pid: i32) -> Result<()> {
        let mut answer = [0u8; 4];
        let asked = (&self.line).write_all(&pid.to_ne_bytes()).and_then(|()| (&self.line).read_exact(&mut answer));
        asked.doing(|| "talk to the witness".into())?;
        match i32::from_ne_bytes(answer) {
            0 => Ok(()),
            number => Err(Error::io("trace the container's first process", std::io::Error::from_raw_os_error(number))),
        }
    }

    /// What it saw, when the container has ended.
    pub fn finish(mut self, exit: &Exit) -> Result<Vec<Denial>> {
        let mut text = Vec::new();
        self.line.read_to_end(&mut text).doing(|| "listen to the witness".into())?;
        crate::sys::wait(self.pidfd.as_fd()).doing(|| "wait for the witness".into())?;
        let mut denials: Vec<Denial> = match text.as_slice() {
            [] => return Err(Error::invalid("the witness ended without a word")),
            text => serde_json::from_slice(text).map_err(|_| Error::invalid("the witness's answer is damaged"))?,
        };
        if let (true, Some(limit)) = (exit.oom, self.memory) {
            denials.push(Denial {
                call: "the program".into(),
                object: None,
                layer: "memory limit".into(),
                why: format!("it was killed when all together took {limit} bytes"),
                flag: Some(format!("by --memory {}", limit.saturating_mul(4))),
                count: 1,
            });
        }
        Ok(denials)
    }
}

/// The life of the witness.
fn serve(line: &UnixStream, facts: &Facts) -> Result<()> {
    let doing = || "talk to the parent".to_owned();
    let mut line = line;
    let mut number = [0u8; 4];
    line.read_exact(&mut number).doing(doing)?;
    let pid = i32::from_ne_bytes(number);
    let seized = sys::seize(pid).err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
    line.write_all(&seized.to_ne_bytes()).doing(doing)?;
    if seized != 0 {
        return Ok(());
    }
    let mut view =
        View { facts, executed: false, early: HashSet::from([pid]), calls: HashMap::new(), seen: BTreeMap::new() };
    view.watch()?;
    let seen: Vec<Denial> = view.seen.into_values().collect();
    let bytes = serde_json::to_vec(&seen).map_err(|_| Error::invalid("a refusal cannot be written down"))?;
    line.write_all(&bytes).doing(doing)
}

struct View<'a> {
    facts: &'a Facts,
    /// Whether any exec was seen: until then all processes are our own code.
    executed: bool,
    /// Those that are still our own code.
    early: HashSet<i32>,
    /// Calls that have begun.
    calls: HashMap<i32, (u32, u64, [u64; 6])>,
    seen: BTreeMap<String, Denial>,
}

impl View<'_> {
    fn watch(&mut self) -> Result<()> {
        loop {
            let (pid, status) = match sys::wait_any() {
                Ok(found) => found,
                Err(error) if error.raw_os_error() == Some(libc::ECHILD) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::io("wait for traced processes", error)),
            };
            if !libc::WIFSTOPPED(status) {
                self.calls.remove(&pid);
                if libc::WIFSIGNALED(status) {
                    self.keep(self.facts.signal(libc::WTERMSIG(status)));
                }
                continue;
            }
            let how = self.stopped(pid, status);
            match sys::resume(pid, how) {
                // Killed while it was looked at.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                result => result.doing(|| "let a traced process go on".into())?,
            }
        }
    }

    /// Looks at a stop and says how to go on.
    fn stopped(&mut self, pid: i32, status: i32) -> Resume {
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        let go = |view: &Self, signal: i32| {
            if view.early.contains(&pid) { Resume::Continue(signal) } else { Resume::ToCall(signal) }
        };
        if !self.executed && event != libc::PTRACE_EVENT_EXEC {
            self.early.insert(pid);
        }
        match (event, signal) {
            (libc::PTRACE_EVENT_EXEC, _) => {
                self.executed = true;
                self.early.remove(&pid);
                self.calls.remove(&pid);
                self.keep(self.facts.executed(pid, &Process::new(pid)));
                go(self, 0)
            }
            (libc::PTRACE_EVENT_STOP, libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU) => Resume::Listen,
            (0, signal) if signal == libc::SIGTRAP | 0x80 => {
                self.at_call(pid);
                go(self, 0)
            }
            // Untraced, the kernel drops what a namespace's init gets of this kind from its own children.
            (0, libc::SIGSTOP) if Process::new(pid).is_init() => go(self, 0),
            (0, signal) => go(self, signal),
            _ => go(self, 0),
        }
    }

    fn at_call(&mut self, pid: i32) {
        match sys::call(pid) {
            Ok(Call::Entry(architecture, number, arguments)) => {
                self.calls.insert(pid, (architecture, number, arguments));
            }
            Ok(Call::Exit(value)) => {
                let Some((architecture, number, arguments)) = self.calls.remove(&pid) else { return };
                let error = i32::try_from(-value).ok().filter(|error| (1..4096).contains(error)).unwrap_or(0);
                let Some(name) = evaluate::name(architecture, number as u32) else { return };
                if error != 0 && error_name(error).is_none() {
                    return;
                }
                let ended = Ended { architecture, number: number as u32, name, arguments, error };
                self.keep(self.facts.explain(&ended, pid));
            }
            // Gone meanwhile.
            Ok(Call::Other) | Err(_) => {}
        }
    }

    fn keep(&mut self, denial: Option<Denial>) {
        let Some(denial) = denial else { return };
        let key = format!("{} {:?} {} {}", denial.call, denial.object, denial.layer, denial.why);
        if let Some(known) = self.seen.get_mut(&key) {
            known.count += 1;
        } else if self.seen.len() < MOST {
            self.seen.insert(key, denial);
        }
    }
}
