//! What the builder needs from outside, as two traits. [`ImageSource`] gives base images, [`Executor`] runs a command
//! on top of layers and leaves its changes in an upper directory of overlayfs form. The engine fills both; tests fill
//! them with fakes.

use std::error::Error;
use std::path::{Path, PathBuf};

use store::cache::CacheRecord;
use store::{DiffId, Digest};

use crate::buildfile::NetworkMode;
use crate::cancel::Cancel;
use crate::event::Stream;

/// An error of a port, in the port's own words.
pub type PortError = Box<dyn Error + Send + Sync>;

/// An image to build upon. Its layers are in the store and protected from collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseImage {
    /// Its id or digest, for messages and records.
    pub id: String,
    /// Its config, raw.
    pub config: Vec<u8>,
    /// Its layers, lowest first.
    pub layers: Vec<DiffId>,
}

/// Gives base images.
pub trait ImageSource: Sync {
    /// Resolves `reference` as written in FROM or `--from` for `platform` (`os/arch[/variant]`; none for this
    /// machine's), fetching what is not in the store. With `pull`, asks for a newer one first. Called from several
    /// threads, once for each reference and platform of a build.
    ///
    /// # Errors
    /// Why there is no such image or it cannot be had.
    fn resolve(&self, reference: &str, platform: Option<&str>, pull: bool) -> Result<BaseImage, PortError>;
}

/// Results of steps that other machines made.
pub trait SharedCache: Sync {
    /// What the step with `key` made, if some cache knows; its layer is in the store then and protected from collection,
    /// and the record is in the store's own cache. Called from several threads.
    ///
    /// # Errors
    /// The store fails. A cache that cannot be read is no error but knows nothing.
    fn look_up(&self, key: &Digest) -> Result<Option<CacheRecord>, PortError>;
}

/// No cache of other machines.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSharedCache;

impl SharedCache for NoSharedCache {
    fn look_up(&self, _key: &Digest) -> Result<Option<CacheRecord>, PortError> {
        Ok(None)
    }
}

/// Where the files of a mount come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunMountSource {
    /// A path in a stack of layers, read-only or with changes that are thrown away. Build context, stages and images
    /// all come this way.
    Layers {
        /// Lowest first.
        layers: Vec<DiffId>,
        /// Path in them; empty for their root. It exists, and is resolved inside that root (RESOLVE_IN_ROOT).
        path: String,
    },
    /// A directory that outlives the build.
    Cache {
        /// The directory, inside the store.
        path: PathBuf,
    },
    /// Memory.
    Tmpfs {
        /// Size in bytes, if limited.
        size: Option<u64>,
    },
}

/// A mount of a RUN step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunMount {
    /// Absolute path in the container; made if it is not there, and then removed from the result.
    pub target: String,
    /// What is mounted.
    pub source: RunMountSource,
    /// Not writable.
    pub read_only: bool,
}

/// One command to run.
#[derive(Clone, Debug)]
pub struct RunStep<'a> {
    /// Stage and number, for messages and names.
    pub name: &'a str,
    /// The root file system, lowest layer first.
    pub layers: &'a [DiffId],
    /// Program and arguments.
    pub args: &'a [String],
    /// Environment as `NAME=value`.
    pub env: &'a [String],
    /// Working directory, absolute; made if it is not there.
    pub cwd: &'a str,
    /// `user[:group]`, names or numbers; empty for root.
    pub user: &'a str,
    /// Network.
    pub network: NetworkMode,
    /// Mounts in the order of the instruction.
    pub mounts: &'a [RunMount],
    /// Lines for `/etc/hosts`: `name:address` or `name=address`.
    pub extra_hosts: &'a [String],
    /// Host name.
    pub hostname: Option<&'a str>,
    /// Size of `/dev/shm`, bytes.
    pub shm_size: Option<u64>,
    /// Empty directory for the changes (overlayfs upperdir).
    pub upper: &'a Path,
    /// Empty directory beside it (overlayfs workdir).
    pub work: &'a Path,
    /// To be looked at while the command runs; then it is killed and an error returned.
    pub cancel: &'a Cancel,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunResult {
    /// Its exit code; 128 + n for a signal.
    pub exit_code: i32,
}

/// Runs commands.
pub trait Executor: Sync {
    /// Runs `step` to its end and passes on what it writes, as it comes. Mount points and files that the executor
    /// itself puts into the root (`/etc/hosts`, `/etc/resolv.conf`, mount targets) must not stay in the upper
    /// directory. Called from several threads.
    ///
    /// # Errors
    /// Why the command could not be started or watched; a command that fails is no error but an exit code.
    fn run(&self, step: &RunStep<'_>, output: &mut dyn FnMut(Stream, &[u8])) -> Result<RunResult, PortError>;
}
