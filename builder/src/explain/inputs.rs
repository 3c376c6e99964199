//! What a step's key was made of, in a form that can be compared: digests of the key's parts, and for files and
//! variables one short digest each. Written once when the step has run, a few dozen bytes a file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use store::Digest;
use store::digest::Digester;

use crate::files::NodeKind;
use crate::op::select::{Found, Selected};

/// Most files listed for one step; of more only the number is kept.
const FILES_MAX: usize = 100_000;

/// What one step read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Inputs {
    /// Which Buildfile and context it belongs to.
    pub(crate) project: String,
    /// Kind of step: `run`, `copy`, `workdir`.
    pub(crate) kind: String,
    /// The instruction as written.
    pub(crate) instruction: String,
    /// The parts of its key, each with its short digest.
    pub(crate) parts: BTreeMap<String, String>,
    /// Parts that may be shown as they are.
    #[serde(default)]
    pub(crate) values: BTreeMap<String, String>,
    /// Variables: `ARG` or `ENV`, name, short digest of the value.
    #[serde(default)]
    pub(crate) variables: Vec<(String, String, String)>,
    /// Name and id of the image that its stage starts from, for the first step of a stage.
    #[serde(default)]
    pub(crate) base: Option<(String, String)>,
    /// The step before it in its stage, as written.
    #[serde(default)]
    pub(crate) parent: Option<String>,
    /// Files by the part of the key that they are in.
    #[serde(default)]
    pub(crate) files: BTreeMap<String, FileSet>,
    /// What it made: a step that makes the same again is no cause of anything.
    #[serde(default)]
    pub(crate) result: Option<String>,
}

/// Files that a step reads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FileSet {
    /// Where they are, if not in the build context.
    pub(crate) source: Option<String>,
    /// How many there are, directories left out.
    pub(crate) total: u64,
    /// All of them, sorted by path; none if there are too many.
    pub(crate) list: Vec<FileNote>,
}

/// One file: path, type and content, mode, owner, attributes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileNote(
    pub(crate) String,
    pub(crate) String,
    pub(crate) u32,
    pub(crate) (u32, u32),
    pub(crate) String,
);

impl FileSet {
    /// Of what a COPY or a mount selected; contents must have been hashed.
    pub(crate) fn of<'a>(selected: impl IntoIterator<Item = &'a Selected>, source: Option<String>) -> Self {
        let mut set = Self { source, ..Self::default() };
        for source in selected {
            let root = Some(&source.root).filter(|root| !root.node.is_directory());
            set.list.extend(root.into_iter().chain(&source.inside).map(|found| note(found, set.source.is_none())));
        }
        set.total = set.list.iter().filter(|file| file.1 != "d").count() as u64;
        set.list.sort_by(|a, b| a.0.cmp(&b.0));
        if set.list.len() > FILES_MAX {
            set.list.clear();
        }
        set
    }
}

fn note(found: &Found, relative: bool) -> FileNote {
    let path = found.source.to_string();
    let path = if relative { path.trim_start_matches('/').to_owned() } else { path };
    let node = &found.node;
    let what = match &node.kind {
        NodeKind::Directory => "d".to_owned(),
        NodeKind::File(_) => {
            format!("f{}", found.content.as_ref().map_or_else(String::new, |content| content.digest.short()))
        }
        NodeKind::Symlink(target) => format!("l{}", brief(target)),
        NodeKind::Device(character, major, minor) => format!("n{character} {major} {minor}"),
        NodeKind::Fifo => "p".to_owned(),
    };
    let mut attributes = Digester::new();
    let hidden = found.content.iter().flat_map(|content| &content.xattrs);
    for (name, value) in node.xattrs.iter().chain(hidden) {
        attributes.update(&(name.len() as u64).to_le_bytes());
        attributes.update(name);
        attributes.update(value);
    }
    let attributes = if attributes.size() == 0 { String::new() } else { attributes.finish().short() };
    FileNote(path, what, node.mode, (node.uid, node.gid), attributes)
}

/// Variables of `env` (`NAME=value`); those that `is_config` says are the image's are `ENV`.
pub(crate) fn variables(env: &[String], is_config: impl Fn(&str) -> bool) -> Vec<(String, String, String)> {
    let one = |entry: &String| {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        let kind = if is_config(name) { "ENV" } else { "ARG" };
        // With the name before it, so that equal values of two variables do not look equal.
        (kind.to_owned(), name.to_owned(), brief(format!("{name}={value}").as_bytes()))
    };
    env.iter().map(one).collect()
}

/// A short digest: enough to see a change, too little to be worth guessing at.
fn brief(bytes: &[u8]) -> String {
    Digest::of(bytes).hex()[..8].to_owned()
}
