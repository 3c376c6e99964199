//! Commands of RUN: each in a container of its own over the layers so far, its changes left in the upper directory the
//! builder named. The same sandbox as `img run`, by the same code.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use builder::buildfile::NetworkMode;
use builder::{Executor, PortError, RunMount, RunMountSource, RunResult, RunStep, Stream};
use runner::network::{Config as NetworkConfig, Mode};
use runner::spec::parse::{self, MountKind, MountRequest, Ulimit};
use runner::spec::{NamespaceMode, Options as SpecOptions, SharedMemory, build};
use runner::{Container, HostsFile, MountedFile, MountedLayers, Rootfs, run_in};

use super::BuildWatcher;
use super::agent::Forward;
use super::failed::open_shell;
use crate::engine::Engine;
use crate::engine::container::create::usage;
use crate::engine::container::files::{EtcFiles, Names};
use crate::engine::container::options::Options;
use crate::engine::layers::to_runner;
use crate::error::{Cause, CommandError, Result};

/// Wishes about RUN steps that decide nothing about their result, so that no cache key has them.
#[derive(Clone, Debug, Default)]
pub struct StepOptions {
    /// `--ulimit`
    pub ulimits: Vec<String>,
    /// `--cgroup-parent`
    pub cgroup_parent: Option<String>,
    /// `--debug-on-error`
    pub debug: bool,
    /// Whoever builds sits at a terminal.
    pub on_terminal: bool,
}

/// Fills the builder's port.
pub struct RunExecutor<'a> {
    engine: &'a Engine,
    watcher: &'a dyn BuildWatcher,
    cgroup_parent: Option<String>,
    ulimits: Vec<Ulimit>,
    debug: bool,
    on_terminal: bool,
}

impl<'a> RunExecutor<'a> {
    /// Runs commands on the layers of `engine`'s store.
    ///
    /// # Errors
    /// Limits that make no sense.
    pub fn new(engine: &'a Engine, watcher: &'a dyn BuildWatcher, options: &StepOptions) -> Result<Self> {
        let ulimits = options.ulimits.iter().map(|text| parse::ulimit(text)).collect::<runner::spec::Result<Vec<_>>>();
        let ulimits = ulimits.map_err(usage)?.into_iter().flatten().collect();
        Ok(Self {
            engine,
            watcher,
            ulimits,
            cgroup_parent: options.cgroup_parent.clone(),
            debug: options.debug,
            on_terminal: options.on_terminal,
        })
    }

    fn run_step(&self, step: &RunStep<'_>, output: &mut dyn FnMut(Stream, &[u8])) -> Result<RunResult> {
        let id = format!("{}{}", super::STEP_PREFIX, &self.engine.store().containers().new_id()?[..24]);
        let state_dir = self.engine.state_dir(&id);
        let mut options = Options::default();
        options.network.add_host = step.extra_hosts.to_vec();
        options.hostname = Some(step.hostname.unwrap_or("buildkitsandbox").to_owned());
        let names = if step.network == NetworkMode::Host { Names::Host } else { Names::Copied };
        let etc = EtcFiles::parse(&options, &id, names)?;
        let _state = StateDir(&state_dir);
        let mut mounts = etc.write(&state_dir)?;
        let mut beside = Beside::default();
        for mount in step.mounts {
            mounts.push(self.mount(mount, &state_dir, &mut beside)?);
        }
        let network = match step.network {
            NetworkMode::None => Mode::None,
            NetworkMode::Host => Mode::Host,
            NetworkMode::Default => Mode::bridge(self.engine.plain_bridge()?),
        };
        let mut spec = SpecOptions {
            id: id.clone(),
            args: step.args.to_vec(),
            env: step.env.to_vec(),
            cwd: step.cwd.to_owned(),
            user: step.user.to_owned(),
            hostname: etc.hostname.clone(),
            mounts,
            ulimits: self.ulimits.clone(),
            privileged: step.insecure,
            ..SpecOptions::default()
        };
        if let Some(size) = step.shm_size {
            spec.shared_memory = SharedMemory::Size(size);
        }
        if matches!(network, Mode::Host) {
            spec.namespaces.network = NamespaceMode::Host;
        }
        let rw = step.upper.parent().unwrap_or(Path::new("/"));
        let snapshot = self.engine.snapshot(step.layers, rw)?;
        if snapshot.upper != step.upper || snapshot.work != step.work {
            return Err(CommandError::new("the builder's directories are not `upper` and `work` of one directory"));
        }
        let container = Container {
            id: id.clone(),
            run_dir: self.engine.runroot.clone(),
            hosts: Some(HostsFile { path: state_dir.join("hosts"), hostname: etc.hostname.clone(), extra: etc.extra }),
            state_dir: state_dir.clone(),
            rootfs: Rootfs::Overlay {
                lowers: to_runner(snapshot.layers),
                upper: snapshot.upper,
                work: snapshot.work,
                volatile: true,
            },
            spec: build(&spec)?,
            network: Some(NetworkConfig::new(&id, network)),
            init: false,
            log: None,
            create_cwd: true,
            layer_mounts: beside.layers,
            file_mounts: beside.files,
            cgroup_parent: self.cgroup_parent.clone(),
            stop_signal: 15,
            supervision: runner::Supervision::default(),
            lenders: Vec::new(),
            passed_on: Vec::new(),
        };
        let cancelled = AtomicBool::new(false);
        let done = AtomicBool::new(false);
        let exit = std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    cancelled.store(step.cancel.is_cancelled(), Ordering::Relaxed);
                    std::thread::park_timeout(std::time::Duration::from_millis(50));
                }
            });
            let mut pass = |stream: runner::log::Stream, bytes: &[u8]| {
                let stream = match stream {
                    runner::log::Stream::Stdout => Stream::Stdout,
                    runner::log::Stream::Stderr => Stream::Stderr,
                };
                output(stream, bytes);
            };
            let exit = run_in(&container, &mut pass, &cancelled);
            done.store(true, Ordering::Relaxed);
            // Else the step would end only when the watch looks up again.
            watch.thread().unpark();
            exit
        })?;
        let exit_code = exit.code.unwrap_or(125);
        if exit_code == 127
            && let Some(text) = runner::diagnosis::after_run(&container)?
        {
            output(Stream::Stderr, format!("{text}\n").as_bytes());
        }
        if self.debug && exit_code != 0 && !step.cancel.is_cancelled() {
            open_shell(step, exit_code, self.on_terminal, self.watcher, &|args| {
                let env = spec.env.iter().cloned().chain(["TERM=xterm".to_owned()]).collect();
                let spec = build(&SpecOptions { args: args.to_vec(), env, terminal: true, ..spec.clone() })?;
                Ok(Container { spec, ..container.clone() })
            })?;
        }
        Ok(RunResult { exit_code })
    }

    /// A mount of the step, as the spec takes it; what the spec names only by its number goes into `beside`.
    fn mount(&self, mount: &RunMount, state_dir: &Path, beside: &mut Beside) -> Result<MountRequest> {
        let mut request = match &mount.source {
            RunMountSource::Cache { path } => MountRequest::new(MountKind::Bind, path.to_str(), &mount.target),
            RunMountSource::Tmpfs { size } => {
                let mut request = MountRequest::new(MountKind::Tmpfs, None, &mount.target);
                request.tmpfs_size = *size;
                request
            }
            RunMountSource::Layers { layers: shown, path } => {
                let lowers = to_runner(self.engine.view(shown)?);
                beside.layers.push(MountedLayers { lowers, path: path.into(), writable: !mount.read_only });
                let number = (beside.layers.len() - 1).to_string();
                MountRequest::new(MountKind::Layers, Some(&number), &mount.target)
            }
            RunMountSource::Secret { contents, mode, uid, gid } => {
                let contents = std::sync::Arc::clone(contents.bytes());
                beside.files.push(MountedFile { contents, mode: *mode, uid: *uid, gid: *gid });
                let number = (beside.files.len() - 1).to_string();
                MountRequest::new(MountKind::File, Some(&number), &mount.target)
            }
            RunMountSource::Agent { socket, mode, uid, gid } => {
                let name = format!("ssh_agent.{}", beside.agents.len());
                let forward = Forward::open(state_dir, &name, socket, *mode, (*uid, *gid))?;
                let request = MountRequest::new(MountKind::Bind, forward.path().to_str(), &mount.target);
                beside.agents.push(forward);
                request
            }
        };
        request.read_only = mount.read_only;
        Ok(request)
    }
}

/// What mounts of a step need beside the spec.
#[derive(Default)]
struct Beside {
    layers: Vec<MountedLayers>,
    files: Vec<MountedFile>,
    /// Open as long as the step runs.
    agents: Vec<Forward>,
}

/// The state directory of a step, removed when the step is over.
struct StateDir<'a>(&'a Path);

impl Drop for StateDir<'_> {
    fn drop(&mut self) {
        // What cannot be removed now has a record, by which the next command finds it.
        let _ = runner::delete(self.0, false);
    }
}

impl Executor for RunExecutor<'_> {
    fn run(
        &self,
        step: &RunStep<'_>,
        output: &mut dyn FnMut(Stream, &[u8]),
    ) -> std::result::Result<RunResult, PortError> {
        self.run_step(step, output).map_err(|error| Box::new(Cause(error)) as PortError)
    }
}
