//! The build cache of other machines: `--cache-from` and `--cache-to`. `spec` reads what the user wrote, `document` is the
//! format, `import` looks steps up in caches and fetches their layers when they are needed, `export` writes them.
//!
//! A cache is an OCI artifact of our own type, in a directory (an OCI layout) or a registry; or it is a part of an image's
//! config (`inline`). It is not BuildKit's format: keys are made of other things, so neither could use the other's.
//!
//! What comes from a cache is verified against the digests in it. Whoever can write a cache can therefore do one thing: have
//! a step give another result than it would; the same as with the registry that base images come from. docs/build-output.md
//! says so to users.

mod document;
mod export;
mod import;
mod layout;
mod spec;

pub use import::SharedSteps;
pub use spec::{CacheFrom, CacheTo};

/// Where caches are read and written.
#[derive(Clone, Debug, Default)]
pub struct CacheOptions {
    /// `--cache-from`
    pub from: Vec<CacheFrom>,
    /// `--cache-to`
    pub to: Vec<CacheTo>,
}
