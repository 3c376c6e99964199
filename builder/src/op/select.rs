//! Which files a source of COPY or ADD means. Patterns match name by name, what they (or a plain source) name is
//! followed if it is a symbolic link, a directory stands for what is in it; `--exclude` takes away, `--parents` keeps
//! the path from the root or from the pivot `/./` on. Nothing here knows the destination, so that a cached step costs
//! no look at the layers below.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use store::Digest;
use store::digest::Digester;
use store::layer::LayerPath;

use super::OpError;
use crate::buildfile::diagnostic::did_you_mean;
use crate::cancel::Cancel;
use crate::context::{Ignore, Matched};
use crate::files::{self, Content, Files, Node, NodeKind};
use crate::glob::{Glob, PatternError};

/// Most files one instruction may copy.
pub(super) const FILES_MAX: usize = 5_000_000;

/// One file below a source directory.
#[derive(Clone, Debug)]
pub struct Found {
    /// Path relative to the source directory.
    pub path: LayerPath,
    /// Path in the tree it comes from.
    pub source: LayerPath,
    /// What it is.
    pub node: Node,
    /// Its content, for regular files, once [`hash`] has been there.
    pub content: Option<Content>,
    /// A directory that is only there because something in it was selected: where it exists already it stays as it is.
    pub only_parent: bool,
}

/// One source of a COPY with all it stands for.
#[derive(Clone)]
pub struct Selected {
    /// Where the files are.
    pub files: Arc<dyn Files>,
    /// The name the source has where it is copied into a directory.
    pub name: Vec<u8>,
    /// The source itself; for a directory, only what is in it is copied.
    pub root: Found,
    /// What is in it, parents before children, sorted.
    pub inside: Vec<Found>,
    /// Files with their paths kept (`--parents`): `root` is the directory they are relative to.
    pub parents: bool,
}

/// How to select.
#[derive(Clone, Copy, Default)]
pub struct How<'a> {
    /// `--exclude` patterns.
    pub exclude: &'a [String],
    /// `--parents`.
    pub parents: bool,
}

impl From<PatternError> for OpError {
    fn from(error: PatternError) -> Self {
        Self::Message(error.to_string())
    }
}

/// Path components of a source as written: without `.` and empty ones; `..` takes one away. The flag says that there
/// was nothing left to take: the path would lead out of the tree, and is cut off at its root, as BuildKit does.
#[must_use]
pub fn components(source: &str) -> (Vec<&str>, bool) {
    let mut names = Vec::new();
    let mut outside = false;
    for name in source.split('/') {
        match name {
            "" | "." => {}
            ".." => outside |= names.pop().is_none(),
            name => names.push(name),
        }
    }
    (names, outside)
}

/// Selects what `source` means in `files`. A pattern may match nothing.
///
/// # Errors
/// [`OpError`] if a source that is no pattern is not there, or a pattern cannot be read.
pub fn select(files: &Arc<dyn Files>, source: &str, how: How<'_>) -> Result<Vec<Selected>, OpError> {
    let exclude = Ignore::of(how.exclude.iter().map(|pattern| pattern.as_bytes()))?;
    if how.parents {
        return select_parents(files, source, &exclude);
    }
    let (names, _) = components(source);
    let mut selected = Vec::new();
    for path in matches(files.as_ref(), &names, source)? {
        let name = path.name().unwrap_or_default().to_vec();
        let Some((root, node)) = files::resolve(files.as_ref(), path.as_bytes())? else {
            return Err(OpError::Message(format!("{path} in {} is a symbolic link to nothing", files.name())));
        };
        if !node.is_directory() && exclude.judge(&name).ignored {
            continue;
        }
        let inside = if node.is_directory() { inside(files.as_ref(), &root, &exclude, None)? } else { Vec::new() };
        let root = Found { path: LayerPath::root(), source: root, node, content: None, only_parent: false };
        selected.push(Selected { files: Arc::clone(files), name, root, inside, parents: false });
    }
    Ok(selected)
}

/// The paths that a source means, links not yet followed at the end.
fn matches(files: &dyn Files, names: &[&str], source: &str) -> Result<Vec<LayerPath>, OpError> {
    let split = names.iter().position(|name| Glob::is_pattern(name.as_bytes())).unwrap_or(names.len());
    let plain: Vec<Vec<u8>> = names[..split].iter().map(|name| Glob::unescape(name.as_bytes())).collect();
    let plain = plain.join(&b'/');
    if split == names.len() {
        return match files::resolve(files, &plain)? {
            // The name is the one written, not the one a link leads to.
            Some(_) => Ok(vec![LayerPath::parse(&plain)?]),
            None => Err(missing(files, &plain, source)?),
        };
    }
    let Some((start, _)) = files::resolve(files, &plain)? else { return Ok(Vec::new()) };
    let mut found = vec![start];
    for (index, name) in names[split..].iter().enumerate() {
        let glob = Glob::path(name.as_bytes())?;
        let last = split + index + 1 == names.len();
        let mut next = Vec::new();
        for directory in found {
            for (name, node) in files.children(&directory)? {
                if glob.matches(&name) && (last || node.is_directory()) {
                    next.push(directory.join(&name)?);
                }
            }
        }
        found = next;
    }
    Ok(found)
}

/// An error that a source is not there, with the reason or a guess.
fn missing(files: &dyn Files, path: &[u8], source: &str) -> Result<OpError, OpError> {
    let message = format!("{source} not found in {}", files.name());
    let path = LayerPath::parse(path)?;
    if files.hides(&path) {
        return Ok(OpError::Advised {
            message,
            hint: format!("the file is there, but the ignore file leaves {path} out"),
        });
    }
    let parent = path.parent().unwrap_or_default();
    let Some((parent, node)) = files::resolve(files, parent.as_bytes())? else { return Ok(OpError::Message(message)) };
    if !node.is_directory() {
        return Ok(OpError::Message(message));
    }
    let names: Vec<String> =
        files.children(&parent)?.into_iter().filter_map(|(name, _)| String::from_utf8(name).ok()).collect();
    let wanted = String::from_utf8_lossy(path.name().unwrap_or_default()).into_owned();
    Ok(match did_you_mean(&wanted, names.iter().map(String::as_str)) {
        Some(near) => {
            let near = parent.join(near.as_bytes())?.to_string();
            OpError::Advised { message, hint: format!("did you mean {}?", near.trim_start_matches('/')) }
        }
        None => OpError::Message(message),
    })
}

/// `--parents`: what the pattern behind the pivot matches, relative to what is before it.
fn select_parents(files: &Arc<dyn Files>, source: &str, exclude: &Ignore) -> Result<Vec<Selected>, OpError> {
    let (base, pattern) = source.split_once("/./").unwrap_or(("", source));
    let (base, (pattern, _)) = (components(base).0, components(pattern));
    let include = Ignore::of([pattern.join("/").as_bytes()])?;
    let whole = pattern.is_empty();
    let mut selected = Vec::new();
    let is_pattern = |name: &&str| Glob::is_pattern(name.as_bytes()) || name.contains("**");
    let required = !base.iter().chain(&pattern).any(is_pattern);
    for path in matches(files.as_ref(), &base, source)? {
        let Some((root, node)) = files::resolve(files.as_ref(), path.as_bytes())? else { continue };
        if !node.is_directory() {
            return Err(OpError::Message(format!("{path} in {} is not a directory", files.name())));
        }
        let include = Some(&include).filter(|_| !whole);
        let inside = inside(files.as_ref(), &root, exclude, include)?;
        if inside.is_empty() && required && !whole {
            let path = root.as_bytes().split(|&byte| byte == b'/').filter(|name| !name.is_empty());
            let path: Vec<&[u8]> = path.chain(pattern.iter().map(|name| name.as_bytes())).collect();
            if files.node(&LayerPath::parse(&path.join(&b'/'))?)?.is_none() {
                return Err(missing(files.as_ref(), &path.join(&b'/'), source)?);
            }
        }
        let root = Found { path: LayerPath::root(), source: root, node, content: None, only_parent: false };
        selected.push(Selected { files: Arc::clone(files), name: Vec::new(), root, inside, parents: true });
    }
    Ok(selected)
}

/// A directory on the way down.
struct Open {
    source: LayerPath,
    path: LayerPath,
    excluded: Matched,
    included: Option<Matched>,
}

/// Everything below `root` that is not excluded and, if there is `include`, that it includes, with the directories it
/// is in.
fn inside(
    files: &dyn Files,
    root: &LayerPath,
    exclude: &Ignore,
    include: Option<&Ignore>,
) -> Result<Vec<Found>, OpError> {
    let mut found = Vec::new();
    let mut todo = vec![Open {
        source: root.clone(),
        path: LayerPath::root(),
        excluded: exclude.root(),
        included: include.map(Ignore::root),
    }];
    while let Some(open) = todo.pop() {
        for (name, node) in files.children(&open.source)? {
            let path = open.path.join(&name)?;
            let excluded = exclude.enter(&open.excluded, path.as_bytes());
            let included =
                include.zip(open.included.as_ref()).map(|(include, above)| include.enter(above, path.as_bytes()));
            let wanted = included.as_ref().is_none_or(|included| included.ignored);
            let source = open.source.join(&name)?;
            let taken = wanted && !excluded.ignored;
            if node.is_directory() {
                let may_include = wanted || include.is_some_and(|include| include.may_match_below(path.as_bytes()));
                let may_be_left = !excluded.ignored || exclude.may_take_back_below(path.as_bytes());
                if may_include && may_be_left {
                    let (source, path) = (source.clone(), path.clone());
                    todo.push(Open { source, path, excluded, included });
                } else if !taken {
                    continue;
                }
            } else if !taken {
                continue;
            }
            found.push(Found { path, source, node, content: None, only_parent: !taken });
            if found.len() > FILES_MAX {
                return Err(OpError::Message(format!("one instruction copies more than {FILES_MAX} files")));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    drop_empty_parents(&mut found);
    Ok(found)
}

/// Drops directories that are only there as parents and have nothing in them.
fn drop_empty_parents(found: &mut Vec<Found>) {
    let mut kept: Vec<Found> = Vec::with_capacity(found.len());
    // Backwards, what is in a directory comes before it.
    for item in std::mem::take(found).into_iter().rev() {
        let used = !item.only_parent || kept.last().is_some_and(|inner| inner.path.is_within(&item.path));
        if used {
            kept.push(item);
        }
    }
    kept.reverse();
    *found = kept;
}

/// Finds the content of all regular files selected, several at a time.
///
/// # Errors
/// [`OpError`] if one cannot be read, or on cancellation.
pub fn hash(selected: &mut [Selected], cancel: &Cancel) -> Result<(), OpError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    for source in selected {
        let files = Arc::clone(&source.files);
        let mut wanted: Vec<&mut Found> = std::iter::once(&mut source.root)
            .chain(&mut source.inside)
            .filter(|found| matches!(found.node.kind, NodeKind::File(_)) && found.content.is_none())
            .collect();
        let hash_one = |found: &mut Found| {
            if cancel.is_cancelled() {
                return Err(OpError::Cancelled);
            }
            found.content = Some(files.content(&found.source, &found.node)?);
            Ok(())
        };
        if wanted.len() < 64 || threads == 1 {
            wanted.into_iter().try_for_each(hash_one)?;
            continue;
        }
        // Small pieces taken in turn: files differ in size.
        let pieces: Vec<std::sync::Mutex<&mut [&mut Found]>> =
            wanted.chunks_mut(32).map(std::sync::Mutex::new).collect();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let work = || {
                while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut piece = piece.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    piece.iter_mut().try_for_each(|found| hash_one(found))?;
                }
                Ok::<(), OpError>(())
            };
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
    }
    Ok(())
}

/// Digest of all that a selection puts into a layer: names, kinds, modes, owners, links, attributes and contents, but
/// no times. [`hash`] must have been there.
#[must_use]
pub fn digest(selected: &[Selected]) -> Digest {
    let mut digester = Digester::new();
    let mut field = |bytes: &[u8]| {
        digester.update(&(bytes.len() as u64).to_le_bytes());
        digester.update(bytes);
    };
    for source in selected {
        field(if source.parents { b"parents" } else { b"source" });
        field(&source.name);
        let mut groups = std::collections::HashMap::new();
        // Of a directory that is copied only the contents count.
        let root = Some(&source.root).filter(|root| !root.node.is_directory());
        for (index, found) in root.into_iter().chain(&source.inside).enumerate() {
            let node = &found.node;
            field(found.path.as_bytes());
            field(&[node.mode.to_le_bytes(), node.uid.to_le_bytes(), node.gid.to_le_bytes()].concat());
            match &node.kind {
                NodeKind::Directory => field(if found.only_parent { b"parent" } else { b"directory" }),
                NodeKind::File(_) => field(found.content.as_ref().map_or(b"", |content| content.digest.as_bytes())),
                NodeKind::Symlink(target) => field(&[b"symlink", target.as_slice()].concat()),
                NodeKind::Device(character, major, minor) => {
                    field(format!("device {character} {major} {minor}").as_bytes());
                }
                NodeKind::Fifo => field(b"fifo"),
            }
            let hidden = found.content.iter().flat_map(|content| &content.xattrs);
            for (name, value) in node.xattrs.iter().chain(hidden) {
                field(name);
                field(value);
            }
            let first = node.link.map(|link| *groups.entry(link).or_insert(index));
            field(&first.map_or(index, |first| first).to_le_bytes());
        }
    }
    digester.finish()
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
