//! `--security-opt`: what of the sandbox is changed.

use super::{Error, Result, boolean, unknown};

/// Which seccomp policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SeccompChoice {
    /// Our own; none for a privileged container.
    #[default]
    Default,
    /// Our own, privileged or not (`seccomp=builtin`).
    Builtin,
    /// None.
    Unconfined,
    /// A profile in this file, which the caller reads and turns into [`SeccompChoice::Profile`].
    File(String),
    /// The JSON of a profile.
    Profile(String),
}

/// All `--security-opt` flags together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityOptions {
    /// No exec gains privileges.
    pub no_new_privileges: bool,
    /// System calls.
    pub seccomp: SeccompChoice,
    /// Nothing of /proc and /sys is masked or read-only.
    pub system_paths_unconfined: bool,
    /// Paths to hide as well.
    pub mask: Vec<String>,
    /// Paths (or `ALL`) not to hide nor make read-only.
    pub unmask: Vec<String>,
    /// An AppArmor profile; `unconfined` is none.
    pub apparmor: Option<String>,
    /// SELinux: `disable`, or `user:`, `role:`, `type:`, `level:` with a value.
    pub labels: Vec<String>,
    /// Options for the mount of /proc, as `hidepid=2`.
    pub proc_options: Vec<String>,
    /// The container may write to its own control group.
    pub writable_cgroups: bool,
}

const WHAT: &str = "security option";
const KEYS: [&str; 9] = [
    "no-new-privileges",
    "seccomp",
    "systempaths",
    "mask",
    "unmask",
    "apparmor",
    "label",
    "proc-opts",
    "writable-cgroups",
];

impl SecurityOptions {
    /// From all flags in their order. `key=value`; `key:value` is understood where no `=` is.
    pub fn parse<'a>(flags: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut options = Self::default();
        for flag in flags {
            options.add(flag)?;
        }
        if options.labels.iter().any(|label| label == "disable") && options.labels.len() > 1 {
            let joined = options.labels.join(" label=");
            return Err(Error::invalid(WHAT, &format!("label={joined}"), "label=disable excludes other labels"));
        }
        Ok(options)
    }

    fn add(&mut self, flag: &str) -> Result<()> {
        let (key, value) = match flag.split_once('=').or_else(|| flag.split_once(':')) {
            Some((key, value)) => (key, Some(value)),
            None => (flag, None),
        };
        let needed = || {
            let value = value.filter(|value| !value.is_empty());
            value.ok_or_else(|| Error::invalid(WHAT, flag, format!("`{key}` needs a value")))
        };
        let paths = || -> Result<Vec<String>> {
            let all: Vec<String> = needed()?.split(':').map(str::to_owned).collect();
            match all.iter().find(|path| !path.starts_with('/') && !path.eq_ignore_ascii_case("all")) {
                Some(path) => Err(Error::invalid(WHAT, flag, format!("`{path}` is not an absolute path"))),
                None => Ok(all),
            }
        };
        match key {
            "no-new-privileges" => self.no_new_privileges = value.map_or(Ok(true), |value| boolean(WHAT, value))?,
            "writable-cgroups" => self.writable_cgroups = value.map_or(Ok(true), |value| boolean(WHAT, value))?,
            "seccomp" => {
                self.seccomp = match needed()? {
                    "unconfined" => SeccompChoice::Unconfined,
                    "builtin" => SeccompChoice::Builtin,
                    path => SeccompChoice::File(path.to_owned()),
                };
            }
            "systempaths" => match needed()? {
                "unconfined" => self.system_paths_unconfined = true,
                other => return Err(unknown(WHAT, flag, other, &["unconfined"])),
            },
            "mask" => {
                let paths = paths()?;
                if paths.iter().any(|path| !path.starts_with('/')) {
                    return Err(Error::invalid(WHAT, flag, "only unmask takes ALL"));
                }
                self.mask.extend(paths);
            }
            "unmask" => self.unmask.extend(paths()?),
            "apparmor" => self.apparmor = Some(needed()?.to_owned()),
            "label" => {
                let label = needed()?;
                let known = ["user", "role", "type", "level"];
                let key = label.split(':').next().unwrap_or_default();
                let complete = label.split_once(':').is_some_and(|(_, value)| !value.is_empty());
                if label != "disable" && !(known.contains(&key) && complete) {
                    return Err(unknown(WHAT, flag, label, &["disable", "user:U", "role:R", "type:T", "level:L"]));
                }
                self.labels.push(label.to_owned());
            }
            "proc-opts" => self.proc_options.extend(needed()?.split(',').map(str::to_owned)),
            _ => return Err(unknown(WHAT, flag, key, &KEYS)),
        }
        Ok(())
    }
}
