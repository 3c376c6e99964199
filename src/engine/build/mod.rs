//! `build`: finds the Buildfile and its context, lets the builder work, and names what came out. The builder's two
//! ports are filled here: base images by `images`, commands by `executor`.

mod check;
pub mod exchange;
mod executor;
mod failed;
mod images;
pub mod keep;
mod log;
pub mod output;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use builder::{BuildOptions, Cancel, Event};
use store::ImageId;

pub use self::executor::StepOptions;

use super::Engine;
use super::names::familiar_parts;
use super::progress::Progress;
use crate::error::{CommandError, Context as _, Result};

/// What the name of every container of a build step begins with.
pub const STEP_PREFIX: &str = "build-";

/// Largest Buildfile read, bytes.
const BUILDFILE_MAX: u64 = 16 << 20;

/// What the user asked for.
#[derive(Clone, Debug, Default)]
pub struct BuildRequest {
    /// A directory, or `-`.
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
        let source = find_source(request)?;
        self.sweep()?;
        let options = BuildOptions {
            context: source.context,
            buildfile: source.bytes,
            buildfile_name: source.name,
            target: request.target.clone(),
            build_args: request.build_args.clone(),
            labels: request.labels.clone(),
            no_cache: request.no_cache,
            no_cache_stages: request.no_cache_stages.clone(),
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
        let title =
            format!("img {}: build of {} in {}", env!("CARGO_PKG_VERSION"), options.buildfile_name, request.context);
        let log = log::Logging::new(self, watcher, title);
        let images = images::Images::new(self, &log);
        let executor = executor::RunExecutor::new(self, &log, &request.steps)?;
        let shared = exchange::SharedSteps::open(self, &request.cache.from, &platform.to_string(), &log);
        let budget = request.cache_budget.or(self.settings.cache_budget);
        let keeper = budget.map(|bytes| keep::Keeper::new(self, bytes, &log));
        let tell = |event| {
            if let Some(keeper) = &keeper {
                keeper.event(&event);
            }
            log.build_event(event);
        };
        let result = builder::build_with(&self.store, &options, &images, &executor, &shared, &tell);
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
        if request.cache.to.contains(&exchange::CacheTo::Inline) {
            output.image = self.embed_cache(&output)?;
        }
        self.tag_all(&names, &output.image)?;
        let image = self.store.images().get(&output.image)?;
        let delivered = self.deliver(&image, &tags, &request.delivery, watcher)?;
        self.export_cache(&request.cache.to, &output, watcher)?;
        if let Some(keeper) = &keeper {
            keeper.finish()?;
        }
        let names = names.iter().map(|name| familiar(name)).collect();
        Ok(Built {
            image: output.image,
            size: self.store.images().size(&image)?,
            names,
            warnings: output.warnings.len(),
            descriptor: output::descriptor(&image, &delivered),
            pushed: delivered.pushed,
            reference: place.map(|(id, _)| id),
        })
    }
}

fn familiar(canonical: &str) -> String {
    let (repository, tag) = familiar_parts(canonical);
    tag.map_or(repository.clone(), |tag| format!("{repository}:{tag}"))
}

/// A Buildfile and the context it is for.
struct Source {
    context: Option<PathBuf>,
    bytes: Vec<u8>,
    name: String,
}

fn find_source(request: &BuildRequest) -> Result<Source> {
    if request.context == "-" {
        if request.file.as_deref().is_some_and(|file| file != "-") {
            return Err(CommandError::usage(
                "with - as context the Buildfile comes from standard input, -f has no place",
            ));
        }
        return Ok(Source { context: None, bytes: read_stdin()?, name: "-".into() });
    }
    let context = PathBuf::from(&request.context);
    let about = fs::metadata(&context).with_context(|| format!("cannot use {} as build context", request.context))?;
    if !about.is_dir() {
        return Err(CommandError::usage(format!("the build context {} is not a directory", request.context))
            .hint("name the directory, and the Buildfile with -f"));
    }
    match request.file.as_deref() {
        Some("-") => Ok(Source { context: Some(context), bytes: read_stdin()?, name: "-".into() }),
        Some(file) => {
            // docker takes -f relative to the current directory; buildah also finds it in the context.
            let path = if Path::new(file).exists() { PathBuf::from(file) } else { context.join(file) };
            let bytes = read_buildfile(&path).with_context(|| format!("cannot read the Buildfile {file}"))?;
            let inside = inside(&context, &path);
            Ok(Source { context: Some(context), bytes, name: inside.unwrap_or_else(|| file.to_owned()) })
        }
        None => {
            let found = builder::DEFAULT_NAMES.iter().find(|name| context.join(name).is_file());
            let Some(name) = found else {
                return Err(CommandError::new(format!("there is no Buildfile in {}", request.context))
                    .hint(format!("looked for {}; -f names another", builder::DEFAULT_NAMES.join(", "))));
            };
            let path = context.join(name);
            let bytes = read_buildfile(&path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(Source { context: Some(context), bytes, name: (*name).to_string() })
        }
    }
}

/// The path of a Buildfile in its context, if it lies there.
fn inside(context: &Path, path: &Path) -> Option<String> {
    let context = fs::canonicalize(context).ok()?;
    let path = fs::canonicalize(path).ok()?;
    path.strip_prefix(context).ok()?.to_str().map(str::to_owned)
}

fn read_buildfile(path: &Path) -> Result<Vec<u8>> {
    read(fs::File::open(path)?)
}

fn read_stdin() -> Result<Vec<u8>> {
    read(std::io::stdin()).context("cannot read the Buildfile from standard input")
}

fn read(from: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(BUILDFILE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BUILDFILE_MAX {
        return Err(CommandError::new("it is larger than 16 MiB"));
    }
    Ok(bytes)
}
