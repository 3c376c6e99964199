//! The store as a whole: what uses the disk, what nothing needs, what is damaged.

use store::DiffId;
use store::check::CheckOptions;
use store::gc::GcOptions;

use super::Engine;
use crate::error::{CommandError, Context as _, Result};

/// One line of `img system df`.
#[derive(Clone, Debug)]
pub struct DiskUsage {
    /// What: images, containers, …
    pub kind: &'static str,
    /// How many.
    pub count: u64,
    /// How many of them are used.
    pub active: u64,
    /// Bytes on disk.
    pub size: u64,
    /// Bytes that pruning would give back.
    pub reclaimable: u64,
}
