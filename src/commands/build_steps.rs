//! Flags of `img build` that say how its steps run.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;

use crate::engine::build::StepOptions;
use crate::engine::build::exchange::{CacheFrom, CacheOptions, CacheTo};
use crate::error::{CommandError, Context as _, Kind, Result};

/// Largest file of build arguments, bytes.
const FILE_MAX: u64 = 1 << 20;

/// `--ulimit` and its like.
#[derive(Args)]
pub struct StepFlags {
    /// Take ARGs from a file of NAME=VALUE lines; --build-arg wins over it
    #[arg(long, value_name = "FILE")]
    build_arg_file: Vec<PathBuf>,
    /// Use the steps in this cache of another machine: type=local,src=DIR[,tag=NAME] or type=registry,ref=NAME, which is
    /// also an image with an inline cache; may be given several times
    #[arg(long, value_name = "CACHE")]
    cache_from: Vec<String>,
    /// Export the steps of this build: type=local,dest=DIR[,tag=NAME], type=registry,ref=NAME or type=inline; with
    /// mode=max those of all stages, compression=zstd|gzip|uncompressed, compression-level=N, ignore-error=true
    #[arg(long, value_name = "CACHE")]
    cache_to: Vec<String>,
    /// Keep the build cache below this size while building: what was not used for the longest time goes first
    #[arg(long, value_name = "SIZE")]
    cache_budget: Option<String>,
    /// Run every step of these stages anew, named or numbered, with commas between them
    #[arg(long, value_name = "STAGE,…")]
    no_cache_filter: Vec<String>,
    /// Limit of RUN steps: NAME=SOFT[:HARD], as nofile=1024:4096; no part of the cache key
    #[arg(long, value_name = "LIMIT")]
    ulimit: Vec<String>,
    /// Control group below which those of RUN steps are made
    #[arg(long, value_name = "CGROUP")]
    cgroup_parent: Option<String>,
    /// Open a shell in the file system of a RUN step that fails, if this is a terminal
    #[arg(long)]
    debug_on_error: bool,
}

impl StepFlags {
    /// How RUN steps run.
    #[must_use]
    pub fn options(&self) -> StepOptions {
        StepOptions {
            ulimits: self.ulimit.clone(),
            cgroup_parent: self.cgroup_parent.clone(),
            debug: self.debug_on_error,
            on_terminal: std::io::stdin().is_terminal() && std::io::stderr().is_terminal(),
        }
    }

    /// The caches of other machines.
    ///
    /// # Errors
    /// One that makes no sense.
    pub fn cache(&self) -> Result<CacheOptions> {
        Ok(CacheOptions {
            from: self.cache_from.iter().map(|text| CacheFrom::parse(text)).collect::<Result<_>>()?,
            to: self.cache_to.iter().map(|text| CacheTo::parse(text)).collect::<Result<_>>()?,
        })
    }

    /// The size of the build cache, bytes.
    ///
    /// # Errors
    /// Text that is no size.
    pub fn cache_budget(&self) -> Result<Option<u64>> {
        let size = |text| runner::spec::parse::size("cache budget", text);
        let wrong = |error| CommandError::from(error).kind(Kind::Usage);
        self.cache_budget.as_deref().map(size).transpose().map_err(wrong)
    }

    /// The stages of `--no-cache-filter`.
    #[must_use]
    pub fn no_cache_stages(&self) -> Vec<String> {
        let names = self.no_cache_filter.iter().flat_map(|text| text.split(','));
        names.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    /// The arguments in the files of `--build-arg-file`: lines `NAME=VALUE`, as podman reads them; empty ones and those
    /// that begin with `#` mean nothing.
    ///
    /// # Errors
    /// A file that cannot be read, a line that is no argument.
    pub fn file_arguments(&self) -> Result<Vec<(String, String)>> {
        let mut found = Vec::new();
        for path in &self.build_arg_file {
            let what = || format!("cannot read the build arguments in {}", path.display());
            if std::fs::metadata(path).with_context(what)?.len() > FILE_MAX {
                return Err(CommandError::new("it is larger than 1 MiB")).with_context(what);
            }
            let text = std::fs::read_to_string(path).with_context(what)?;
            for (number, line) in text.lines().enumerate() {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let (name, value) = line.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
                    CommandError::usage(format!("{}:{}: {line:?} is not NAME=VALUE", path.display(), number + 1))
                })?;
                found.push((name.to_owned(), value.to_owned()));
            }
        }
        Ok(found)
    }
}
