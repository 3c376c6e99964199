//! `build`: finds the Buildfile and its context, lets the builder work, and names what came out. The builder's two
//! ports are filled here: base images by `images`, commands by `executor`.

mod check;
mod executor;
mod images;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use builder::{BuildOptions, Cancel, Event};
use store::ImageId;
use store::refs::Expect;

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
        let output = builder::build(&self.store, &options, &images, &executor, &|event| watcher.build_event(event))?;
        for name in &names {
            // A build that found everything in the cache has nothing to sync.
            if self.store.refs().get(name)?.is_none_or(|tag| tag.image != output.image) {
                self.store.refs().set(name, &output.image, None, Expect::Any)?;
            }
        }
        let image = self.store.images().get(&output.image)?;
        let names = names.iter().map(|name| familiar(name)).collect();
        let warnings = output.warnings.len();
        Ok(Built { image: output.image, size: self.store.images().size(&image)?, names, warnings })
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
