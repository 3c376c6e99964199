//! `build`: finds the Buildfile and its context, lets the builder work, and names what came out. The builder's
//! ports are filled here: base images by `images`, commands by `executor`, files and repositories on the net by `remote`.

mod agent;
mod check;
mod context;
pub mod exchange;
mod executor;
mod failed;
mod git;
pub mod given;
mod images;
pub mod keep;
mod log;
pub mod output;
mod remote;
pub mod ssh;

use std::collections::BTreeMap;

use builder::explain::Report;
use builder::{BuildOptions, Cancel, Event, Inputs, Ports};
use store::ImageId;

pub use self::executor::StepOptions;

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
    /// `--ssh` with key files: what agents of our own sign with.
    pub keys: BTreeMap<String, ssh::Keys>,
    /// `--build-context`: names and what they stand for
    pub build_contexts: Vec<(String, String)>,
    /// `SOURCE_DATE_EPOCH`
    pub source_date_epoch: Option<i64>,
    /// How RUN steps run.
    pub steps: StepOptions,
    /// `--cache-from`, `--cache-to`
    pub cache: exchange::CacheOptions,
    /// Bytes that the build cache is kept below; the configuration's if absent, else any number.
    pub cache_budget: Option<u64>,
    /// `--no-cache-filter`
    pub no_cache_stages: Vec<String>,
    /// What is done with the image.
    pub delivery: output::Delivery,
    /// `--tripwire`
    pub tripwire: builder::Tripwire,
    /// `--no-fold`
    pub no_fold: bool,
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
    /// How many doubtful things it told.
    pub warnings: usize,
    /// The descriptor of the manifest that was pushed or written, if one was.
    pub descriptor: Option<serde_json::Value>,
    /// What was pushed, with its digests.
    pub pushed: Vec<(String, store::Digest)>,
    /// Names the build's log; none if no step ran.
    pub reference: Option<String>,
    /// What became of each step, and why those that ran did.
    pub report: Report,
}

/// Whoever watches a build: told of pulls and of steps, from several threads.
pub trait BuildWatcher: Progress {
    /// Takes one event of the builder.
    fn build_event(&self, event: Event);

    /// Does something that wants the terminal for itself; nothing is drawn meanwhile.
    fn suspended(&self, work: &mut dyn FnMut()) {
        work();
    }
}

impl Engine {
    /// Builds an image.
    ///
    /// # Errors
    /// A Buildfile that cannot be found or understood, a step that fails.
    pub fn build(&self, request: &BuildRequest, watcher: &dyn BuildWatcher) -> Result<Built> {
        let mut names = request.tags.iter().map(|name| self.tag_reference(name)).collect::<Result<Vec<_>>>()?;
        request.delivery.check(&names)?;
        let tags = names.clone();
        names.extend(self.output_names(&request.delivery)?);
        names.dedup();
        let platform = self.platform(request.platform.as_deref())?;
        self.sweep_some()?;
        let agents = self.agents(request)?;
        let git = agents.git();
        let (source, inputs) = self.given(request, &agents, &git, watcher)?;
        let options = BuildOptions {
            labels: request.labels.clone(),
            no_cache: request.no_cache,
            no_cache_stages: request.no_cache_stages.clone(),
            network: match request.network.as_str() {
                "default" | "bridge" => builder::buildfile::NetworkMode::Default,
                "none" => builder::buildfile::NetworkMode::None,
                "host" => builder::buildfile::NetworkMode::Host,
                other => {
                    return Err(CommandError::usage(format!("RUN steps cannot have the network {other:?}"))
                        .hint("--network takes default, none or host"));
                }
            },
            extra_hosts: request.add_host.clone(),
            shm_size: request
                .shm_size
                .as_deref()
                .map(|text| runner::spec::parse::size("size of /dev/shm", text))
                .transpose()?,
            source_date_epoch: request.source_date_epoch,
            watched: watched(request),
            tripwire: request.tripwire,
            no_fold: request.no_fold,
            cancel: request.cancel.clone(),
            ..read_options(request, &source, inputs, &platform)
        };
        let title =
            format!("img {}: build of {} in {}", env!("CARGO_PKG_VERSION"), options.buildfile_name, request.context);
        let log = log::Logging::new(self, watcher, title);
        let images = images::Images::new(self, &log);
        let executor = executor::RunExecutor::new(self, &log, &request.steps)?;
        let remote = remote::Remotes { engine: self, git };
        let shared = exchange::SharedSteps::open(self, &request.cache.from, &platform.to_string(), &log);
        let budget = request.cache_budget.or(self.settings.cache_budget);
        let keeper = budget.map(|bytes| keep::Keeper::new(self, bytes, &log));
        let tell = |event| {
            if let Some(keeper) = &keeper {
                keeper.event(&event);
            }
            log.build_event(event);
        };
        let result = builder::build(
            &self.store,
            &options,
            &Ports { images: &images, executor: &executor, remote: &remote, shared: &shared },
            &tell,
        );
        drop(source);
        let place = log.place();
        log.finish(&result.as_ref().map_or_else(|error| format!("error: {error}"), |_| "built".to_owned()))?;
        let mut output = result.map_err(|error| {
            let error = CommandError::from(error);
            match &place {
                Some((_, path)) => {
                    error.hint(format!("the whole log is {}; `img builder log` prints it", path.display()))
                }
                None => error,
            }
        })?;
        let mut passing = Vec::new();
        if request.cache.to.contains(&exchange::CacheTo::Inline) {
            passing.extend(output.is_new.then_some(output.image));
            output.image = self.embed_cache(&output)?;
        }
        self.tag_all(&names, &output.image)?;
        let image = self.store.images().get(&output.image)?;
        let delivered = self.deliver(&image, &tags, &request.delivery, watcher)?;
        self.export_cache(&request.cache.to, &output, watcher)?;
        if let Some(keeper) = &keeper {
            keeper.finish()?;
        }
        let kept = request.delivery.keeps_image() || !names.is_empty();
        passing.extend((!kept && output.is_new).then_some(output.image));
        let size = self.store.images().size(&image)?;
        self.forget_images(&passing)?;
        let names = names.iter().map(|name| familiar(name)).collect();
        Ok(Built {
            image: output.image,
            size,
            names,
            warnings: output.warnings.len(),
            descriptor: output::descriptor(&image, &delivered),
            pushed: delivered.pushed,
            reference: place.map(|(id, _)| id),
            report: output.report,
        })
    }

    /// The agents that a build is given: the user's, and those that are started for key files.
    fn agents(&self, request: &BuildRequest) -> Result<ssh::Agents> {
        ssh::Agents::start(&request.inputs.agents, &request.keys, &self.runroot)
    }

    /// The Buildfile with its context, and what else the build is given; named contexts are fetched.
    fn given(
        &self,
        request: &BuildRequest,
        agents: &ssh::Agents,
        git: &git::Git,
        progress: &dyn Progress,
    ) -> Result<(context::Source, Inputs)> {
        let mut source = self.build_source(request, git)?;
        let mut inputs = Inputs { agents: agents.sockets.clone(), ..request.inputs.clone() };
        for (name, value) in &request.build_contexts {
            let context = self.named_context(value, git, progress, &mut source.held);
            inputs
                .contexts
                .push((name.clone(), context.with_context(|| format!("cannot use {value} as the context {name}"))?));
        }
        Ok((source, inputs))
    }

    /// What there is to say about the last build in this store, and when it ended; none if there was none.
    ///
    /// # Errors
    /// A note that cannot be read.
    pub fn last_build(&self) -> Result<Option<(Report, Option<jiff::Timestamp>)>> {
        Ok(builder::explain::last(&self.store)?)
    }
}

/// What of the request matters already when its Buildfile is only read; the rest is as by default.
fn read_options(
    request: &BuildRequest,
    source: &context::Source,
    inputs: Inputs,
    platform: &registry_client::Platform,
) -> BuildOptions {
    BuildOptions {
        context: source.context.clone(),
        inputs,
        buildfile: source.bytes.clone(),
        buildfile_name: source.name.clone(),
        target: request.target.clone(),
        build_args: request.build_args.clone(),
        platform: Some(platform.to_string()),
        pull: request.pull,
        ..BuildOptions::default()
    }
}

/// The secrets and keys that the tripwire looks for.
fn watched(request: &BuildRequest) -> Vec<builder::Watched> {
    let secrets = request.inputs.secrets.iter().map(|(id, secret)| (format!("secret {id:?}"), secret.bytes().clone()));
    let keys =
        request.keys.iter().flat_map(|(id, keys)| keys.secrets().map(move |bytes| (format!("ssh key {id:?}"), bytes)));
    secrets.chain(keys).map(|(name, bytes)| builder::Watched { name, bytes }).collect()
}

fn familiar(canonical: &str) -> String {
    let (repository, tag) = familiar_parts(canonical);
    tag.map_or(repository.clone(), |tag| format!("{repository}:{tag}"))
}
