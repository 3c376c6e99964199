//! `--max-used-space`, `--min-free-space` and `--reserved-space`: how much may stay of images and of the build cache, by the words
//! of `docker buildx prune`. The older words for the first and podman-like short ones are understood too.

use clap::Args;
use runner::spec::parse::size;
use store::budget::Budget;

use crate::error::{CommandError, Kind, Result};

/// How much may stay.
#[derive(Args)]
pub struct BudgetFlags {
    /// Remove only until the rest takes at most this much, as 10g; what was not used for the longest time goes first
    #[arg(long, visible_aliases = ["max-size", "keep-storage"], value_name = "SIZE")]
    max_used_space: Option<String>,
    /// Remove only until this much of the file system is free, as 20g
    #[arg(long, visible_alias = "min-free", value_name = "SIZE")]
    min_free_space: Option<String>,
    /// Leave this much in any case
    #[arg(long, value_name = "SIZE")]
    reserved_space: Option<String>,
}

impl BudgetFlags {
    /// The budget that they set.
    ///
    /// # Errors
    /// What is no size.
    pub fn budget(&self) -> Result<Budget> {
        let bytes = |what: &'static str, text: &Option<String>| -> Result<Option<u64>> {
            let parsed = text.as_deref().map(|text| size(what, text)).transpose();
            parsed.map_err(|error| CommandError::from(error).kind(Kind::Usage))
        };
        Ok(Budget {
            max_used: bytes("most used space", &self.max_used_space)?,
            min_free: bytes("least free space", &self.min_free_space)?,
            reserved: bytes("reserved space", &self.reserved_space)?,
        })
    }
}
