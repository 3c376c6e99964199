//! A socket of a step's own that leads to an ssh agent of the user. The agent itself is not mounted: it refuses other
//! users than its own and root, its socket has modes of its own, and what the step has of it must end with the step.

use std::fs::{self, File};
use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::error::{Context as _, Result};

/// Most connections at one time; a client of an agent needs one.
const CONNECTIONS_MAX: usize = 64;

/// A forwarded agent. Dropping it ends every connection and removes the socket.
pub struct Forward {
    path: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    closed: AtomicBool,
    /// Both ends of each open connection.
    open: Mutex<Vec<(u64, [UnixStream; 2])>>,
}

impl Forward {
    /// Listens at `name` in `directory` for what shall reach the agent at `agent`.
    ///
    /// # Errors
    /// An agent that does not answer, a socket that cannot be made.
    pub fn open(directory: &Path, name: &str, agent: &Path, mode: u32, owner: (u32, u32)) -> Result<Self> {
        // Better now than as a riddle inside of the step.
        UnixStream::connect(agent).with_context(|| format!("cannot reach the ssh agent at {}", agent.display()))?;
        let path = directory.join(name);
        let listener = listen(directory, name).with_context(|| format!("cannot make the socket {}", path.display()))?;
        let shared = Arc::new(Shared::default());
        let (own, agent) = (Arc::clone(&shared), agent.to_owned());
        let thread = std::thread::Builder::new()
            .name("ssh agent".into())
            .spawn(move || own.serve(&listener, &agent))
            .context("cannot start the thread of the ssh agent")?;
        let forward = Self { path, shared, thread: Some(thread) };
        // Nobody else comes into the directory, so nobody was there before the owner and the mode are right.
        let place = &forward.path;
        chown(place, Some(owner.0), Some(owner.1))
            .and_then(|()| fs::set_permissions(place, fs::Permissions::from_mode(mode)))
            .with_context(|| format!("cannot set the owner of {}", place.display()))?;
        Ok(forward)
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A listening socket. Its address may be longer than a socket's may be: it is named by way of its directory's fd.
fn listen(directory: &Path, name: &str) -> io::Result<UnixListener> {
    let directory = File::open(directory)?;
    UnixListener::bind(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}

impl Shared {
    fn serve(self: Arc<Self>, listener: &UnixListener, agent: &Path) {
        let mut next = 0;
        for client in listener.incoming() {
            if self.closed.load(Ordering::Acquire) {
                return;
            }
            let Ok(client) = client else { continue };
            // A client that cannot be served sees its connection closed, which is what a dead agent looks like too.
            if self.lock().len() < CONNECTIONS_MAX
                && let Ok(agent) = UnixStream::connect(agent)
            {
                next += 1;
                let _ = self.join(next, client, agent);
            }
        }
    }

    /// Passes bytes both ways until one side ends.
    fn join(self: &Arc<Self>, number: u64, client: UnixStream, agent: UnixStream) -> io::Result<()> {
        self.lock().push((number, [client.try_clone()?, agent.try_clone()?]));
        // Closed meanwhile: the list may have been gone through already.
        if self.closed.load(Ordering::Acquire) {
            self.end(number);
        }
        for (mut from, mut to) in [(client.try_clone()?, agent.try_clone()?), (agent, client)] {
            let own = Arc::clone(self);
            std::thread::Builder::new().name("ssh agent".into()).spawn(move || {
                let _ = io::copy(&mut from, &mut to);
                own.end(number);
            })?;
        }
        Ok(())
    }

    /// Ends a connection.
    fn end(&self, number: u64) {
        let mut open = self.lock();
        for (_, streams) in open.iter().filter(|(known, _)| *known == number) {
            // One that is gone already is what is wanted.
            streams.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        }
        open.retain(|(known, _)| *known != number);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(u64, [UnixStream; 2])>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        let numbers: Vec<u64> = self.shared.lock().iter().map(|(number, _)| *number).collect();
        numbers.into_iter().for_each(|number| self.shared.end(number));
        // The thread waits for a connection; here is one.
        let woken = self.path.parent().map(File::open).and_then(|directory| {
            let directory = directory.ok()?;
            let name = self.path.file_name()?.to_str()?;
            UnixStream::connect(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd())).ok()
        });
        if let Some(thread) = self.thread.take().filter(|_| woken.is_some()) {
            // It never panics, and if it did there is nothing left to do.
            let _ = thread.join();
        }
        // It goes with its directory otherwise.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn bytes_pass_and_nothing_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let agent = directory.path().join("agent");
        let listener = UnixListener::bind(&agent).unwrap();
        let echo = std::thread::spawn(move || {
            // The first connection only asks whether anybody is there.
            for stream in listener.incoming().take(3) {
                let mut stream = stream.unwrap();
                let mut byte = [0];
                while stream.read(&mut byte).unwrap() == 1 {
                    stream.write_all(&[byte[0] + 1]).unwrap();
                }
            }
        });
        let deep = directory.path().join("d".repeat(120));
        fs::create_dir(&deep).unwrap();
        let forward = Forward::open(&deep, "s", &agent, 0o640, (7, 8)).unwrap();
        let about = fs::metadata(forward.path()).unwrap();
        assert_eq!(about.permissions().mode() & 0o777, 0o640);
        assert_eq!((std::os::unix::fs::MetadataExt::uid(&about), std::os::unix::fs::MetadataExt::gid(&about)), (7, 8));
        let short = directory.path().join("short");
        std::os::unix::fs::symlink(&deep, &short).unwrap();
        let mut one = UnixStream::connect(short.join("s")).unwrap();
        let mut answer = [0];
        one.write_all(b"a").unwrap();
        one.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"b");
        let mut two = UnixStream::connect(short.join("s")).unwrap();
        drop(one);
        two.write_all(b"x").unwrap();
        two.read_exact(&mut answer).unwrap();
        drop(forward);
        assert_eq!(two.read(&mut answer).unwrap(), 0, "an open connection ends with the step");
        echo.join().unwrap();
        assert!(fs::read_dir(&deep).unwrap().next().is_none());
        assert!(Forward::open(&deep, "s", &directory.path().join("none"), 0o600, (0, 0)).is_err());
    }
}
