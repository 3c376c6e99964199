//! Keys and work of WORKDIR, COPY and ADD.

use std::collections::BTreeMap;
use std::sync::Arc;

use store::layer::LayerInfo;

use super::remote::Resolved;
use super::{Prepared, Solver, StageResult, Work};
use crate::buildfile::{Rule, Warning};
use crate::event::Event;
use crate::files::{Files, LayerFiles, NodeKind};
use crate::key::KeyBuilder;
use crate::op::archive::Archive;
use crate::op::place::{Attributes, Draft};
use crate::op::select::{How, Selected};
use crate::op::{OpError, archive, chown, layer, select};
use crate::plan::{CopyOp, Op, Origin, PlannedStage, PlannedStep, Source};

/// A COPY on its way: what it selected, once that was looked at.
pub(super) struct CopyWork<'a> {
    pub(super) op: &'a CopyOp,
    /// What its sources mean; for other stages only looked at if the first key is unknown.
    selected: Option<Vec<Vec<Selected>>>,
    /// The layers of the stage it copies from.
    source: Option<Arc<StageResult>>,
    /// What sources on the net mean now, by the number of the source.
    pub(super) remotes: BTreeMap<usize, Resolved>,
}

impl CopyWork<'_> {
    /// What it selected, source by source, if that was looked at.
    pub(super) fn selected(&self) -> Option<&[Vec<Selected>]> {
        self.selected.as_deref()
    }
}

impl Solver<'_> {
    /// The key of a step.
    pub(super) fn prepare<'s>(
        &'s self,
        stage: &PlannedStage,
        state: &StageResult,
        step: &'s PlannedStep,
    ) -> Result<Prepared<'s>, OpError> {
        Ok(match &step.op {
            Op::Workdir { path, user } => {
                let mut key = self.key("workdir");
                key.part("below", state.id.0.as_bytes()).part("path", path.as_bytes()).part("user", user.as_bytes());
                Prepared { key, work: Work::Workdir { path, user } }
            }
            Op::Copy(op) => {
                let mut key = self.copy_key(state, op);
                let mut work = CopyWork { op, selected: None, source: None, remotes: BTreeMap::new() };
                match op.from {
                    Origin::Stage(index) => {
                        let source = self.source(index)?;
                        key.part("from", source.id.0.as_bytes());
                        work.source = Some(source);
                    }
                    Origin::Context | Origin::Named(_) => {
                        self.resolve_remotes(op, &mut work, &mut key)?;
                        let selected = self.select(step, op, &work)?;
                        key.part("files", select_digest(&selected).as_bytes());
                        work.selected = Some(selected);
                    }
                }
                Prepared { key, work: Work::Copy(work) }
            }
            Op::Run(op) => self.prepare_run(stage, state, op)?,
        })
    }

    pub(super) fn key(&self, kind: &str) -> KeyBuilder {
        let mut key = KeyBuilder::new(kind);
        if let Some(epoch) = self.epoch {
            key.part("epoch", &epoch.to_le_bytes());
        }
        key
    }

    /// The parts of a copy's key that need no look at any file.
    fn copy_key(&self, state: &StageResult, op: &CopyOp) -> KeyBuilder {
        let mut key = self.key("copy");
        // A linked layer depends on nothing below, unless names of owners are looked up there.
        let by_name = op.chown.as_ref().is_some_and(|owner| owner.bytes().any(|byte| byte.is_ascii_alphabetic()));
        if !op.link || by_name {
            key.part("below", state.id.0.as_bytes());
        }
        // What is on the net counts by what it is, and by the name it gets.
        key.list(
            "sources",
            op.sources.iter().map(|source| match source {
                Source::Path(path) => path.as_str(),
                Source::Http { .. } => "a file on the net",
                Source::Git(_) => "a git repository",
            }),
        );
        key.list("documents", op.documents.iter().flat_map(|(name, bytes)| [name.as_bytes(), bytes.as_slice()]));
        key.part("destination", op.destination.as_bytes());
        key.list("exclude", &op.exclude);
        let chown = op.chown.as_deref().unwrap_or_default();
        let flags = format!("{chown:?} {:?} {} {} {}", op.chmod, op.parents, op.link, op.unpack);
        key.part("flags", flags.as_bytes());
        if op.unpack_remote {
            key.part("unpack", b"from the net");
        }
        key
    }

    /// The key by the files copied, where the first one was by the stage they are in.
    pub(super) fn second_key(
        &self,
        state: &StageResult,
        prepared: &mut Prepared<'_>,
    ) -> Result<Option<KeyBuilder>, OpError> {
        let Work::Copy(work) = &mut prepared.work else { return Ok(None) };
        if !matches!(work.op.from, Origin::Stage(_)) {
            return Ok(None);
        }
        let selected = self.select_from(work)?;
        let mut key = self.copy_key(state, work.op);
        key.part("files", select_digest(&selected).as_bytes());
        work.selected = Some(selected);
        Ok(Some(key))
    }

    /// Selects in the context, and says what matched nothing.
    fn select(&self, step: &PlannedStep, op: &CopyOp, work: &CopyWork<'_>) -> Result<Vec<Vec<Selected>>, OpError> {
        if op.sources.is_empty() {
            return Ok(Vec::new());
        }
        let selected = self.select_from(work)?;
        for (source, found) in op.sources.iter().zip(&selected) {
            if let Source::Path(source) = source
                && found.is_empty()
            {
                let warning = Warning::new(Rule::Unused, step.info.span, format!("{source} matches nothing"));
                (self.events)(Event::Warning(warning));
            }
        }
        Ok(selected)
    }

    /// Selects and hashes what the sources mean.
    fn select_from(&self, work: &CopyWork<'_>) -> Result<Vec<Vec<Selected>>, OpError> {
        let how = How { exclude: &work.op.exclude, parents: work.op.parents };
        let mut all = Vec::new();
        for (number, source) in work.op.sources.iter().enumerate() {
            let Source::Path(path) = source else {
                all.push(self.select_remote(work, number)?);
                continue;
            };
            let files: Arc<dyn Files> = match (&work.source, work.op.from) {
                (Some(source), Origin::Stage(index)) => self.stage_files(source, index)?,
                (_, from) => self.context(from.named())?,
            };
            let mut selected = select::select(&files, path, how)?;
            select::hash(&mut selected, &self.cancel)?;
            all.push(selected);
        }
        Ok(all)
    }

    /// The files of a stage, under its name.
    pub(super) fn stage_files(&self, source: &StageResult, index: usize) -> Result<Arc<LayerFiles>, OpError> {
        let label = self.plan.stages[index].as_ref().map_or("", |stage| stage.label.as_str());
        self.tree(&source.layers, label)
    }

    pub(super) fn make_workdir(
        &self,
        state: &StageResult,
        path: &str,
        user: &str,
    ) -> Result<Option<LayerInfo>, OpError> {
        let below = self.tree(&state.layers, "the image")?;
        let owner = match user {
            "" => None,
            user => Some(chown::resolve(user, &|path, limit| below.read_small(path, limit))?),
        };
        let attributes = Attributes { owner, chmod: None, time: self.time() };
        let mut draft = Draft::new(below.as_ref(), attributes);
        draft.make_directory(path)?;
        layer::write(self.store, draft, &self.cancel)
    }

    pub(super) fn make_copy(&self, state: &StageResult, work: &mut CopyWork<'_>) -> Result<Option<LayerInfo>, OpError> {
        let op = work.op;
        let selected = match work.selected.take() {
            Some(selected) => selected,
            None => self.select_from(work)?,
        };
        // Held until their files are in the layer.
        let mut checkouts = Vec::new();
        let mut selected = selected;
        for (number, source) in op.sources.iter().enumerate() {
            if let Source::Git(source) = source {
                selected[number] = self.check_out(work, number, source, &mut checkouts)?;
            }
        }
        let image = self.tree(&state.layers, "the image")?;
        let owner = match &op.chown {
            None => None,
            Some(owner) => Some(chown::resolve(owner, &|path, limit| image.read_small(path, limit))?),
        };
        let below = if op.link { self.tree(&[], "an empty image")? } else { image };
        let attributes = Attributes { owner, chmod: op.chmod.clone(), time: self.time() };
        let mut draft = Draft::new(below.as_ref(), attributes);
        for (number, sources) in selected.iter().enumerate() {
            let unpack = match op.sources[number] {
                Source::Path(_) => op.unpack,
                Source::Http { .. } => op.unpack_remote,
                Source::Git(_) => false,
            };
            for source in sources {
                match self.archive(unpack, source)? {
                    Some(archive) => draft.unpack(archive, &op.destination)?,
                    None => draft.copy(source, &op.destination)?,
                }
            }
        }
        for (name, bytes) in &op.documents {
            draft.write(name, bytes.clone(), &op.destination)?;
        }
        layer::write(self.store, draft, &self.cancel)
    }

    /// The source opened as an archive, if it is to be and is one.
    fn archive(&self, unpack: bool, source: &Selected) -> Result<Option<Archive>, OpError> {
        let root = &source.root;
        match (&root.node.kind, &root.content) {
            (NodeKind::File(_), Some(content)) if unpack => {
                archive::open(self.store, &source.files, &root.source, content)
            }
            _ => Ok(None),
        }
    }
}

/// Digest of all that was selected, source by source.
fn select_digest(selected: &[Vec<Selected>]) -> store::Digest {
    let digests: Vec<_> = selected.iter().map(|source| select::digest(source)).collect();
    KeyBuilder::new("files").list("sources", digests.iter().map(store::Digest::as_bytes)).finish()
}
