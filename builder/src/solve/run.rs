//! Key and work of RUN: mounts are made ready, the executor runs the command in a scratch directory of the store, and
//! what it left in the upper directory becomes the layer. Files of the build context are mounted as a layer made of
//! them, so that a command sees what the key was made of, without what the ignore file hides, and cannot change it.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use store::DiffId;
use store::layer::{DiffOptions, LayerInfo};
use store::lock::{LockFile, LockMode};

use super::lines::Lines;
use super::{Prepared, Solver, StageResult, TICK, Work};
use crate::buildfile::Sharing;
use crate::event::Event;
use crate::files::{self, Files};
use crate::op::chmod::Chmod;
use crate::op::place::{Attributes, Draft};
use crate::op::select::{self, How, Selected};
use crate::op::{OpError, layer};
use crate::plan::{PlannedMount, PlannedSource, PlannedStage, PlannedStep, RunOp};
use crate::ports::{RunMount, RunMountSource, RunStep};

/// Longest wait for a cache mount that another step holds.
const CACHE_PATIENCE: Duration = Duration::from_secs(6 * 3600);
/// Most directories that one private cache is spread over.
const PRIVATE_MAX: usize = 64;
/// The one directory in a layer that is made to be mounted.
const MOUNTED: &str = "mount";

/// A RUN on its way.
pub(super) struct RunWork<'a> {
    op: &'a RunOp,
    /// What was selected in the context, by mount.
    selected: Vec<Option<Vec<Selected>>>,
    /// The stages that are mounted, by mount.
    sources: Vec<Option<Arc<StageResult>>>,
}

impl Solver<'_> {
    pub(super) fn prepare_run<'s>(
        &'s self,
        stage: &PlannedStage,
        state: &StageResult,
        op: &'s RunOp,
    ) -> Result<Prepared<'s>, OpError> {
        let mut key = self.key("run");
        key.part("below", state.id.0.as_bytes());
        key.part("platform", stage.platform.to_string().as_bytes());
        key.list("args", &op.args).list("env", &op.env);
        key.part("cwd", op.cwd.as_bytes()).part("user", op.user.as_bytes());
        key.part("network", format!("{:?}", op.network).as_bytes());
        key.list("hosts", &self.options.extra_hosts);
        key.part("hostname", self.options.hostname.as_deref().unwrap_or_default().as_bytes());
        let mut work = RunWork { op, selected: Vec::new(), sources: Vec::new() };
        for (number, mount) in op.mounts.iter().enumerate() {
            let mut selected = None;
            let mut source = None;
            let input = match &mount.source {
                PlannedSource::Bind { from: Some(index), path } => {
                    let stage = self.source(*index)?;
                    let input = format!("stage {} {path:?}", stage.id.0);
                    source = Some(stage);
                    input
                }
                PlannedSource::Bind { from: None, path } => {
                    let files = self.context()?;
                    let path = if path.is_empty() { "/" } else { path };
                    let mut found = select::select(&files, &escape(path), How::default())?;
                    select::hash(&mut found, &self.cancel)?;
                    let input = format!("context {}", select::digest(&found));
                    selected = Some(found);
                    input
                }
                PlannedSource::Script { name, text } => format!("script {name} {text}"),
                PlannedSource::Cache { id, sharing, .. } => format!("cache {id:?} {sharing:?}"),
                PlannedSource::Tmpfs { size } => format!("tmpfs {size:?}"),
            };
            let text = format!("{} {} {input}", mount.target, mount.read_only);
            key.part(format!("mount {number}"), text.as_bytes());
            work.selected.push(selected);
            work.sources.push(source);
        }
        Ok(Prepared { key, work: Work::Run(work) })
    }

    pub(super) fn make_run(
        &self,
        state: &StageResult,
        step: &PlannedStep,
        work: &mut RunWork<'_>,
    ) -> Result<Option<LayerInfo>, OpError> {
        let op = work.op;
        let mut mounts = Vec::new();
        // Held until the command is done.
        let mut locks = Vec::new();
        for (number, mount) in op.mounts.iter().enumerate() {
            let source = self.mount(mount, work, number, &mut locks)?;
            mounts.push(RunMount { target: mount.target.clone(), source, read_only: mount.read_only });
        }
        let scratch = Scratch::new(self.store.scratch()?)?;
        let (upper, work_dir) = (scratch.0.join("upper"), scratch.0.join("work"));
        let name = format!("{} {}/{}", step.info.stage, step.info.index, step.info.count);
        let env = [op.env.as_slice(), op.hidden_env.as_slice()].concat();
        let run = RunStep {
            name: &name,
            layers: &state.layers,
            args: &op.args,
            env: &env,
            cwd: &op.cwd,
            user: &op.user,
            network: op.network,
            mounts: &mounts,
            extra_hosts: &self.options.extra_hosts,
            hostname: self.options.hostname.as_deref(),
            shm_size: self.options.shm_size,
            upper: &upper,
            work: &work_dir,
            cancel: &self.cancel,
        };
        let mut emit = |stream, line| (self.events)(Event::Output { step: step.info.id, stream, line });
        let mut lines = Lines::new(&mut emit);
        let ended = self.executor.run(&run, &mut |stream, bytes| lines.write(stream, bytes));
        let output = lines.finish();
        if self.cancel.is_cancelled() {
            return Err(OpError::Cancelled);
        }
        let failed = match ended {
            Ok(result) if result.exit_code == 0 => None,
            Ok(result) => Some(OpError::Exit(result.exit_code)),
            Err(source) => Some(OpError::Port { action: "run the command".to_owned(), source }),
        };
        if let Some(source) = failed {
            return Err(OpError::Logged { source: Box::new(source), output });
        }
        let upper = fs::File::open(&upper).map_err(|error| OpError::io("open the changes of the command", error))?;
        let made = self.store.layers().from_upper(upper.as_fd(), &DiffOptions { clamp_mtime: self.epoch })?;
        scratch.remove()?;
        Ok(made)
    }

    /// Makes what is mounted ready.
    fn mount(
        &self,
        mount: &PlannedMount,
        work: &mut RunWork<'_>,
        number: usize,
        locks: &mut Vec<LockFile>,
    ) -> Result<RunMountSource, OpError> {
        Ok(match &mount.source {
            PlannedSource::Bind { from: Some(index), path } => {
                let source = work.sources[number].take().ok_or(OpError::Cancelled)?;
                let files = self.stage_files(&source, *index)?;
                let found = files::resolve(files.as_ref(), path.as_bytes())?;
                let (path, _) = found.ok_or_else(|| {
                    OpError::Message(format!("the source {path} of the mount does not exist in {}", files.name()))
                })?;
                let path = String::from_utf8_lossy(path.as_bytes()).into_owned();
                RunMountSource::Layers { layers: source.layers.clone(), path }
            }
            PlannedSource::Bind { from: None, .. } => {
                let selected = work.selected[number].take().unwrap_or_default();
                let name = selected.first().filter(|found| !found.root.node.is_directory()).map(|found| &found.name);
                let path = match name {
                    Some(name) => format!("{MOUNTED}/{}", String::from_utf8_lossy(name)),
                    None => MOUNTED.to_owned(),
                };
                let layers = self.mounted_layer(None, |draft| {
                    selected.iter().try_for_each(|found| draft.copy(found, &format!("/{MOUNTED}/")))
                })?;
                RunMountSource::Layers { layers, path }
            }
            PlannedSource::Script { name, text } => {
                let fill =
                    |draft: &mut Draft<'_>| draft.write(name, text.clone().into_bytes(), &format!("/{MOUNTED}/"));
                // It is the program of the step, whoever runs it.
                let executable = Chmod::parse("0755").map_err(OpError::Message)?;
                RunMountSource::Layers { layers: self.mounted_layer(Some(executable), fill)?, path: MOUNTED.to_owned() }
            }
            PlannedSource::Cache { id, sharing, mode, uid, gid } => {
                let path = self.cache_mount(id, *sharing, locks)?;
                prepare_cache(&path, *mode, *uid, *gid)
                    .map_err(|error| OpError::io(format!("prepare the cache mount {id}"), error))?;
                RunMountSource::Cache { path }
            }
            PlannedSource::Tmpfs { size } => RunMountSource::Tmpfs { size: *size },
        })
    }

    /// A layer of its own that is only mounted; its files keep their modes unless `chmod` says otherwise.
    fn mounted_layer(
        &self,
        chmod: Option<Chmod>,
        fill: impl FnOnce(&mut Draft<'_>) -> Result<(), OpError>,
    ) -> Result<Vec<DiffId>, OpError> {
        let empty = self.tree(&[], "an empty image")?;
        let mut draft = Draft::new(empty.as_ref(), Attributes { chmod, time: self.time(), ..Attributes::default() });
        draft.make_directory(&format!("/{MOUNTED}"))?;
        fill(&mut draft)?;
        Ok(layer::write(self.store, draft, &self.cancel)?.into_iter().map(|info| info.diff_id).collect())
    }

    /// The directory of a cache mount, locked as `sharing` asks.
    fn cache_mount(&self, id: &str, sharing: Sharing, locks: &mut Vec<LockFile>) -> Result<PathBuf, OpError> {
        let cache = self.store.cache();
        let mut own = id.to_owned();
        match sharing {
            Sharing::Shared => {}
            Sharing::Locked => {
                let path = cache.mount_lock(id);
                let deadline = Instant::now() + CACHE_PATIENCE;
                loop {
                    if self.cancel.is_cancelled() {
                        return Err(OpError::Cancelled);
                    }
                    if let Some(lock) = LockFile::try_acquire(&path, LockMode::Exclusive)? {
                        locks.push(lock);
                        break;
                    }
                    if Instant::now() > deadline {
                        return Err(OpError::Message(format!("the cache mount {id} is still in use after six hours")));
                    }
                    std::thread::sleep(TICK);
                }
            }
            Sharing::Private => {
                let name = |number: usize| if number == 0 { id.to_owned() } else { format!("{id} private {number}") };
                let free = (0..PRIVATE_MAX).map(name).find_map(|name| {
                    let lock = LockFile::try_acquire(&cache.mount_lock(&name), LockMode::Exclusive).transpose()?;
                    Some(lock.map(|lock| (name, lock)))
                });
                let Some(found) = free else {
                    return Err(OpError::Message(format!("the cache mount {id} is in use {PRIVATE_MAX} times over")));
                };
                let (name, lock) = found?;
                locks.push(lock);
                own = name;
            }
        }
        let used = cache.use_mount(&own)?;
        locks.push(used.lock);
        Ok(used.path)
    }
}

/// A path as a source pattern that means nothing but it.
fn escape(path: &str) -> String {
    let mut out = String::new();
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Gives a cache directory that nobody has used yet its mode and owner.
fn prepare_cache(path: &Path, mode: Option<u32>, uid: Option<u32>, gid: Option<u32>) -> std::io::Result<()> {
    if fs::read_dir(path)?.next().is_some() {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode.unwrap_or(0o755)))?;
    if uid.is_some() || gid.is_some() {
        chown(path, uid, gid)?;
    }
    Ok(())
}

/// The scratch directory of one command, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    /// With the empty directories `upper` and `work`. `upper` gives the root directory of the command its mode.
    fn new(path: PathBuf) -> Result<Self, OpError> {
        let scratch = Self(path);
        for name in ["upper", "work"] {
            let path = scratch.0.join(name);
            fs::create_dir(&path)
                .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
                .map_err(|error| OpError::io(format!("create {}", path.display()), error))?;
        }
        Ok(scratch)
    }

    fn remove(&self) -> Result<(), OpError> {
        fs::remove_dir_all(&self.0).map_err(|error| OpError::io(format!("remove {}", self.0.display()), error))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // After a failure that failure is what to report; what stays is swept with the owner's directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}
