//! Key files given to a build: an agent of our own that signs with them as long as the build runs. It answers at a socket
//! that has no name in the file system, only this process's descriptor of it, so that nothing of it can be left behind
//! and nobody but root and this user comes near; what a step has of it is what it has of any agent.

mod key;
mod pem;
mod protocol;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::fs::{Mode, OFlags};

use crate::error::{CommandError, Context as _, Result};

use super::git::Git;

use key::PrivateKey;
use pem::Refused;

/// Largest key file, bytes; BuildKit has the same limit.
const FILE_MAX: u64 = 100 << 10;

/// The keys of one `--ssh`.
#[derive(Clone)]
pub struct Keys {
    keys: Arc<[PrivateKey]>,
    /// The files as they are.
    files: Vec<Arc<[u8]>>,
}

impl std::fmt::Debug for Keys {
    /// Without the keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.keys.len())
    }
}

impl Keys {
    /// Reads the files.
    ///
    /// # Errors
    /// A file that cannot be read, holds no private key, or one that needs a passphrase.
    pub fn read(id: &str, paths: &[&str]) -> Result<Self> {
        let (mut keys, mut files) = (Vec::new(), Vec::new());
        for path in paths {
            let reading = || format!("cannot read {path} as a key for --ssh {id}");
            let mut text = Vec::new();
            let file = File::open(path).with_context(reading)?;
            file.take(FILE_MAX + 1).read_to_end(&mut text).with_context(reading)?;
            if text.len() as u64 > FILE_MAX {
                return Err(CommandError::usage(format!("{path} is too large for a key file")));
            }
            keys.push(PrivateKey::read(&text).map_err(|refused| refused_key(id, path, &refused))?);
            files.push(text.into());
        }
        Ok(Self { keys: keys.into(), files })
    }

    /// Everything that must not be in an image: the files, and what is secret in them, however it is written.
    pub fn secrets(&self) -> impl Iterator<Item = Arc<[u8]>> {
        self.files.iter().cloned().chain(self.keys.iter().map(|key| key.secret().into()))
    }
}

fn refused_key(id: &str, path: &str, refused: &Refused) -> CommandError {
    let by_agent = format!("let an agent hold the key: eval $(ssh-agent), ssh-add {path}, then --ssh {id}");
    match refused {
        Refused::Encrypted => {
            CommandError::usage(format!("the key {path} for --ssh {id} is protected by a passphrase")).hint(by_agent)
        }
        Refused::Kind(kind) => {
            CommandError::usage(format!("the key {path} for --ssh {id} is not one that is signed with here: {kind}"))
                .hint("Ed25519, ECDSA with nistp256 and nistp384, and RSA with 2048 to 4096 bits are")
                .hint(by_agent)
        }
        Refused::NoKey => {
            CommandError::usage(format!("{path} for --ssh {id} is neither the socket of an agent nor a private key"))
                .hint("a private key is a file that ssh-keygen writes, such as ~/.ssh/id_ed25519, without .pub")
        }
    }
}

/// What `--ssh` gives a build.
pub struct Agents {
    /// Sockets by id.
    pub sockets: BTreeMap<String, PathBuf>,
    /// Those of our own.
    _own: Vec<KeyAgent>,
}

impl Agents {
    /// Agents that are there already, and one for each set of keys; for a moment these need a place in `directory`.
    ///
    /// # Errors
    /// A socket or a thread that cannot be made.
    pub fn start(given: &BTreeMap<String, PathBuf>, keys: &BTreeMap<String, Keys>, directory: &Path) -> Result<Self> {
        let (mut sockets, mut own) = (given.clone(), Vec::new());
        for (id, keys) in keys {
            let agent = KeyAgent::start(keys, directory)?;
            sockets.insert(id.clone(), agent.path());
            own.push(agent);
        }
        Ok(Self { sockets, _own: own })
    }

    /// Git, with the agent that is the default.
    pub fn git(&self) -> Git {
        Git { agent: self.sockets.get("default").cloned() }
    }
}

/// An agent that runs. Dropping it ends it; connections end when their other sides do.
pub struct KeyAgent {
    socket: OwnedFd,
    closed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl KeyAgent {
    /// Starts one; for a moment it needs a place in `directory`.
    ///
    /// # Errors
    /// A socket or a thread that cannot be made.
    pub fn start(keys: &Keys, directory: &Path) -> Result<Self> {
        let (listener, socket) = nameless(directory).context("cannot make the socket of an ssh agent")?;
        let (closed, keys) = (Arc::new(AtomicBool::new(false)), Arc::clone(&keys.keys));
        let told = Arc::clone(&closed);
        let thread = std::thread::Builder::new()
            .name("ssh keys".into())
            .spawn(move || {
                for client in listener.incoming() {
                    if told.load(Ordering::Acquire) {
                        return;
                    }
                    let (Ok(client), keys) = (client, Arc::clone(&keys)) else { continue };
                    // Whoever gets no thread, or breaks off, sees the connection closed.
                    let one = std::thread::Builder::new().name("ssh keys".into());
                    drop(one.spawn(move || protocol::serve(client, &keys)));
                }
            })
            .context("cannot start the thread of an ssh agent")?;
        Ok(Self { socket, closed, thread: Some(thread) })
    }

    /// Where it answers, for this process and those that it starts.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.socket.as_raw_fd()).into()
    }
}

impl Drop for KeyAgent {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
        // The thread waits for a connection; here is one.
        let woken = UnixStream::connect(self.path());
        if let Some(thread) = self.thread.take().filter(|_| woken.is_ok()) {
            // It never panics, and if it did there is nothing left to do.
            let _ = thread.join();
        }
    }
}

/// A listening socket, and its place in the file system held open, which has no name any more.
fn nameless(directory: &Path) -> std::io::Result<(UnixListener, OwnedFd)> {
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    let own = directory.join(format!(".ssh-{:016x}", u64::from_le_bytes(random)));
    fs::DirBuilder::new().mode(0o700).recursive(false).create(&own)?;
    let opened = (|| {
        let place = File::open(&own)?;
        // By the directory's descriptor: a socket's address has room for 107 bytes only.
        let name = format!("/proc/self/fd/{}/s", place.as_raw_fd());
        let listener = UnixListener::bind(&name)?;
        let socket = rustix::fs::open(&name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        Ok((listener, socket))
    })();
    fs::remove_dir_all(&own)?;
    opened
}
