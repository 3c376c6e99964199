//! The kitchen: Buildfile in, image out; knows recipes, not pipes or kernels.
//!
//! `buildfile` turns text into instructions, `plan` turns those into stages of steps, `context` gives the files to
//! copy, `solve` walks the plan and `op` makes a layer of each step that is not cached (`explain` says why it is not),
//! `output` writes the image's config. Before that, `fold` puts changes of attributes where the bytes are, `budget` holds
//! the image against the Buildfile's assertions and `tripwire` looks for secrets in it. What the builder cannot do itself
//! (fetch an image, run a command in a container) it asks of the traits in [`ports`]; everything it keeps, it keeps
//! through `store`.
//!
//! ```text
//!  Buildfile ── buildfile ──► plan ──► solve ──► output ──► image in the store
//!                               ▲        │ key, op
//!                  ImageSource ─┘        ├──► store (layers, build cache)
//!                                        └──► Executor (RUN)
//! ```

mod budget;
mod build;
pub mod buildfile;
pub mod cancel;
pub mod check;
pub mod config;
pub mod context;
pub mod error;
pub mod event;
pub mod explain;
pub mod files;
mod fold;
pub mod git;
pub mod glob;
pub mod inputs;
pub mod key;
pub mod mutation;
pub mod op;
pub mod options;
mod output;
pub mod plan;
pub mod platform;
pub mod ports;
mod solve;
mod tripwire;

pub use build::build;
pub use buildfile::{Buildfile, DEFAULT_NAMES, Diagnostic, default_name};
pub use cancel::Cancel;
pub use check::{CheckReport, OutlineReport, check, outline, targets};
pub use error::BuildError;
pub use event::{Event, Step, StepId, Stream};
pub use git::GitSource;
pub use inputs::{ContextSource, Entitlement, Inputs, NamedContext, Secret};
pub use options::{BuildOptions, BuildOutput, UsedStep};
pub use ports::{
    BaseImage, Executor, ImageSource, NoSharedCache, PortError, Ports, Remote, RemoteFile, RunMount, RunMountSource,
    RunResult, RunStep, SharedCache,
};
pub use tripwire::{Leak, Tripwire, Watched};
