//! Whole builds with a fake image source and a fake executor, which understands a few words of its own and leaves its
//! changes in the upper directory in overlayfs form.

mod caching;
mod copying;
mod given;
mod images;
mod inputs;
mod leaks;
mod running;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use store::layer::{Entry, Kind, LayerPath, Time};
use store::{DiffId, Digest, Store};

use crate::error::BuildError;
use crate::event::{Event, Stream};
use crate::files::{Files, LayerFiles, NodeKind};
use crate::git::GitSource;
use crate::options::{BuildOptions, BuildOutput};
use crate::ports::{
    BaseImage, Executor, ImageSource, NoSharedCache, PortError, Ports, Remote, RemoteFile, RunMount, RunMountSource,
    RunResult, RunStep,
};

/// What the executor was asked to run.
#[derive(Clone, Debug)]
pub(super) struct Ran {
    pub args: Vec<String>,
    pub env: Vec<String>,
    pub cwd: String,
    pub user: String,
    pub mounts: Vec<RunMount>,
    pub network: crate::buildfile::NetworkMode,
}

/// A machine to build on.
pub(super) struct Bench {
    pub directory: tempfile::TempDir,
    pub store: Store,
    images: HashMap<String, BaseImage>,
    pub resolved: Mutex<Vec<String>>,
    pub ran: Mutex<Vec<Ran>>,
    running: AtomicUsize,
    /// Most commands that ran at the same time.
    pub most: AtomicUsize,
    pub events: Mutex<Vec<Event>>,
    /// By URL: the name the server gives, and the text.
    pub remote_files: HashMap<String, (Option<String>, String)>,
    pub checkouts: Mutex<usize>,
    pub options: BuildOptions,
}

impl Bench {
    /// A machine whose context has these files and which knows the image `base` (with `/etc/passwd`, `/bin/sh`).
    pub fn new(context: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        let path = directory.path().join("context");
        fs::create_dir(&path).unwrap();
        let mut bench = Self {
            directory,
            store,
            images: HashMap::new(),
            resolved: Mutex::default(),
            ran: Mutex::default(),
            running: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            events: Mutex::default(),
            remote_files: HashMap::new(),
            checkouts: Mutex::default(),
            options: BuildOptions { context: Some(path.into()), ..BuildOptions::default() },
        };
        for (name, text) in context {
            bench.context_file(name, text);
        }
        let files = [
            ("etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:33:44::/:/bin/sh\n"),
            ("etc/group", "root:x:0:\nstaff:x:50:\n"),
            ("bin/sh", "#!"),
        ];
        let layer = bench.layer(&files);
        let config = json!({
            "architecture": "amd64", "os": "linux", "created": "2020-01-01T00:00:00Z",
            "config": { "Env": ["PATH=/bin", "FROM_BASE=1"], "Cmd": ["sh"], "Labels": { "base": "yes" } },
            "history": [{ "created": "2020-01-01T00:00:00Z", "created_by": "base layer" }],
            "rootfs": { "type": "layers", "diff_ids": [layer] },
        });
        bench.image("base", vec![layer], &config);
        bench
    }

    pub fn context_file(&self, name: &str, text: &str) {
        let path = self.directory.path().join("context").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn image(&mut self, name: &str, layers: Vec<DiffId>, config: &Value) {
        let config = serde_json::to_vec(config).unwrap();
        self.images.insert(name.to_owned(), BaseImage { id: format!("id-of-{name}"), config, layers });
    }

    /// A layer of plain files.
    pub fn layer(&self, files: &[(&str, &str)]) -> DiffId {
        let mut entries: BTreeMap<LayerPath, (Entry, String)> = BTreeMap::new();
        let entry = |path: &LayerPath, kind, mode| Entry {
            path: path.clone(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: Time { seconds: 1_500_000_000, nanoseconds: 0 },
            xattrs: Vec::new(),
        };
        for (name, text) in files {
            let path = LayerPath::parse(name.as_bytes()).unwrap();
            let mut above = path.parent();
            while let Some(parent) = above.filter(|parent| !parent.is_root()) {
                let kind = Kind::Directory { opaque: false, implied: false };
                entries.insert(parent.clone(), (entry(&parent, kind, 0o755), String::new()));
                above = parent.parent();
            }
            let kind = Kind::file(text.len() as u64);
            entries.insert(path.clone(), (entry(&path, kind, 0o644), (*text).to_owned()));
        }
        let mut writer = self.store.layers().writer().unwrap();
        for (entry, text) in entries.values() {
            let mut data = text.as_bytes();
            let file = matches!(entry.kind, Kind::File { .. });
            writer.add(entry, file.then_some(&mut data as &mut dyn std::io::Read)).unwrap();
        }
        writer.finish().unwrap().diff_id
    }

    pub fn try_build(&mut self, buildfile: &str) -> Result<BuildOutput, BuildError> {
        self.options.buildfile = buildfile.as_bytes().to_vec();
        self.options.buildfile_name = "Buildfile".to_owned();
        self.ran.lock().unwrap().clear();
        self.events.lock().unwrap().clear();
        let ports = Ports { images: self, executor: self, remote: self, shared: &NoSharedCache };
        crate::build(&self.store, &self.options, &ports, &|event| self.events.lock().unwrap().push(event))
    }

    pub fn build(&mut self, buildfile: &str) -> BuildOutput {
        self.try_build(buildfile).unwrap_or_else(|error| panic!("{error} ({error:?})"))
    }

    pub fn fail(&mut self, buildfile: &str) -> BuildError {
        match self.try_build(buildfile) {
            Err(error) => error,
            Ok(_) => panic!("built: {buildfile}"),
        }
    }

    /// The scripts that ran, in no particular order.
    pub fn scripts(&self) -> Vec<String> {
        let mut scripts: Vec<String> =
            self.ran.lock().unwrap().iter().map(|ran| ran.args.last().unwrap().clone()).collect();
        scripts.sort();
        scripts
    }

    pub fn files(&self, output: &BuildOutput) -> LayerFiles {
        LayerFiles::new(&self.store, "the result", &output.layers).unwrap()
    }

    /// What is at `path` in the result: text of a file, `dir`, `-> target`, or nothing.
    pub fn look(&self, output: &BuildOutput, path: &str) -> String {
        let files = self.files(output);
        let path = LayerPath::parse(path.as_bytes()).unwrap();
        match files.node(&path).unwrap().map(|node| node.kind) {
            None => "nothing".to_owned(),
            Some(NodeKind::Directory) => "dir".to_owned(),
            Some(NodeKind::Symlink(target)) => format!("-> {}", String::from_utf8(target).unwrap()),
            Some(_) => {
                let mut text = String::new();
                std::io::Read::read_to_string(&mut files.open(&path).unwrap(), &mut text).unwrap();
                text
            }
        }
    }

    /// `uid:gid mode` of `path` in the result.
    pub fn attributes(&self, output: &BuildOutput, path: &str) -> String {
        let node = self.files(output).node(&LayerPath::parse(path.as_bytes()).unwrap()).unwrap().unwrap();
        format!("{}:{} {:o}", node.uid, node.gid, node.mode)
    }

    /// Files under the top layer, as a list of paths.
    pub fn top_layer(&self, output: &BuildOutput) -> Vec<String> {
        let toc = self.store.layers().toc(output.layers.last().unwrap()).unwrap();
        toc.entries().iter().filter(|entry| !entry.path.is_root()).map(|entry| entry.path.to_string()).collect()
    }

    fn mounted(&self, mount: &RunMount, name: &str) -> String {
        match &mount.source {
            RunMountSource::Cache { path } => fs::read_to_string(path.join(name)).unwrap_or_default(),
            RunMountSource::Tmpfs { .. } | RunMountSource::Agent { .. } => String::new(),
            RunMountSource::Secret { contents, .. } => String::from_utf8(contents.bytes().to_vec()).unwrap(),
            RunMountSource::Layers { layers, path } => {
                let files = LayerFiles::new(&self.store, "the mount", layers).unwrap();
                let path = format!("{path}/{name}");
                let bytes = files.read_small(path.trim_end_matches('/'), 1 << 20).unwrap();
                bytes.map(|bytes| String::from_utf8(bytes).unwrap()).unwrap_or_else(|| "nothing".to_owned())
            }
        }
    }

    /// One word of the executor's language.
    fn word(
        &self,
        step: &RunStep<'_>,
        words: &[&str],
        output: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Option<i32>, PortError> {
        let at = |path: &str| -> PathBuf { step.upper.join(path.trim_start_matches('/')) };
        let make_parent = |path: &PathBuf| fs::create_dir_all(path.parent().unwrap());
        match words {
            ["write", path, text] => {
                let path = at(path);
                make_parent(&path)?;
                fs::write(path, text)?;
            }
            ["remove", path] => {
                let path = at(path);
                make_parent(&path)?;
                let mode = rustix::fs::Mode::from_raw_mode(0o600);
                rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::CharacterDevice, mode, 0)?;
            }
            ["say", text] => output(Stream::Stdout, format!("{text}\n").as_bytes()),
            ["warn", text] => output(Stream::Stderr, format!("{text}\n").as_bytes()),
            ["exit", code] => return Ok(Some(code.parse()?)),
            ["broken"] => return Err("the executor is broken".into()),
            ["wait", milliseconds] => {
                let end = std::time::Instant::now() + std::time::Duration::from_millis(milliseconds.parse()?);
                while std::time::Instant::now() < end {
                    if step.cancel.is_cancelled() {
                        return Err("stopped".into());
                    }
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
            }
            ["together", count] => {
                // Ends only when as many commands run at once.
                let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
                while self.most.load(Ordering::SeqCst) < count.parse()? {
                    if std::time::Instant::now() > end {
                        return Err("nobody else came".into());
                    }
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
            }
            ["read", target, name, to] => {
                let mount = step.mounts.iter().find(|mount| mount.target == *target).ok_or("no such mount")?;
                let path = at(to);
                make_parent(&path)?;
                fs::write(path, self.mounted(mount, name.trim_start_matches('.')))?;
            }
            ["append", target, name, text] => {
                let mount = step.mounts.iter().find(|mount| mount.target == *target).ok_or("no such mount")?;
                let RunMountSource::Cache { path } = &mount.source else { return Err("no cache".into()) };
                fs::write(path.join(name), self.mounted(mount, name) + text)?;
            }
            [] | ["true"] => {}
            other => return Err(format!("unknown word {other:?}").into()),
        }
        Ok(None)
    }
}

impl ImageSource for Bench {
    fn resolve(&self, reference: &str, platform: Option<&str>, pull: bool) -> Result<BaseImage, PortError> {
        self.resolved.lock().unwrap().push(format!("{reference} {} {pull}", platform.unwrap_or_default()));
        self.images.get(reference).cloned().ok_or_else(|| "no such image".into())
    }
}

impl Remote for Bench {
    fn http(&self, url: &str, checksum: Option<&Digest>) -> Result<RemoteFile, PortError> {
        let (name, text) = self.remote_files.get(url).ok_or("404 Not Found")?;
        let digest = self.store.blobs().put(text.as_bytes())?;
        if checksum.is_some_and(|wanted| *wanted != digest) {
            return Err("it is something else".into());
        }
        Ok(RemoteFile { digest, size: text.len() as u64, name: name.clone(), modified: Some(1_400_000_000) })
    }

    fn git_commit(&self, source: &GitSource) -> Result<String, PortError> {
        let text = source.reference.as_deref().unwrap_or("HEAD");
        Ok(Digest::of(text.as_bytes()).hex()[..40].to_owned())
    }

    fn git_checkout(&self, source: &GitSource, commit: &str, into: &std::path::Path) -> Result<i64, PortError> {
        fs::create_dir_all(into.join("sub/deep"))?;
        fs::create_dir(into.join(".git"))?;
        fs::write(into.join(".git/HEAD"), commit)?;
        fs::write(into.join("sub/deep/file"), source.reference.as_deref().unwrap_or("HEAD"))?;
        fs::write(into.join("top"), "t")?;
        *self.checkouts.lock().unwrap() += 1;
        Ok(1_300_000_000)
    }
}

impl Executor for Bench {
    fn run(&self, step: &RunStep<'_>, output: &mut dyn FnMut(Stream, &[u8])) -> Result<RunResult, PortError> {
        assert!(fs::read_dir(step.upper)?.next().is_none() && fs::read_dir(step.work)?.next().is_none());
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        self.ran.lock().unwrap().push(Ran {
            args: step.args.to_vec(),
            env: step.env.to_vec(),
            cwd: step.cwd.to_owned(),
            user: step.user.to_owned(),
            mounts: step.mounts.to_vec(),
            network: step.network,
        });
        let script = step.args.last().unwrap().clone();
        let mut exit_code = 0;
        let mut failed = None;
        for line in script.split([';', '\n']) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match self.word(step, &words, output) {
                Ok(None) => {}
                Ok(Some(code)) => exit_code = code,
                Err(error) => failed = Some(error),
            }
            if exit_code != 0 || failed.is_some() {
                break;
            }
        }
        self.running.fetch_sub(1, Ordering::SeqCst);
        failed.map_or(Ok(RunResult { exit_code }), Err)
    }
}

pub(super) fn config(output: &BuildOutput) -> Value {
    serde_json::from_slice(&output.config).unwrap()
}
