//! The only reader of the environment, of HOME and of configuration files. Everything else gets what it needs from the
//! [`Context`] made here once.
//!
//! The configuration file is TOML: `--config`, else `IMG_CONFIG`, else `/etc/img/config.toml` if it is there
//! (docs/configuration.md lists every key). A flag wins over the environment, the environment over the file.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::commands::Globals;
use crate::engine::Engine;
use crate::engine::originals::KeepCompressed;
use crate::engine::registries::SystemFiles;
use crate::error::{CommandError, Kind, Result};

/// Largest configuration file read, bytes.
const FILE_MAX: u64 = 1 << 20;

/// Where images, layers and containers are kept unless said otherwise.
const ROOT: &str = "/var/lib/img";

/// Where the state of running containers is kept unless said otherwise.
const RUNROOT: &str = "/run/img";

/// The configuration file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct File {
    /// Where images, layers and containers are kept.
    pub root: Option<PathBuf>,
    /// Where the state of running containers is kept.
    pub runroot: Option<PathBuf>,
    /// The registry of names without one; docker.io unless said otherwise.
    pub unqualified_registry: Option<String>,
    /// `erofs` or `dir`; the best one that works here unless said otherwise.
    pub storage_driver: Option<String>,
    /// Whether compressed layers stay beside the layers: `auto`, `always` or `never`.
    pub keep_compressed: KeepCompressed,
    /// Short names and what they stand for.
    pub aliases: BTreeMap<String, String>,
    /// Whether the files of other tools about registries count; they do unless said otherwise.
    pub system_registries: Option<bool>,
    /// The bridge network.
    pub network: Network,
    /// Where `login` keeps credentials that no helper is configured for: `keyring` or `file`.
    pub credential_store: CredentialStore,
    /// Patience with registries.
    pub transfers: Transfers,
    /// The output of containers.
    pub log: Log,
    /// Builds.
    pub build: Build,
    /// By registry host.
    pub registries: BTreeMap<String, Registry>,
}

/// Where `login` keeps credentials.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialStore {
    /// In the kernel's keyring of the user, if there is one.
    #[default]
    Keyring,
    /// In docker's config.json.
    File,
}

/// `[network]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Network {
    /// Name of the default bridge.
    pub bridge: Option<String>,
    /// Its addresses, as `10.89.0.0/16`.
    pub subnet: Option<String>,
}

/// `[log]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Log {
    /// As `--log-driver`.
    pub driver: Option<String>,
    /// As `--log-opt`, for that driver.
    pub options: BTreeMap<String, String>,
}

/// `[build]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Build {
    /// What the build cache is kept below while builds go on, as `20g`.
    pub cache_budget: Option<String>,
}

/// `[registries."docker.io"]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Registry {
    /// Asked before the registry itself, in this order.
    pub mirrors: Vec<Mirror>,
    /// The real place: put instead of the key.
    pub location: Option<String>,
    /// Plain HTTP, and certificates that cannot be verified, are accepted.
    pub insecure: bool,
    /// Never contacted.
    pub blocked: bool,
    /// Certificate authorities trusted for this registry, PEM.
    pub ca: Option<PathBuf>,
    /// Our certificate for this registry, PEM, and its key.
    pub client_cert: Option<PathBuf>,
    /// The key of our certificate.
    pub client_key: Option<PathBuf>,
}

/// A mirror: `http://` or `https://` and a host, perhaps a path; or a table that says more.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Mirror {
    /// The location alone.
    Location(String),
    /// With what it is asked for.
    Table(MirrorTable),
}

/// `{ location = "https://…", digest-only = true }`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MirrorTable {
    /// As the location alone.
    pub location: String,
    /// Asked for digests only, so that it cannot choose what a tag means.
    #[serde(default)]
    pub digest_only: bool,
    /// Asked for tags only.
    #[serde(default)]
    pub tag_only: bool,
}

/// `[transfers]`: docs/limits.md has the defaults.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Transfers {
    /// Downloads at one time.
    pub streams: Option<usize>,
    /// Connections for one big blob where one alone is slow.
    pub ranges: Option<usize>,
    /// How often a request is tried.
    pub tries: Option<u32>,
    /// Seconds to wait for a connection.
    pub connect_timeout: Option<u64>,
    /// Seconds to wait for the next byte.
    pub idle_timeout: Option<u64>,
    /// Bytes a second that a download must make at least; 0 for no such limit.
    pub least_rate: Option<u64>,
    /// The longest wait, in seconds, that a registry may ask for.
    pub retry_after: Option<u64>,
    /// Bytes of one request of an upload, as `16m`; else a blob goes in one.
    pub upload_chunk: Option<String>,
    /// Largest manifest or index, as `4m`.
    pub manifest_size: Option<String>,
    /// Largest image configuration, as `8m`.
    pub config_size: Option<String>,
    /// Redirects followed for one request.
    pub redirects: Option<usize>,
}

/// Everything a command knows about where it runs.
pub struct Context {
    /// The configuration file's content.
    pub file: File,
    /// Where images, layers and containers are kept.
    pub root: PathBuf,
    /// Where the state of running containers is kept.
    pub runroot: PathBuf,
    named_file: Option<PathBuf>,
    /// Shared with the engine, which reads secrets from it.
    pub environment: Arc<BTreeMap<OsString, OsString>>,
    engine: OnceCell<Engine>,
}

impl Context {
    /// Reads the environment and the configuration file.
    ///
    /// # Errors
    /// A file that was named and is not there, or cannot be understood.
    pub fn new(globals: &Globals) -> Result<Self> {
        let environment: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        let variable = |name: &str| environment.get(&OsString::from(name)).filter(|value| !value.is_empty());
        let named = globals.config.as_ref().or(variable("IMG_CONFIG"));
        let file = match named {
            Some(path) => read_file(Path::new(path), true)?,
            None => read_file(Path::new("/etc/img/config.toml"), false)?,
        };
        let place = |flag: &Option<OsString>, name: &str, file: &Option<PathBuf>, default: &str| {
            let path = flag.as_ref().or(variable(name)).map(PathBuf::from).or_else(|| file.clone());
            std::path::absolute(path.unwrap_or_else(|| default.into()))
        };
        let root = place(&globals.root, "IMG_ROOT", &file.root, ROOT)?;
        let runroot = place(&globals.runroot, "IMG_RUNROOT", &file.runroot, RUNROOT)?;
        let named_file = named.map(std::path::absolute).transpose()?;
        Ok(Self { named_file, file, root, runroot, environment: Arc::new(environment), engine: OnceCell::new() })
    }

    /// The engine over the store at [`Context::root`].
    ///
    /// # Errors
    /// An ordinary user, a store that cannot be opened.
    pub fn engine(&self) -> Result<&Engine> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine);
        }
        require_root()?;
        let engine = Engine::open(self)?;
        Ok(self.engine.get_or_init(|| engine))
    }

    /// What must stand before the command so that another process finds the same store.
    #[must_use]
    pub fn own_arguments(&self) -> Vec<String> {
        let places = [("--root", &self.root, ROOT), ("--runroot", &self.runroot, RUNROOT)];
        let other = places.into_iter().filter(|(_, path, usual)| path.as_path() != Path::new(usual));
        let words = other.flat_map(|(flag, path, _)| [flag.to_owned(), path.to_string_lossy().into_owned()]);
        let file = self.named_file.iter().flat_map(|path| ["--config".to_owned(), path.to_string_lossy().into_owned()]);
        words.chain(file).collect()
    }

    /// A variable of the environment, if it is set and UTF-8.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(&OsString::from(name)).and_then(|value| value.to_str())
    }

    /// All variables of the environment that are UTF-8.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.environment.iter().filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)))
    }

    /// A variable that proxies are named by: `http_proxy`, or in upper case. `HTTP_PROXY` counts too: img is no CGI.
    #[must_use]
    pub fn proxy(&self, name: &str) -> Option<&str> {
        self.variable(name).or_else(|| self.variable(&name.to_uppercase())).filter(|value| !value.is_empty())
    }

    /// docker's configuration directory: `DOCKER_CONFIG`, else `~/.docker`.
    #[must_use]
    pub fn docker_config(&self) -> Option<PathBuf> {
        match self.variable("DOCKER_CONFIG").filter(|path| !path.is_empty()) {
            Some(path) => Some(path.into()),
            None => self.home().map(|home| home.join(".docker")),
        }
    }

    /// podman's credentials: `REGISTRY_AUTH_FILE`, else `$XDG_RUNTIME_DIR/containers/auth.json`.
    #[must_use]
    pub fn auth_file(&self) -> Option<PathBuf> {
        let runtime = || self.variable("XDG_RUNTIME_DIR").map(|dir| Path::new(dir).join("containers/auth.json"));
        self.variable("REGISTRY_AUTH_FILE").map(PathBuf::from).or_else(runtime)
    }

    /// Where other tools keep what they know of registries: podman, docker, containerd.
    #[must_use]
    pub fn system_files(&self) -> SystemFiles {
        if self.file.system_registries == Some(false) {
            return SystemFiles::default();
        }
        let own = self.home().map(|home| home.join(".config/containers"));
        let conf = self.variable("CONTAINERS_REGISTRIES_CONF").filter(|path| !path.is_empty()).map(PathBuf::from);
        let conf = conf.or_else(|| own.as_ref().map(|own| own.join("registries.conf")).filter(|path| path.exists()));
        let system = ["/etc/containers/certs.d", "/etc/docker/certs.d", "/etc/containerd/certs.d"];
        let own = own.map(|own| own.join("certs.d"));
        SystemFiles {
            registries_conf: Some(conf.unwrap_or_else(|| "/etc/containers/registries.conf".into())),
            folders: own.into_iter().chain(system.map(PathBuf::from)).collect(),
        }
    }

    /// The user's home directory.
    #[must_use]
    pub fn home(&self) -> Option<PathBuf> {
        self.variable("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
    }

    /// The directories in which programs are looked for.
    #[must_use]
    pub fn search_path(&self) -> Vec<PathBuf> {
        self.variable("PATH").map(|path| std::env::split_paths(path).collect()).unwrap_or_default()
    }
}

/// Whether the environment allows colours (<https://no-color.org>).
#[must_use]
pub fn colours_wanted() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

/// Says that a registry makes us wait, where it is longer than a user would take for work.
pub fn waiting(event: &registry_client::Event) {
    if let registry_client::Event::Retry { what, cause, delay, rate_limited } = event
        && (*rate_limited || delay.as_secs() >= 2)
    {
        let (what, cause) = (crate::ui::Escaped(what), crate::ui::Escaped(cause));
        crate::ui::note(format_args!("waiting {} s to try {what} again: {cause}", delay.as_secs()));
    }
}

/// Fails for an ordinary user, until that is supported.
///
/// # Errors
/// Kind [`Kind::Container`], exit code 125, naming what is needed.
pub fn require_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(CommandError::new("img needs root: mounting layers, namespaces and cgroups ask for CAP_SYS_ADMIN")
        .kind(Kind::Container)
        .hint("run it with sudo; running as an ordinary user is not supported yet")
        .hint("`img doctor` says what this machine and user can do"))
}

fn read_file(path: &Path, must_exist: bool) -> Result<File> {
    let failed =
        |reason: String| CommandError::new(format!("cannot read the configuration {}: {reason}", path.display()));
    let text = match std::fs::metadata(path) {
        Ok(about) if about.len() > FILE_MAX => return Err(failed("it is larger than 1 MiB".into())),
        Ok(_) => std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => return Ok(File::default()),
        Err(error) => return Err(failed(error.to_string())),
    };
    toml::from_str(&text).map_err(|error| {
        failed(error.to_string().trim().to_owned()).hint("docs/configuration.md lists every key, with an example")
    })
}

#[cfg(test)]
mod tests {
    use super::File;

    #[test]
    fn a_whole_file_parses_and_a_typo_does_not() {
        let file: File = toml::from_str(
            "root = \"/srv/img\"\n[network]\nsubnet = \"10.99.0.0/16\"\n\
             [registries.\"docker.io\"]\nmirrors = [\"http://127.0.0.1:5000\"]\ninsecure = true\n",
        )
        .unwrap();
        assert_eq!(file.registries["docker.io"].mirrors.len(), 1);
        assert!(toml::from_str::<File>("[registries.x]\nmirors = []\n").is_err());
    }
}
