//! Key and work of RUN: mounts are made ready, the executor runs the command in a scratch directory of the store, and
//! what it left in the upper directory becomes the layer. Files of the build context are mounted as a layer made of
//! them, so that a command sees what the key was made of, without what the ignore file hides, and cannot change it.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use store::DiffId;
use store::layer::{DiffOptions, LayerInfo};

use super::cache_mount::{Beginning, Held};
use super::lines::Lines;
use super::{Prepared, Solver, StageResult, Work};
use crate::event::Event;
use crate::files::{self, Files};
use crate::op::chmod::Chmod;
use crate::op::place::{Attributes, Draft};
use crate::op::select::{self, How, Selected};
use crate::op::{OpError, layer};
use crate::plan::{Origin, PlannedMount, PlannedSource, PlannedStage, PlannedStep, RunOp};
use crate::ports::{RunMount, RunMountSource, RunStep};

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

impl RunWork<'_> {
    /// What mount `number` selected in the context.
    pub(super) fn selected(&self, number: usize) -> Option<&[Selected]> {
        self.selected.get(number)?.as_deref()
    }
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
                PlannedSource::Bind { from: Origin::Stage(index), path } => {
                    let stage = self.source(*index)?;
                    let input = format!("stage {} {path:?}", stage.id.0);
                    source = Some(stage);
                    input
                }
                PlannedSource::Bind { from, path } => {
                    let files = self.context(from.named())?;
                    let path = if path.is_empty() { "/" } else { path };
                    let mut found = select::select(&files, &escape(path), How::default())?;
                    select::hash(&mut found, &self.cancel)?;
                    let input = format!("context {}", select::digest(&found));
                    selected = Some(found);
                    input
                }
                PlannedSource::Script { name, text } => format!("script {name} {text}"),
                PlannedSource::Cache(cache) => {
                    let (input, beginning) = self.cache_input(cache)?;
                    match beginning {
                        Some(Beginning::Stage(stage)) => source = Some(stage),
                        Some(Beginning::Files(found)) => selected = Some(found),
                        None => {}
                    }
                    input
                }
                PlannedSource::Tmpfs { size } => format!("tmpfs {size:?}"),
                // That it is wanted, and how; never what it is.
                PlannedSource::Secret(given) => format!("secret {given:?}"),
                PlannedSource::Agent(given) => format!("agent {given:?}"),
            };
            let text = format!("{} {} {input}", mount.target, mount.read_only);
            key.part(format!("mount {number}"), text.as_bytes());
            work.selected.push(selected);
            work.sources.push(source);
        }
        if !op.secrets.is_empty() {
            key.part("secret variables", format!("{:?}", op.secrets).as_bytes());
        }
        if op.insecure {
            key.part("security", b"insecure");
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
        let (mut mounts, mut mounted) = (Vec::new(), Vec::new());
        let mut held = Held::default();
        for (number, mount) in op.mounts.iter().enumerate() {
            let source = match &mount.source {
                PlannedSource::Secret(given) => self.secret_file(given)?,
                PlannedSource::Agent(given) => self.agent_socket(given)?,
                _ => Some(self.mount(mount, work, number, &mut held)?),
            };
            if let Some(source) = source {
                mounts.push(RunMount { target: mount.target.clone(), source, read_only: mount.read_only });
                mounted.push(mount);
            }
        }
        let scratch = Scratch::new(self.store.scratch()?)?;
        let (upper, work_dir) = (scratch.0.join("upper"), scratch.0.join("work"));
        let name = format!("{} {}/{}", step.info.stage, step.info.index, step.info.count);
        let given = self.given_variables(op, &mounted)?;
        // A secret takes the place of a variable of its name.
        let hidden = |entry: &&String| given.iter().any(|own| own.split('=').next() == entry.split('=').next());
        let ordinary = op.env.iter().chain(&op.hidden_env).filter(|entry| !hidden(entry));
        let env: Vec<String> = ordinary.chain(&given).cloned().collect();
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
            insecure: op.insecure,
            hostname: self.options.hostname.as_deref(),
            shm_size: self.options.shm_size,
            upper: &upper,
            work: &work_dir,
            cancel: &self.cancel,
        };
        let mut emit = |stream, line| (self.events)(Event::Output { step: step.info.id, stream, line });
        let mut lines = Lines::new(&mut emit);
        let ended = self.ports.executor.run(&run, &mut |stream, bytes| lines.write(stream, bytes));
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
        let made =
            self.store.layers().from_upper(upper.as_fd(), &DiffOptions { clamp_mtime: self.epoch, changing: false })?;
        scratch.remove()?;
        Ok(made)
    }

    /// Makes what is mounted ready.
    fn mount(
        &self,
        mount: &PlannedMount,
        work: &mut RunWork<'_>,
        number: usize,
        held: &mut Held,
    ) -> Result<RunMountSource, OpError> {
        Ok(match &mount.source {
            PlannedSource::Bind { from: Origin::Stage(index), path } => {
                let source = work.sources[number].take().ok_or(OpError::Cancelled)?;
                let files = self.stage_files(&source, *index)?;
                let found = files::resolve(files.as_ref(), path.as_bytes())?;
                let (path, _) = found.ok_or_else(|| {
                    OpError::Message(format!("the source {path} of the mount does not exist in {}", files.name()))
                })?;
                let path = String::from_utf8_lossy(path.as_bytes()).into_owned();
                RunMountSource::Layers { layers: source.layers.clone(), path }
            }
            PlannedSource::Bind { .. } => {
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
            PlannedSource::Cache(cache) => {
                let (selected, source) = (work.selected[number].take(), work.sources[number].take());
                RunMountSource::Cache { path: self.cache(cache, selected, source, held)? }
            }
            PlannedSource::Tmpfs { size } => RunMountSource::Tmpfs { size: *size },
            PlannedSource::Secret(_) | PlannedSource::Agent(_) => {
                return Err(OpError::Message(format!("{} is given from outside", mount.target)));
            }
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
}

/// A path as a source pattern that means nothing but it.
pub(super) fn escape(path: &str) -> String {
    let mut out = String::new();
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The scratch directory of one command, removed with it.
pub(crate) struct Scratch(pub(super) PathBuf);

impl Scratch {
    /// With the empty directories `upper` and `work`. `upper` gives the root directory of the command its mode.
    pub(crate) fn new(path: PathBuf) -> Result<Self, OpError> {
        let scratch = Self(path);
        for name in ["upper", "work"] {
            let path = scratch.0.join(name);
            fs::create_dir(&path)
                .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
                .map_err(|error| OpError::io(format!("create {}", path.display()), error))?;
        }
        Ok(scratch)
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn remove(&self) -> Result<(), OpError> {
        fs::remove_dir_all(&self.0).map_err(|error| OpError::io(format!("remove {}", self.0.display()), error))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // After a failure that failure is what to report; what stays is swept with the owner's directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}
