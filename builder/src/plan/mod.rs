//! From instructions to a plan: which stages are needed, what each builds on, and the steps of each with all variables
//! replaced. Planning knows the configs of base images (their environment, user and triggers matter) but touches no
//! file; the plan is data, and the solver a loop over it.
//!
//! A stage is a chain of steps; its edges to others are FROM, `--from` and `from=` of mounts, and always lead to
//! earlier stages, so the plan is a graph without cycles by construction. Images named by `--from` are stages too,
//! without steps.

mod arguments;
mod bases;
mod check;
mod copy;
mod dispatch;
mod env;
mod given;
mod lint;
mod meta;
mod names;
mod run;
mod stages;

use std::sync::Arc;

use store::Digest;

use crate::buildfile::{NetworkMode, Sharing, Span};
use crate::config::Config;
use crate::event::Step;
use crate::git::GitSource;
use crate::op::chmod::Chmod;
use crate::platform::Platform;
use crate::ports::BaseImage;

pub use check::{Call, Outline, OutlineArg, OutlineUse, check, description, outline};
pub use env::Env;
pub use stages::plan;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The stages that are needed, by index; none for those that are not.
    pub stages: Vec<Option<PlannedStage>>,
    /// The stage that becomes the image.
    pub target: usize,
}

/// What a stage starts from.
#[derive(Clone, Debug)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// An image.
    Image(Arc<BaseImage>),
    /// What an earlier stage made.
    Stage(usize),
}

/// One stage.
#[derive(Clone, Debug)]
pub struct PlannedStage {
    /// Its name, or `stage-N`.
    pub label: String,
    /// What it starts from.
    pub base: Base,
    /// What it is built for.
    pub platform: Platform,
    /// Steps that may change files.
    pub steps: Vec<PlannedStep>,
    /// Config at its end.
    pub config: Config,
    /// What it adds to the history.
    pub history: Vec<HistoryItem>,
    /// Its steps run whatever the cache has.
    pub no_cache: bool,
}

/// One line of history.
#[derive(Clone, Debug)]
pub struct HistoryItem {
    /// The instruction, as `img history` shows it.
    pub created_by: String,
    /// Where it stands.
    pub span: Span,
    /// Index of the step among the stage's steps, for instructions that are one.
    pub step: Option<usize>,
}

/// One step.
#[derive(Clone, Debug)]
pub struct PlannedStep {
    /// How it is shown.
    pub info: Arc<Step>,
    /// What it does.
    pub op: Op,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Op {
    /// Makes a directory if it is not there.
    Workdir {
        /// Absolute path.
        path: String,
        /// Owner, `user[:group]`; empty for root.
        user: String,
    },
    /// Copies files.
    Copy(Box<CopyOp>),
    /// Runs a command.
    Run(Box<RunOp>),
}

/// Where the files of a copy or a mount come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// The build context.
    #[default]
    Context,
    /// The named context with this number.
    Named(usize),
    /// What the stage with this number made.
    Stage(usize),
}

impl Origin {
    /// The number of the named context; none for the main one.
    #[must_use]
    pub fn named(self) -> Option<usize> {
        match self {
            Self::Named(number) => Some(number),
            Self::Context | Self::Stage(_) => None,
        }
    }
}

/// A source of COPY or ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A path or pattern.
    Path(String),
    /// A file on the net (ADD).
    Http {
        /// Where.
        url: String,
        /// What it must be.
        checksum: Option<Digest>,
    },
    /// A git repository (ADD).
    Git(GitSource),
}

/// COPY or ADD with all values known.
#[derive(Clone, Debug, Default)]
pub struct CopyOp {
    /// What is copied, in order.
    pub sources: Vec<Source>,
    /// Inline files: names and contents.
    pub documents: Vec<(String, Vec<u8>)>,
    /// Absolute path; a directory if it ends in a slash.
    pub destination: String,
    /// Where paths are looked up.
    pub from: Origin,
    /// `--chown`.
    pub chown: Option<String>,
    /// `--chmod`.
    pub chmod: Option<Chmod>,
    /// `--exclude`.
    pub exclude: Vec<String>,
    /// `--parents`.
    pub parents: bool,
    /// `--link`: the layer is made as if nothing were below it.
    pub link: bool,
    /// Archives among the paths are unpacked.
    pub unpack: bool,
    /// Archives from the net are unpacked.
    pub unpack_remote: bool,
}

/// RUN with all values known.
#[derive(Clone, Debug)]
pub struct RunOp {
    /// Program and arguments.
    pub args: Vec<String>,
    /// Environment, in the key.
    pub env: Vec<String>,
    /// Proxy settings, in the environment but not in the key.
    pub hidden_env: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// User; empty for root.
    pub user: String,
    /// Network.
    pub network: NetworkMode,
    /// Mounts.
    pub mounts: Vec<PlannedMount>,
    /// Secrets that become variables.
    pub secrets: Vec<SecretVariable>,
    /// Without the sandbox.
    pub insecure: bool,
}

/// A mount with all values known.
#[derive(Clone, Debug)]
pub struct PlannedMount {
    /// Absolute path.
    pub target: String,
    /// What is mounted.
    pub source: PlannedSource,
    /// Not writable.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Clone, Debug)]
pub enum PlannedSource {
    /// A path of a stage, or of a context.
    Bind {
        /// Which.
        from: Origin,
        /// Path in it.
        path: String,
    },
    /// A directory with one program text in it.
    Script {
        /// Its name.
        name: String,
        /// Its text.
        text: String,
    },
    /// A directory kept between builds.
    Cache(CacheMount),
    /// Memory.
    Tmpfs {
        /// Size in bytes.
        size: Option<u64>,
    },
    /// A secret, as a file.
    Secret(Given),
    /// A socket that leads to an ssh agent.
    Agent(Given),
}

/// Something that is given from outside and mounted as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Its id.
    pub id: String,
    /// The step fails without it; otherwise it runs without the mount.
    pub required: bool,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A secret as a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretVariable {
    /// The variable.
    pub name: String,
    /// The secret's id.
    pub id: String,
    /// The step fails without it.
    pub required: bool,
}

/// A directory kept between builds.
#[derive(Clone, Debug)]
pub struct CacheMount {
    /// Its name.
    pub id: String,
    /// How it is shared.
    pub sharing: Sharing,
    /// What a new one begins with: the directory of this path there.
    pub from: Option<(Origin, String)>,
    /// Directory of it that is shown; empty for all of it.
    pub inside: String,
    /// Mode of the directory, if one is asked for.
    pub mode: Option<u32>,
    /// Owner of the directory, if one is asked for.
    pub uid: Option<u32>,
    /// Group of the directory, if one is asked for.
    pub gid: Option<u32>,
}
