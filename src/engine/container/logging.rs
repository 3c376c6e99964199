//! Where a container's output is kept: `--log-driver` and `--log-opt`, and the defaults of the configuration.
//!
//! `json-file`, `local` and Podman's `k8s-file` are files beside the container's record, bounded whether asked or not; `journald` and
//! `syslog` are the host's services, and cannot be read back here; with `passthrough` the program has our own standard input
//! and outputs, and nobody sees what passes; `none` keeps nothing.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use runner::log::{Form, LineForm, LogConfig, Service};
use runner::spec::parse;

use super::create::usage;
use super::options::Options;
use crate::engine::Engine;
use crate::error::{CommandError, Result};

/// The journal's socket for its native protocol (sd_journal_print(3)).
const JOURNAL: &str = "/run/systemd/journal/socket";

/// The socket of a local syslog service (syslog(3)).
const SYSLOG: &str = "/dev/log";

/// Syslog's names of facilities, by number (RFC 5424, 6.2.1).
const FACILITIES: [&str; 24] = [
    "kern",
    "user",
    "mail",
    "daemon",
    "auth",
    "syslog",
    "lpr",
    "news",
    "uucp",
    "cron",
    "authpriv",
    "ftp",
    "ntp",
    "security",
    "console",
    "solaris-cron",
    "local0",
    "local1",
    "local2",
    "local3",
    "local4",
    "local5",
    "local6",
    "local7",
];

/// A kind of log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Driver {
    Files,
    Nothing,
    Passthrough,
    Journal,
    Syslog,
}

/// What was chosen, checked.
#[derive(Clone, Debug)]
pub(super) struct Logging {
    /// Its name as it was given.
    pub name: String,
    /// Its options as they were given.
    pub options: BTreeMap<String, String>,
    driver: Driver,
    max_size: Option<u64>,
    max_files: Option<u32>,
    compress: Option<bool>,
    facility: u8,
    socket: Option<PathBuf>,
}

impl Logging {
    /// Files at `path`, if the output is kept in files.
    pub fn files(&self, path: PathBuf) -> Option<LogConfig> {
        let mut config = LogConfig::new(path);
        match self.name.as_str() {
            // Docker's defaults of this driver.
            "local" => (config.max_size, config.max_files, config.compress) = (20 << 20, 5, true),
            "k8s-file" => config.form = LineForm::Kubernetes,
            _ => {}
        }
        config.max_size = self.max_size.unwrap_or(config.max_size);
        config.max_files = self.max_files.unwrap_or(config.max_files);
        config.compress = self.compress.unwrap_or(config.compress);
        (self.driver == Driver::Files).then_some(config)
    }

    /// Whether the program has our own standard input and outputs.
    pub fn passes_through(&self) -> bool {
        self.driver == Driver::Passthrough
    }

    /// As [`Logging::passes_through`], when the container is about to be started.
    ///
    /// # Errors
    /// There is a terminal among them: a program that has the user's own could type into it.
    pub fn passthrough(&self) -> Result<bool> {
        let terminal = io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal();
        if self.passes_through() && terminal {
            return Err(CommandError::usage("log driver passthrough cannot be used on a terminal")
                .hint("redirect standard input, output and error, or use another driver"));
        }
        Ok(self.passes_through())
    }

    /// The labels and variables that `labels=` and `env=` choose, as `key=value` joined by commas. They are the same for each
    /// line, so no line of the file repeats them.
    pub fn details(&self, labels: &BTreeMap<String, String>, env: &[String]) -> String {
        let chosen = |option: &str| self.options.get(option).map(String::as_str).unwrap_or_default().to_owned();
        let (wanted_labels, wanted_env) = (chosen("labels"), chosen("env"));
        let variables = env.iter().filter_map(|line| line.split_once('='));
        let labels = labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let found: BTreeMap<&str, &str> = labels
            .filter(|(key, _)| wanted_labels.split(',').any(|name| name == *key))
            .chain(variables.filter(|(key, _)| wanted_env.split(',').any(|name| name == *key)))
            .collect();
        found.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
    }

    /// The service of the host that gets the output, if one does.
    pub fn service(&self, id: &str, name: &str, image: &str) -> Option<Service> {
        let short: String = id.chars().take(12).collect();
        let tag = match self.options.get("tag") {
            Some(tag) => tag
                .replace("{{.ID}}", &short)
                .replace("{{.FullID}}", id)
                .replace("{{.Name}}", name)
                .replace("{{.ImageName}}", image),
            None => short.clone(),
        };
        match self.driver {
            Driver::Files | Driver::Nothing | Driver::Passthrough => None,
            Driver::Syslog => Some(Service {
                socket: self.socket.clone().unwrap_or_else(|| SYSLOG.into()),
                form: Form::Syslog { facility: self.facility, tag },
            }),
            Driver::Journal => {
                let fields = [
                    ("CONTAINER_ID", short.as_str()),
                    ("CONTAINER_ID_FULL", id),
                    ("CONTAINER_NAME", name),
                    ("CONTAINER_TAG", &tag),
                    ("IMAGE_NAME", image),
                    ("SYSLOG_IDENTIFIER", &tag),
                ];
                let fields = fields.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
                Some(Service {
                    socket: self.socket.clone().unwrap_or_else(|| JOURNAL.into()),
                    form: Form::Journal { fields },
                })
            }
        }
    }
}

/// The options that a driver takes.
fn taken(driver: Driver) -> &'static [&'static str] {
    match driver {
        Driver::Files => &["max-size", "max-file", "compress", "labels", "env"],
        Driver::Nothing | Driver::Passthrough => &[],
        Driver::Journal => &["tag"],
        Driver::Syslog => &["tag", "syslog-address", "syslog-facility"],
    }
}

/// What a driver of docker's name is here.
fn driver(name: &str) -> Result<Driver> {
    Ok(match name {
        "json-file" | "local" | "k8s-file" => Driver::Files,
        "passthrough" => Driver::Passthrough,
        "none" => Driver::Nothing,
        "journald" => Driver::Journal,
        "syslog" => Driver::Syslog,
        _ => {
            return Err(CommandError::usage(format!("there is no log driver {name:?}"))
                .hint("there are: json-file, local, k8s-file, journald, syslog, passthrough, none"));
        }
    })
}

impl Engine {
    /// What the flags, then the configuration, say of a container's log.
    ///
    /// # Errors
    /// A driver or an option that there is not.
    pub(super) fn logging(&self, asked: &Options) -> Result<Logging> {
        let settings = &self.settings.log;
        let name = asked.logging.driver.as_deref().or(settings.driver.as_deref()).unwrap_or("json-file");
        let driver = driver(name)?;
        // The configuration's options are those of its own driver.
        let own = settings.driver.as_deref().unwrap_or("json-file") == name;
        let mut options = if own { settings.options.clone() } else { BTreeMap::new() };
        for text in &asked.logging.options {
            let Some((key, value)) = text.split_once('=').filter(|(key, _)| !key.is_empty()) else {
                return Err(CommandError::usage(format!("--log-opt {text:?} is not KEY=VALUE")));
            };
            options.insert(key.to_owned(), value.to_owned());
        }
        if let Some(key) = options.keys().find(|key| !taken(driver).contains(&key.as_str())) {
            let error = CommandError::usage(format!("log driver {name} has no option {key:?}"));
            let taken = taken(driver).join(", ");
            return Err(if taken.is_empty() { error } else { error.hint(format!("it takes: {taken}")) });
        }
        let bad = |key: &str, value: &str| CommandError::usage(format!("--log-opt {key}={value}: not understood"));
        let max_size = options
            .get("max-size")
            .filter(|text| *text != "-1")
            .map(|text| parse::size("size of a log file", text).map_err(usage))
            .transpose()?;
        let max_files = match options.get("max-file") {
            Some(text) => Some(text.parse::<u32>().ok().filter(|n| *n > 0).ok_or_else(|| bad("max-file", text))?),
            None => None,
        };
        let compress = match options.get("compress").map(String::as_str) {
            None => None,
            Some(text) => Some(text.parse::<bool>().map_err(|_| bad("compress", text))?),
        };
        if compress == Some(true) && max_files == Some(1) {
            return Err(CommandError::usage("--log-opt compress=true and max-file=1 contradict each other")
                .hint("only files that are full are compressed, and there would be none"));
        }
        let facility = match options.get("syslog-facility") {
            None => 3,
            Some(text) => FACILITIES
                .iter()
                .position(|name| name == text)
                .or_else(|| text.parse().ok().filter(|number| *number < FACILITIES.len()))
                .and_then(|number| u8::try_from(number).ok())
                .ok_or_else(|| bad("syslog-facility", text))?,
        };
        let socket = match options.get("syslog-address") {
            None => None,
            Some(text) => {
                let path = text.strip_prefix("unixgram://").or_else(|| text.strip_prefix("unix://"));
                Some(PathBuf::from(path.filter(|path| path.starts_with('/')).ok_or_else(|| {
                    bad("syslog-address", text)
                        .hint("it is unixgram:///PATH: other machines are the local service's business")
                })?))
            }
        };
        Ok(Logging { name: name.to_owned(), options, driver, max_size, max_files, compress, facility, socket })
    }

    /// Whether the log that is asked for can be written here, before a container is made.
    pub(super) fn check_logging(&self, asked: &Options) -> Result<()> {
        let logging = self.logging(asked)?;
        if logging.passes_through() && asked.tty {
            return Err(CommandError::usage("log driver passthrough and -t contradict each other")
                .hint("with a terminal of its own the program has none of our descriptors"));
        }
        let Some(service) = logging.service("", "", "") else { return Ok(()) };
        service.check().map_err(|error| {
            CommandError::from(error)
                .prefixed(&format!("--log-driver {}", logging.name))
                .hint("the service does not run on this machine; json-file, k8s-file and local need none")
        })
    }
}
