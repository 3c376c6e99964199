//! A container for one command whose output is wanted, not kept: a step of a build, a health check's helper.
//!
//! The same path as any start, led by a broker: a forked child that is single-threaded whatever the caller is. The program writes
//! straight into the caller's pipes; the broker only waits for it. The rule: when the call returns nothing of the container is left, not
//! even the mount points that had to be made for it in the writable layer.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::broker;
use crate::container::Container;
use crate::error::{Doing, Error, Result};
use crate::init::dialogue::Failure;
use crate::log::Stream;
use crate::monitor::{Session, failure, pipes};
use crate::state::Exit;
use crate::{sys, verbs};

/// How often a cancellation is looked for.
const CANCEL_TICK: Duration = Duration::from_millis(100);

/// Runs the container to its end and hands its output to `output`, piece by piece as it comes. While it runs a record of it lets
/// [`crate::sweep`] find it if this process is killed; none is left when the call returns. May be called by
/// any thread of any process. When `cancelled` becomes true, the container is killed.
///
/// # Errors
/// [`Error::Start`] if the program could not be started, [`Error::Invalid`] if it was cancelled.
pub fn run_in(container: &Container, output: &mut dyn FnMut(Stream, &[u8]), cancelled: &AtomicBool) -> Result<Exit> {
    if container.has_terminal() {
        return Err(Error::invalid("a container without a monitor cannot have a terminal"));
    }
    let (program, stdio) = pipes(false)?;
    let (reader, writer) = std::io::pipe().doing(|| "make a pipe".into())?;
    let keep: Vec<i32> = stdio.iter().map(AsRawFd::as_raw_fd).chain([writer.as_raw_fd()]).collect();
    let own_pid = rustix::process::getpid();
    let broker = broker::spawn(&keep, || {
        let tied = sys::die_with_parent().is_ok() && rustix::process::getppid() == Some(own_pid);
        if !tied {
            return 125;
        }
        let answer = supervise(container, stdio).map_err(|error| failure(&error));
        let bytes = serde_json::to_vec(&answer).unwrap_or_default();
        i32::from((&writer).write_all(&bytes).is_err())
    })?;
    drop(writer);
    let mut answer = Vec::new();
    let result = relay(&program, &OwnedFd::from(reader), &mut answer, output, || {
        if cancelled.load(Ordering::Relaxed) {
            // The container dies with its broker.
            let _ = sys::pidfd_send_signal(broker.as_fd(), libc::SIGKILL);
        }
    });
    if result.is_err() {
        let _ = sys::pidfd_send_signal(broker.as_fd(), libc::SIGKILL);
    }
    sys::wait(broker.as_fd()).doing(|| "wait for the broker".into())?;
    result?;
    if answer.is_empty() {
        // Killed: what it could not take back is in its record.
        let taken_back =
            verbs::take_back(&container.state_dir).and_then(|_| verbs::remove_records(&container.state_dir));
        taken_back?;
        let why = if cancelled.load(Ordering::Relaxed) { "was cancelled" } else { "lost its broker" };
        return Err(Error::invalid(format!("container {} {why}", container.id)));
    }
    let answer: std::result::Result<Exit, Failure> =
        serde_json::from_slice(&answer).map_err(|_| Error::invalid("the broker's answer is damaged"))?;
    answer.map_err(Error::Start)
}

/// In the broker: start, wait, take back.
fn supervise(container: &Container, stdio: [OwnedFd; 3]) -> Result<Exit> {
    let mut session = Session::open(container, false, true)?;
    let started = session.start(Some(stdio), &mut || {});
    let result = started.and_then(|(running, _)| {
        let ended = sys::wait(running.pidfd.as_fd()).doing(|| "wait for the program".into())?;
        session.end(running, ended, None, |_, _| None).map(|(exit, _)| exit)
    });
    let removed = verbs::remove_records(&container.state_dir);
    let exit = result?;
    removed?;
    Ok(exit)
}

/// Reads both outputs and the answer until the answer is complete, and then what is left of the outputs.
fn relay(
    program: &crate::monitor::relay::ProgramIo,
    answer_pipe: &OwnedFd,
    answer: &mut Vec<u8>,
    output: &mut dyn FnMut(Stream, &[u8]),
    mut tick: impl FnMut(),
) -> Result<()> {
    let mut buffer = vec![0u8; 32 * 1024];
    let mut outputs = [(Stream::Stdout, program.stdout.as_ref()), (Stream::Stderr, program.stderr.as_ref())];
    let mut answered = false;
    while !answered {
        tick();
        let mut entries: Vec<libc::pollfd> = outputs
            .iter()
            .map(|(_, fd)| libc::pollfd { fd: fd.map_or(-1, AsRawFd::as_raw_fd), events: libc::POLLIN, revents: 0 })
            .chain([libc::pollfd { fd: answer_pipe.as_raw_fd(), events: libc::POLLIN, revents: 0 }])
            .collect();
        sys::poll(&mut entries, Some(CANCEL_TICK)).doing(|| "wait for the program's output".into())?;
        if entries[2].revents != 0 {
            match rustix::io::read(answer_pipe, &mut buffer).doing(|| "listen to the broker".into())? {
                0 => answered = true,
                count => answer.extend_from_slice(&buffer[..count]),
            }
        }
        for (index, (stream, fd)) in outputs.iter_mut().enumerate() {
            if entries[index].revents == 0 && !answered {
                continue;
            }
            while let Some(pipe) = fd {
                match rustix::io::read(*pipe, &mut buffer) {
                    Ok(0) => *fd = None,
                    Ok(count) => output(*stream, &buffer[..count]),
                    Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => break,
                    Err(error) => return Err(Error::io("read the program's output", error)),
                }
            }
        }
    }
    Ok(())
}
