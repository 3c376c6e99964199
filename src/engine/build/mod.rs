//! `build`: finds the Buildfile and its context, lets the builder work, and names what came out. The builder's
//! ports are filled here: base images by `images`, commands by `executor`, files and repositories on the net by `remote`.

mod agent;
mod context;
mod executor;
mod git;
pub mod given;
mod images;
mod remote;

use builder::{BuildOptions, Cancel, Event, Inputs};
use store::ImageId;
use store::refs::Expect;

use super::Engine;
use super::names::familiar_parts;
use super::progress::Progress;
use crate::error::{CommandError, Context as _, Result};

/// What the name of every container of a build step begins with.
pub const STEP_PREFIX: &str = "build-";

/// What the user asked for.
#[derive(Clone, Debug, Default)]
pub struct BuildRequest {
    /// A directory, `-`, a URL or the address of a git repository.
    pub context: String,
    /// `-f`
    pub file: Option<String>,
    /// `-t`
    pub tags: Vec<String>,
    /// `--target`
    pub target: Option<String>,
    /// `--build-arg`
    pub build_args: Vec<(String, String)>,
    /// `--label`
    pub labels: Vec<(String, String)>,
    /// `--no-cache`
    pub no_cache: bool,
    /// `--pull`
    pub pull: bool,
    /// `--platform`
    pub platform: Option<String>,
    /// `--network`
    pub network: String,
    /// `--add-host`
    pub add_host: Vec<String>,
    /// `--shm-size`
    pub shm_size: Option<String>,
    /// `--secret`, `--ssh`, `--allow`
    pub inputs: Inputs,
    /// `--build-context`: names and what they stand for
    pub build_contexts: Vec<(String, String)>,
    /// `SOURCE_DATE_EPOCH`
    pub source_date_epoch: Option<i64>,
    /// Ends the build early.
    pub cancel: Cancel,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Built {
    /// The image.
    pub image: ImageId,
    /// Bytes of its layers' files.
    pub size: u64,
    /// The names it was given, as docker shows them.
    pub names: Vec<String>,
}

/// Whoever watches a build: told of pulls and of steps, from several threads.
pub trait BuildWatcher: Progress {
    /// Takes one event of the builder.
    fn build_event(&self, event: Event);
}

impl Engine {
    /// Builds an image.
    ///
    /// # Errors
    /// A Buildfile that cannot be found or understood, a step that fails.
    pub fn build(&self, request: &BuildRequest, watcher: &dyn BuildWatcher) -> Result<Built> {
        let names = request.tags.iter().map(|name| self.tag_reference(name)).collect::<Result<Vec<_>>>()?;
        let platform = self.platform(request.platform.as_deref())?;
        self.sweep()?;
        let git = git::Git { agent: request.inputs.agents.get("default").cloned() };
        let mut source = self.build_source(request, &git)?;
        let mut inputs = request.inputs.clone();
        for (name, value) in &request.build_contexts {
            let context = self.named_context(value, &git, watcher, &mut source.held);
            inputs
                .contexts
                .push((name.clone(), context.with_context(|| format!("cannot use {value} as the context {name}"))?));
        }
        let options = BuildOptions {
            context: source.context.clone(),
            inputs,
            buildfile: source.bytes.clone(),
            buildfile_name: source.name.clone(),
            target: request.target.clone(),
            build_args: request.build_args.clone(),
            labels: request.labels.clone(),
            no_cache: request.no_cache,
            platform: Some(platform.to_string()),
            network: match request.network.as_str() {
                "default" | "bridge" => builder::buildfile::NetworkMode::Default,
                "none" => builder::buildfile::NetworkMode::None,
                "host" => builder::buildfile::NetworkMode::Host,
                other => {
                    return Err(CommandError::usage(format!("RUN steps cannot have the network {other:?}"))
                        .hint("--network takes default, none or host"));
                }
            },
            pull: request.pull,
            extra_hosts: request.add_host.clone(),
            shm_size: request
                .shm_size
                .as_deref()
                .map(|text| runner::spec::parse::size("size of /dev/shm", text))
                .transpose()?,
            source_date_epoch: request.source_date_epoch,
            cancel: request.cancel.clone(),
            ..BuildOptions::default()
        };
        let images = images::Images::new(self, watcher);
        let executor = executor::RunExecutor::new(self);
        let remotes = remote::Remotes { engine: self, git };
        let tell = |event| watcher.build_event(event);
        let output = builder::build(&self.store, &options, &images, &executor, &remotes, &tell)?;
        drop(source);
        for name in &names {
            // A build that found everything in the cache has nothing to sync.
            if self.store.refs().get(name)?.is_none_or(|tag| tag.image != output.image) {
                self.store.refs().set(name, &output.image, None, Expect::Any)?;
            }
        }
        let image = self.store.images().get(&output.image)?;
        let names = names.iter().map(|name| familiar(name)).collect();
        Ok(Built { image: output.image, size: self.store.images().size(&image)?, names })
    }
}

fn familiar(canonical: &str) -> String {
    let (repository, tag) = familiar_parts(canonical);
    tag.map_or(repository.clone(), |tag| format!("{repository}:{tag}"))
}
