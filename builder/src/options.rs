//! What a build is asked for and what it gives back.

use store::{DiffId, Digest, ImageId};

use crate::buildfile::{NetworkMode, Warning};
use crate::cancel::Cancel;
use crate::explain::Report;
use crate::inputs::{ContextSource, Inputs};
use crate::tripwire::{Tripwire, Watched};

/// What to build. `Default` is an empty Buildfile without a context; set what differs.
#[derive(Clone, Debug, Default)]
pub struct BuildOptions {
    /// The files COPY and ADD see; none for a build that may copy nothing.
    pub context: Option<ContextSource>,
    /// Secrets, agents, named contexts, and what is allowed.
    pub inputs: Inputs,
    /// The Buildfile's bytes.
    pub buildfile: Vec<u8>,
    /// The Buildfile's name in messages; if it lies in the context, its path there, which also finds the ignore file
    /// `NAME.dockerignore`.
    pub buildfile_name: String,
    /// Contents of an ignore file to use instead of the ones in the context.
    pub ignore: Option<Vec<u8>>,
    /// Stage to build, by name or number; the last one if absent.
    pub target: Option<String>,
    /// Values of ARGs by name. Later ones win.
    pub build_args: Vec<(String, String)>,
    /// Labels put on the image beside those of the Buildfile, over them.
    pub labels: Vec<(String, String)>,
    /// Run every step, whatever the cache has; results are cached all the same.
    pub no_cache: bool,
    /// The same for these stages only, by name or number.
    pub no_cache_stages: Vec<String>,
    /// Platform to build for, `os/arch[/variant]`; the one of this machine if absent.
    pub platform: Option<String>,
    /// Network of RUN steps that ask for none.
    pub network: NetworkMode,
    /// Ask the registry for newer base images even if they are here.
    pub pull: bool,
    /// Lines for `/etc/hosts` of RUN steps: `name:address` or `name=address`.
    pub extra_hosts: Vec<String>,
    /// Host name of RUN steps.
    pub hostname: Option<String>,
    /// Size of `/dev/shm` in RUN steps, bytes.
    pub shm_size: Option<u64>,
    /// Seconds since 1970: the time of everything the build makes, for builds that give the same bytes each time
    /// (`SOURCE_DATE_EPOCH`). A build argument of that name counts too.
    pub source_date_epoch: Option<i64>,
    /// Steps that may run at the same time; as many as there are processors, and at least two, if absent.
    pub jobs: Option<usize>,
    /// What must not be found in the image: the bytes of all secrets and keys that the build is given.
    pub watched: Vec<Watched>,
    /// What happens if one is found.
    pub tripwire: Tripwire,
    /// Keep a layer of its own for each RUN that only changes attributes of files that the build wrote.
    pub no_fold: bool,
    /// Ends the build early.
    pub cancel: Cancel,
}

/// What a build made.
#[derive(Clone, Debug)]
pub struct BuildOutput {
    /// The image, which is in the store (untagged).
    pub image: ImageId,
    /// Whether it was not there before.
    pub is_new: bool,
    /// Its config, the bytes whose digest `image` is.
    pub config: Vec<u8>,
    /// Its layers, lowest first.
    pub layers: Vec<DiffId>,
    /// Name of the stage that was built, or `stage-N`.
    pub stage: String,
    /// Steps whose result came from the cache.
    pub cached: usize,
    /// Steps that ran.
    pub executed: usize,
    /// Doubtful things in the Buildfile, in the order of their lines.
    pub warnings: Vec<Warning>,
    /// The records of the build cache that it used or made.
    pub steps: Vec<UsedStep>,
    /// What became of each step, and why those that ran did.
    pub report: Report,
}

/// A record of the build cache that a build used or made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedStep {
    /// Its key.
    pub key: Digest,
    /// Whether it belongs to a stage that the image stands on, or to the image itself.
    pub in_target: bool,
}
