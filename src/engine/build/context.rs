//! Where a build's files come from: a directory, a tar on standard input or by its URL, a Buildfile alone, a git
//! repository; the same for contexts with names. A tar becomes a layer of the store, which is named by nothing and goes
//! with the next collection; a repository is checked out into a directory that goes when the build is over.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use builder::files::LayerFiles;
use builder::op::archive;
use builder::{ContextSource, GitSource, NamedContext};
use registry_client::Validators;
use store::DiffId;

use super::BuildRequest;
use super::git::Git;
use crate::engine::Engine;
use crate::engine::progress::Progress;
use crate::error::{CommandError, Context as _, Result};

/// Largest Buildfile read, bytes.
const BUILDFILE_MAX: u64 = 16 << 20;
/// As much of a stream as tells an archive from a Buildfile, bytes.
const START: usize = 512;

/// A Buildfile and the context it is for.
pub struct Source {
    /// The files.
    pub context: Option<ContextSource>,
    /// The Buildfile.
    pub bytes: Vec<u8>,
    /// Its name: its path in the context, if it lies there.
    pub name: String,
    /// What must stay until the build is over.
    pub held: Vec<Held>,
}

/// A directory that goes with the build.
pub struct Held(PathBuf);

impl Drop for Held {
    fn drop(&mut self) {
        // What stays is swept with the directory of its owner.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a stream turned out to be.
enum Streamed {
    Archive(DiffId),
    Buildfile(Vec<u8>),
}

impl Engine {
    /// Finds the Buildfile and the context that the request names.
    ///
    /// # Errors
    /// What is not there, cannot be read or fetched, or leads out of its context.
    pub(super) fn build_source(&self, request: &BuildRequest, git: &Git) -> Result<Source> {
        let text = request.context.as_str();
        let file = request.file.as_deref();
        if text == "-" {
            if file == Some("-") {
                return Err(CommandError::usage("context and Buildfile cannot both come from standard input"));
            }
            return match self.stream(std::io::stdin()).context("cannot read standard input")? {
                Streamed::Archive(layer) => self.in_archive(layer, file),
                Streamed::Buildfile(_) if file.is_some() => {
                    let message = "with a Buildfile on standard input there is no context, and -f has no place";
                    Err(CommandError::usage(message).hint("-f - and a directory: the Buildfile from standard input"))
                }
                Streamed::Buildfile(bytes) => Ok(Source { context: None, bytes, name: "-".into(), held: Vec::new() }),
            };
        }
        if let Some(source) = repository(text)? {
            let (path, held) =
                self.check_out(&source, git).with_context(|| format!("cannot use {text} as build context"))?;
            let (bytes, name) = match file {
                Some("-") => (read_stdin()?, "-".to_owned()),
                file => in_checkout(&path, file).with_context(|| format!("cannot use {text} as build context"))?,
            };
            return Ok(Source { context: Some(ContextSource::Temporary(path)), bytes, name, held: vec![held] });
        }
        if is_http(text) {
            let doing = || format!("cannot use {text} as build context");
            return match self.fetch_stream(text).with_context(doing)? {
                Streamed::Archive(layer) => self.in_archive(layer, file).with_context(doing),
                Streamed::Buildfile(bytes) => {
                    let name = text.rsplit('/').next().unwrap_or(text).to_owned();
                    Ok(Source { context: None, bytes, name, held: Vec::new() })
                }
            };
        }
        in_directory(request)
    }

    /// What the value of a `--build-context` stands for.
    ///
    /// # Errors
    /// As [`Engine::build_source`].
    pub(super) fn named_context(
        &self,
        value: &str,
        git: &Git,
        progress: &dyn Progress,
        held: &mut Vec<Held>,
    ) -> Result<NamedContext> {
        if let Some(reference) = value.strip_prefix("docker-image://") {
            self.reference(reference)?;
            return Ok(NamedContext::Image(reference.to_owned()));
        }
        if let Some(stage) = value.strip_prefix("target:") {
            return Ok(NamedContext::Stage(stage.to_owned()));
        }
        if let Some(rest) = value.strip_prefix("oci-layout://") {
            let (path, digest) = rest.split_once('@').map_or((rest, None), |(path, digest)| (path, Some(digest)));
            // A colon behind the last slash parts the tag; one before it belongs to the path.
            let (path, tag) = match path.rsplit_once(':') {
                Some((path, tag)) if digest.is_none() && !tag.contains('/') => (path, Some(tag)),
                _ => (path, None),
            };
            return Ok(NamedContext::Image(self.load_layout(Path::new(path), tag, digest, progress)?.to_string()));
        }
        if let Some(source) = repository(value)? {
            let (path, kept) = self.check_out(&source, git)?;
            held.push(kept);
            return Ok(NamedContext::Files(ContextSource::Temporary(path)));
        }
        let not_archive = || CommandError::new("it is no archive").hint("a context is a directory or a tar");
        if is_http(value) {
            return match self.fetch_stream(value)? {
                Streamed::Archive(layer) => Ok(NamedContext::Files(ContextSource::Archive(layer))),
                Streamed::Buildfile(_) => Err(not_archive()),
            };
        }
        if let Some((scheme, _)) = value.split_once("://") {
            return Err(CommandError::usage(format!("there are no contexts of the kind {scheme}://"))
                .hint("a directory, a tar, docker-image://, oci-layout://, target:, https:// or a git repository"));
        }
        if fs::metadata(value)?.is_dir() {
            return Ok(NamedContext::Files(ContextSource::Directory(value.into())));
        }
        match self.stream(File::open(value)?)? {
            Streamed::Archive(layer) => Ok(NamedContext::Files(ContextSource::Archive(layer))),
            Streamed::Buildfile(_) => Err(not_archive()),
        }
    }

    fn fetch_stream(&self, url: &str) -> Result<Streamed> {
        let fetched = self.fetch_file(url, &Validators::default())?;
        let (file, ..) = fetched.ok_or_else(|| CommandError::new("the server sent nothing"))?;
        self.stream(file)
    }

    /// Reads an archive into a layer, or a Buildfile.
    fn stream(&self, mut from: impl Read + Send) -> Result<Streamed> {
        let mut start = Vec::with_capacity(START);
        from.by_ref().take(START as u64).read_to_end(&mut start)?;
        let is_archive = archive::begins_archive(&start);
        let whole = std::io::Cursor::new(start).chain(from);
        if !is_archive {
            return Ok(Streamed::Buildfile(read(whole)?));
        }
        let plain = archive::decompress(BufReader::with_capacity(1 << 20, whole))?;
        let layer = self.store.layers().ingest(plain, None, None).context("cannot read the archive")?;
        Ok(Streamed::Archive(layer.diff_id))
    }

    /// The Buildfile in an archive.
    fn in_archive(&self, layer: DiffId, file: Option<&str>) -> Result<Source> {
        let files = LayerFiles::new(&self.store, "the archive", &[layer]).map_err(to_command_error)?;
        let read = |name: &str| files.read_small(name, BUILDFILE_MAX).map_err(to_command_error);
        let names = file.map_or(builder::DEFAULT_NAMES.to_vec(), |file| vec![file]);
        for name in &names {
            if let Some(bytes) = read(name)? {
                let name = name.trim_start_matches("./").to_owned();
                return Ok(Source { context: Some(ContextSource::Archive(layer)), bytes, name, held: Vec::new() });
            }
        }
        Err(missing("the archive", &names))
    }

    /// The directory that a repository's address means, checked out.
    fn check_out(&self, source: &GitSource, git: &Git) -> Result<(PathBuf, Held)> {
        let commit = git.commit(source)?;
        if let Some(wanted) = source.commit.as_ref().filter(|wanted| !commit.starts_with(wanted.as_str())) {
            return Err(CommandError::new(format!("it is at commit {commit}, not {wanted}")));
        }
        let held = Held(self.store.scratch()?);
        let at = held.0.join("files");
        fs::create_dir(&at).context("cannot make a directory for the repository")?;
        git.check_out(source, &commit, &at)?;
        let path = inside(&at, Path::new(&source.directory))?
            .filter(|path| path.is_dir())
            .ok_or_else(|| CommandError::new(format!("the repository has no directory {}", source.directory)))?;
        Ok((path, held))
    }
}

/// The repository that a context means, if it means one.
fn repository(text: &str) -> Result<Option<GitSource>> {
    let address = match () {
        () if builder::git::is_git(text) => text.to_owned(),
        // As docker has it, unless there is such a directory.
        () if text.starts_with("github.com/") && !Path::new(text).exists() => format!("https://{text}"),
        // A bare repository on this machine, which cannot be meant as a directory of files.
        () => {
            let path = text.split('#').next().unwrap_or(text);
            let is_bare = path.trim_end_matches('/').ends_with(".git")
                && ["HEAD", "objects", "refs"].iter().all(|name| Path::new(path).join(name).exists());
            if !is_bare {
                return Ok(None);
            }
            let whole = std::path::absolute(path)?;
            let fragment = &text[path.len()..];
            format!("file://{}{fragment}", whole.display())
        }
    };
    GitSource::parse(&address).map(Some).map_err(CommandError::usage)
}

fn is_http(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// The Buildfile of a checked out repository, whose links may lead nowhere else.
fn in_checkout(directory: &Path, file: Option<&str>) -> Result<(Vec<u8>, String)> {
    let names = file.map_or(builder::DEFAULT_NAMES.to_vec(), |file| vec![file]);
    for name in &names {
        if let Some(path) = inside(directory, Path::new(name.trim_start_matches('/')))?.filter(|path| path.is_file()) {
            let bytes = read(File::open(path)?).with_context(|| format!("cannot read {name}"))?;
            return Ok((bytes, name.trim_start_matches("./").to_owned()));
        }
    }
    Err(missing("the repository", &names))
}

/// `path` in `directory` with all links followed; none if it is not there.
///
/// # Errors
/// A path that leads out of the directory.
fn inside(directory: &Path, path: &Path) -> Result<Option<PathBuf>> {
    let root = fs::canonicalize(directory)?;
    match fs::canonicalize(root.join(path)) {
        Ok(found) if found.starts_with(&root) => Ok(Some(found)),
        Ok(_) => Err(CommandError::new(format!("{} leads out of the context", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn missing(place: &str, names: &[&str]) -> CommandError {
    CommandError::new(format!("there is no Buildfile in {place}"))
        .hint(format!("looked for {}; -f names another", names.join(", ")))
}

fn to_command_error(error: builder::op::OpError) -> CommandError {
    builder::BuildError::from(error).into()
}

/// A directory and the Buildfile for it.
fn in_directory(request: &BuildRequest) -> Result<Source> {
    let context = PathBuf::from(&request.context);
    let about = fs::metadata(&context).with_context(|| format!("cannot use {} as build context", request.context))?;
    if !about.is_dir() {
        return Err(CommandError::usage(format!("the build context {} is not a directory", request.context))
            .hint("name the directory, and the Buildfile with -f; a tar goes to standard input: img build - < FILE"));
    }
    let source = |bytes: Vec<u8>, name: String| Source {
        context: Some(ContextSource::Directory(context.clone())),
        bytes,
        name,
        held: Vec::new(),
    };
    match request.file.as_deref() {
        Some("-") => Ok(source(read_stdin()?, "-".into())),
        Some(file) => {
            // docker takes -f relative to the current directory; buildah also finds it in the context.
            let path = if Path::new(file).exists() { PathBuf::from(file) } else { context.join(file) };
            let bytes = read_buildfile(&path).with_context(|| format!("cannot read the Buildfile {file}"))?;
            let name = name_inside(&context, &path).unwrap_or_else(|| file.to_owned());
            Ok(source(bytes, name))
        }
        None => {
            let found = builder::DEFAULT_NAMES.iter().find(|name| context.join(name).is_file());
            let name = found.ok_or_else(|| missing(&request.context, &builder::DEFAULT_NAMES))?;
            let path = context.join(name);
            let bytes = read_buildfile(&path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(source(bytes, (*name).to_string()))
        }
    }
}

/// The path of a Buildfile in its context, if it lies there.
fn name_inside(context: &Path, path: &Path) -> Option<String> {
    let context = fs::canonicalize(context).ok()?;
    let path = fs::canonicalize(path).ok()?;
    path.strip_prefix(context).ok()?.to_str().map(str::to_owned)
}

fn read_buildfile(path: &Path) -> Result<Vec<u8>> {
    read(File::open(path)?)
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
