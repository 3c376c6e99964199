//! The flags that `run` and `create` share, and how they become the engine's options.

pub mod attach;
pub mod budget;
pub mod environment;
mod ids;
mod inside;
pub mod limits;
mod logging;
mod network;
mod place;
pub mod preserve;
mod refused;
pub mod registry;
mod storage;
mod supervision;
mod system;
pub mod timing;

use clap::Args;

use crate::config::Context;
use crate::engine::container::options::Options;
use crate::error::{CommandError, Result};
use environment::EnvironmentFlags;
use ids::IdFlags;
use inside::InsideFlags;
use limits::LimitFlags;
use network::NetworkFlags;
use place::PlaceFlags;
use refused::RefusedFlags;
use system::SystemFlags;

/// Flags that say what the container is.
#[derive(Args)]
pub struct ContainerFlags {
    /// Keep standard input open
    #[arg(long, short)]
    interactive: bool,
    /// Give the program a terminal
    #[arg(long, short)]
    tty: bool,
    /// Remove the container when it has ended
    #[arg(long = "rm")]
    remove: bool,
    /// Name of the container
    #[arg(long, short = 'n')]
    name: Option<String>,
    /// Whether to pull the image: missing, always, newer, never
    #[arg(long, value_name = "POLICY", default_value = "missing",
          value_parser = ["missing", "always", "never", "newer"], hide_possible_values = true)]
    pull: String,
    /// Take this platform of a multi-platform image
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Do not show the progress of a pull
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    environment: EnvironmentFlags,
    #[command(flatten)]
    inside: InsideFlags,
    /// Mount a directory or file of the host: HOST:CONTAINER[:ro], or a volume: NAME:CONTAINER
    #[arg(long, short, value_name = "SPEC")]
    volume: Vec<String>,
    /// Mount by key and value: type=bind|volume|tmpfs,source=…,target=…[,readonly]
    #[arg(long, value_name = "SPEC")]
    mount: Vec<String>,
    /// Mount a file system in memory: PATH[:OPTIONS]
    #[arg(long, value_name = "SPEC")]
    tmpfs: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,
    #[command(flatten)]
    storage: storage::StorageFlags,
    /// Directory the program starts in
    #[arg(long, short, value_name = "PATH")]
    workdir: Option<String>,
    /// User, and group, the program runs as: NAME|UID[:GROUP|GID]
    #[arg(long, short, value_name = "USER")]
    user: Option<String>,
    /// Further groups of the program
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Program to run instead of the image's; empty for none
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// Host name inside
    #[arg(long, short = 'h')]
    hostname: Option<String>,
    #[command(flatten)]
    network: NetworkFlags,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    place: PlaceFlags,
    #[command(flatten)]
    system: SystemFlags,
    #[command(flatten)]
    ids: IdFlags,
    #[command(flatten)]
    refused: RefusedFlags,
    /// Add a capability
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Drop a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// no-new-privileges, seccomp=unconfined|FILE, systempaths=unconfined, mask=PATH, unmask=PATH
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// Give it a device of the host: HOST[:CONTAINER][:rwm]
    #[arg(long, value_name = "DEVICE")]
    device: Vec<String>,
    /// Set a kernel parameter of its namespaces
    #[arg(long, value_name = "NAME=VALUE")]
    sysctl: Vec<String>,
    /// Limit of a resource: NAME=SOFT[:HARD]
    #[arg(long, value_name = "LIMIT")]
    ulimit: Vec<String>,
    /// Make the root file system read-only
    #[arg(long)]
    read_only: bool,
    /// All capabilities, all devices, no seccomp, nothing masked
    #[arg(long)]
    privileged: bool,
    /// Run a small init inside that reaps and passes signals on
    #[arg(long)]
    init: bool,
    /// Signal that ends it
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Seconds between the stop signal and SIGKILL
    #[arg(long, value_name = "SECONDS")]
    stop_timeout: Option<u64>,
    #[command(flatten)]
    supervision: supervision::SupervisionFlags,
    #[command(flatten)]
    logging: logging::LoggingFlags,
    /// Keys that detach a terminal from it
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Label it
    #[arg(long, short, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Read labels from a file, a line each
    #[arg(long, value_name = "FILE")]
    label_file: Vec<String>,
    /// Remove the container that has the name
    #[arg(long)]
    replace: bool,
    /// Run this directory instead of an image; with :O behind it, a throw-away copy
    #[arg(long, value_name = "DIR[:O]")]
    rootfs: Option<String>,
    /// Print help; -h is the host name, as in docker
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// The image, then the program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "IMAGE [COMMAND]")]
    words: Vec<String>,
}

impl ContainerFlags {
    /// Whether the progress of a pull is not wanted.
    pub fn quiet(&self) -> bool {
        self.quiet
    }

    /// The engine's options: variables are filled in, the words split into image and command.
    ///
    /// # Errors
    /// A file of variables that cannot be read.
    pub fn options(self, context: &Context) -> Result<Options> {
        self.refused.check()?;
        let (env, environment) = self.environment.environment(context)?;
        let system = self.system.system();
        let mut network = self.network.networking();
        let place = self.place.place(&mut network.networks)?;
        let mut words = self.words.into_iter();
        let image = if self.rootfs.is_some() { String::new() } else { words.next().unwrap_or_default() };
        // Whatever follows the image is the program's, so a flag that nobody knows is found where the image should be.
        if image.starts_with('-') {
            return Err(CommandError::usage(format!("there is no flag {image}")).hint("--help lists the flags"));
        }
        Ok(Options {
            incomplete: None,
            run_by: None,
            name: self.name,
            // A system has a console, which somebody may come to later.
            interactive: self.interactive || system.system,
            tty: self.tty || system.system,
            remove: self.remove,
            pull: Some(self.pull),
            platform: self.platform,
            env,
            environment,
            inside: self.inside.inside(),
            replace: self.replace,
            volumes: self.volume,
            mounts: self.mount,
            tmpfs: self.tmpfs,
            shm_size: self.shm_size,
            storage: self.storage.options()?,
            workdir: self.workdir,
            user: self.user,
            groups: self.group_add,
            entrypoint: self.entrypoint,
            hostname: self.hostname,
            network,
            limits: self.limits.limits(),
            place,
            ids: self.ids.ids(),
            system,
            cap_add: self.cap_add,
            cap_drop: self.cap_drop,
            security: self.security_opt,
            devices: self.device,
            sysctls: self.sysctl,
            ulimits: self.ulimit,
            read_only: self.read_only,
            privileged: self.privileged,
            init: self.init,
            stop_signal: self.stop_signal,
            stop_timeout: self.stop_timeout,
            supervision: self.supervision.options(),
            logging: self.logging.options(),
            detach_keys: self.detach_keys,
            labels: environment::labels(&self.label_file, self.label)?,
            rootfs: self.rootfs,
            image,
            invocation: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
            command: words.collect(),
        })
    }
}
