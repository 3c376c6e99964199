//! A real registry (Debian's docker-registry) on a loopback port that the kernel chose. Each is a process of ours: ended
//! by its id when dropped, and by the kernel when this test program dies before that, because its starter thread asked
//! for that and lives as long as the program.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use tempfile::TempDir;

use super::{images, tools};

/// The password that [`Registry::with_password`] wants of user `alice`.
pub const PASSWORD: &str = "secret";
// bcrypt of PASSWORD, cost 4: the only form that docker-registry reads.
const HTPASSWD: &str = "alice:$2b$04$gVm9S8pJqxmuWj1wbB3mROKo.QQQKtPAOeXVyiEPuFls7E2vuTn3G\n";

/// A running registry.
pub struct Registry {
    address: String,
    storage: PathBuf,
    /// Kept as long as it is served from. What a program shares is never dropped, so that has none.
    _dir: Option<TempDir>,
    child: Child,
}

impl Registry {
    /// The one that serves the base images to every test of this program. Nobody may push to it.
    pub fn bases() -> &'static Self {
        static BASES: OnceLock<Registry> = OnceLock::new();
        BASES.get_or_init(|| Self::start(Some(images::folder().join("registry")), ""))
    }

    /// An empty one to push to.
    pub fn fresh() -> Self {
        Self::start(None, "")
    }

    /// An empty one that lets in only `alice` with [`PASSWORD`].
    pub fn with_password() -> Self {
        Self::start(None, "auth: {htpasswd: {realm: test, path: HTPASSWD}}\n")
    }

    /// An empty one that speaks TLS with the certificate `server.crt` of `dir`, and wants one of `ca.crt` from its clients
    /// if `of_clients`.
    pub fn with_tls(dir: &Path, of_clients: bool) -> Self {
        let dir = dir.display();
        let clients = if of_clients { format!(", clientcas: [{dir}/ca.crt]") } else { String::new() };
        let tls = format!(
            "http: {{addr: \"127.0.0.1:0\", tls: {{certificate: {dir}/server.crt, key: {dir}/server.key{clients}}}}}\n"
        );
        Self::start_with(None, "", &tls)
    }

    /// An empty one that takes the tokens of the server at `realm`, signed by the key of `token.crt` in `dir`.
    pub fn with_tokens(dir: &Path, realm: &str) -> Self {
        let certificate = dir.join("token.crt");
        let auth = format!(
            "auth: {{token: {{realm: \"{realm}\", service: test, issuer: test, rootcertbundle: {}}}}}\n",
            certificate.display()
        );
        Self::start(None, &auth)
    }

    fn start(storage: Option<PathBuf>, auth: &str) -> Self {
        Self::start_with(storage, auth, "http: {addr: \"127.0.0.1:0\"}\n")
    }

    fn start_with(storage: Option<PathBuf>, auth: &str, http: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("img-registry.").tempdir().expect("a folder for the registry");
        let read_only = storage.is_some();
        let storage = storage.unwrap_or_else(|| dir.path().join("storage"));
        let htpasswd = dir.path().join("htpasswd");
        std::fs::write(&htpasswd, HTPASSWD).expect("the registry's htpasswd");
        let config = format!(
            "version: 0.1\nlog: {{level: info, accesslog: {{disabled: true}}}}\n{http}{}\
             storage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\n  maintenance:\n    \
             readonly: {{enabled: {read_only}}}\n    uploadpurging: {{enabled: false}}\n",
            auth.replace("HTPASSWD", &htpasswd.to_string_lossy()),
            storage.display(),
        );
        let file = dir.path().join("config.yml");
        std::fs::write(&file, config).expect("the registry's config");
        // setpriv: the kernel ends the registry when the starting thread is gone. The starter thread never is.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "docker-registry", "serve"]).arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let mut child = spawn_from_keeper(command);
        let log = child.stderr.take().expect("stderr is piped");
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            // Read to the end, so that the registry never waits for a full pipe.
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once("listening on ") {
                    let address: String =
                        rest.chars().take_while(|c| !c.is_whitespace() && !['"', ','].contains(c)).collect();
                    drop(sender.send(address));
                }
            }
        });
        let address = receiver.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| {
            drop(child.kill());
            panic!("docker-registry did not say what it listens on; is it installed?")
        });
        // The configuration has been read by now.
        Self { address, storage, _dir: (!read_only).then_some(dir), child }
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `127.0.0.1:port/name`.
    pub fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// Fills in a base image under a name, by skopeo. Returns the full reference.
    pub fn put(&self, base: &str, name: &str) -> String {
        let reference = self.name(name);
        let from = format!("oci:{}:latest", images::layout(base).display());
        tools::run("skopeo", ["copy", "--quiet", "--dest-tls-verify=false", &from, &format!("docker://{reference}")]);
        reference
    }

    /// Ends the process early: the registry is dead from here on.
    pub fn stop(&mut self) {
        // It may have ended by itself; waiting tells nothing more then.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// The files of all blobs, largest first: for tests that damage one behind the registry's back.
    pub fn blobs(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        collect(&self.storage.join("docker/registry/v2/blobs"), &mut found);
        found.sort_by_key(|path| std::cmp::Reverse(std::fs::metadata(path).map(|m| m.len()).unwrap_or(0)));
        found
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.file_name().is_some_and(|name| name == "data") {
            found.push(path);
        }
    }
}

/// Starts `command` from a thread that lives as long as the program: a death signal is bound to the starting thread, and
/// the harness gives each test a thread of its own.
pub fn spawn_from_keeper(command: Command) -> Child {
    type Order = (Command, mpsc::Sender<std::io::Result<Child>>);
    static KEEPER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in orders {
                drop(reply.send(command.spawn()));
            }
        });
        sender
    });
    let (reply, answer) = mpsc::channel();
    keeper.send((command, reply)).expect("the keeper never ends");
    answer.recv().expect("the keeper answers").unwrap_or_else(|error| panic!("cannot start the registry: {error}"))
}
