//! The engine joins the rooms: store, registry client, builder and runner. It decides policy and returns data; it never
//! draws, parses arguments or reads the environment, so that another front can use it as the command line does.

pub mod archive;
pub mod blame;
pub mod build;
pub mod changes;
pub mod check;
pub mod commit;
pub mod compare;
pub mod container;
pub mod copy;
pub mod disk_usage;
pub mod doctor;
pub mod event_filter;
pub mod events;
pub mod export;
mod flat;
pub mod form;
pub mod history;
pub mod image_prune;
pub mod images;
pub mod import;
pub mod indexes;
pub mod info;
mod layers;
pub mod lists;
mod lock;
pub mod login;
pub mod names;
pub mod networks;
pub mod originals;
pub mod processes;
pub mod progress;
pub mod prune;
pub mod prune_filter;
pub mod pull;
pub mod push;
pub mod registries;
pub mod registry;
pub mod remote;
pub mod roots;
mod stubs;
pub mod system;
pub mod transport;
pub mod tree;
pub mod volumes;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;

use store::Store;

use crate::config::Context;
use crate::error::{CommandError, Result};

/// One unit of work on one store.
pub struct Engine {
    store: Store,
    /// Where the state of running containers is.
    runroot: PathBuf,
    /// The configuration file and what the environment adds to it.
    settings: Arc<Settings>,
    /// The caller's variables, which secrets may come from.
    environment: Arc<BTreeMap<OsString, OsString>>,
    /// Locks of the volumes and networks that a container is about to be started with.
    held: std::sync::Mutex<Vec<std::fs::File>>,
}

/// What the configuration file and the environment decide for the engine.
pub struct Settings {
    /// By registry: mirrors, trust.
    pub registries: BTreeMap<String, crate::config::Registry>,
    /// What other tools say about registries.
    pub system_files: registries::SystemFiles,
    /// Short names and what they stand for.
    pub aliases: BTreeMap<String, String>,
    /// Proxies.
    pub proxy: registry_client::ProxyConfig,
    /// Directories in which credential helpers are looked for.
    pub helper_directories: Vec<PathBuf>,
    /// Where credentials are looked for.
    pub credential_files: Vec<PathBuf>,
    /// Where `login` keeps them.
    pub login_file: Option<PathBuf>,
    /// Where `login` keeps what no helper is configured for.
    pub credential_store: crate::config::CredentialStore,
    /// Certificate authorities in place of the system's.
    pub ca_bundle: Option<PathBuf>,
    /// Registry of names that have none; docker.io if unset.
    pub unqualified_registry: Option<String>,
    /// The driver that the user chose.
    pub storage_driver: Option<String>,
    /// Where the output of containers is kept unless they say otherwise.
    pub log: crate::config::Log,
    /// Whether compressed layers stay, unless a command says otherwise.
    pub keep_compressed: originals::KeepCompressed,
    /// The bridge network.
    pub network: crate::config::Network,
    /// Patience with registries.
    pub transfers: crate::config::Transfers,
    /// Who is told that a registry makes us wait.
    pub notice: Option<registry_client::Observer>,
    /// Bytes that the build cache is kept below.
    pub cache_budget: Option<u64>,
}

impl Engine {
    /// Opens the store that `context` names.
    ///
    /// # Errors
    /// A store that cannot be opened, a configuration that contradicts itself.
    pub fn open(context: &Context) -> Result<Self> {
        let settings = Arc::new(registry::settings(context)?);
        if let Some(driver) = settings.storage_driver.as_deref().filter(|driver| !["erofs", "dir"].contains(driver)) {
            return Err(CommandError::new(format!("there is no storage driver {driver:?}")).hint(
                "storage-driver in the configuration is \"erofs\" or \"dir\"; left out, the best that works here",
            ));
        }
        let memory = Some(context.runroot.join("memory"));
        let store = Store::open_at(store::Places { root: context.root.clone(), memory })?;
        let environment = Arc::clone(&context.environment);
        Ok(Self { store, runroot: context.runroot.clone(), settings, environment, held: std::sync::Mutex::default() })
    }

    /// A variable of the caller's, if it is set and UTF-8.
    fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(OsStr::new(name)).and_then(|value| value.to_str())
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }
}
