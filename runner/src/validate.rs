//! Refuses what cannot work before anything is made: wishes that exclude each other, and limits this machine does not have.
//!
//! Each refusal says why and what to do instead. Malformed values are refused by the parsers and by `spec::build`;
//! here it is about combinations and about the machine, whose facts come in as [`Host`] so that all of it can be tested.

use std::path::Path;

use crate::cgroup::{Hierarchies, plan};
use crate::security::label::{self, Label};
use crate::spec::parse::{RestartPolicy, cpu_list};
use crate::spec::{Error, NamespaceMode, Options, Result, limits};

/// What the machine offers.
#[derive(Clone, Debug)]
pub struct Host<'a> {
    /// Its control groups.
    pub hierarchies: &'a Hierarchies,
    /// CPUs that are online; `None`: unknown, not checked.
    pub cpus: Option<Vec<u32>>,
    /// Memory nodes; `None`: unknown, not checked.
    pub memory_nodes: Option<Vec<u32>>,
}

impl Host<'static> {
    /// This machine, as far as `options` ask for it.
    pub fn detect(options: &Options) -> Result<Self, crate::cgroup::Error> {
        let list = |asked: bool, path: &str| {
            let text = asked.then(|| std::fs::read_to_string(path).ok()).flatten()?;
            cpu_list("list of the kernel", text.trim()).ok()
        };
        let resources = &options.resources;
        let by_cpu = resources.cpuset_cpus.is_some() || resources.nano_cpus.is_some();
        Ok(Host {
            hierarchies: Hierarchies::detect()?,
            cpus: list(by_cpu, "/sys/devices/system/cpu/online"),
            memory_nodes: list(resources.cpuset_mems.is_some(), "/sys/devices/system/node/online"),
        })
    }
}

/// Checks options against each other and against the machine.
pub fn validate(options: &Options, host: &Host<'_>) -> Result<()> {
    host_name(options)?;
    user(&options.user)?;
    user_namespace(options)?;
    processors(options, host)?;
    labels(options)?;
    let conflict = |reason: String, hint: &str| Err(Error::Conflict { reason, hint: Some(hint.to_owned()) });
    if !options.cwd.is_empty() && !options.cwd.starts_with('/') {
        return conflict(format!("the working directory `{}` is not absolute", options.cwd), "begin it with a slash");
    }
    if options.id.is_empty() || options.id.contains('/') || options.id.starts_with('.') {
        return conflict(
            format!("`{}` cannot be a container's id", options.id),
            "ids have letters, digits, `-`, `_` and `.`",
        );
    }
    if options.privileged && !options.security.mask.is_empty() && options.security.system_paths_unconfined {
        return conflict(
            "systempaths=unconfined and mask= exclude each other".to_owned(),
            "leave one of the two security options out",
        );
    }
    for (index, device) in options.devices.iter().enumerate() {
        if let Some(other) = options.devices[..index].iter().find(|other| other.path == device.path)
            && (other.major, other.minor, other.kind) != (device.major, device.minor, device.kind)
        {
            let reason = format!("two devices have the same place, {}", device.path.display());
            return conflict(reason, "give one of them another path in the container");
        }
    }
    let resources = limits(&options.resources)?;
    match plan(&resources, host.hierarchies, false) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::Conflict { reason: error.to_string(), hint: error.hint() }),
    }
}

/// Checks the two flags that decide what happens at the end.
pub fn restart_and_remove(restart: RestartPolicy, remove: bool) -> Result<()> {
    match (restart, remove) {
        (RestartPolicy::No, _) | (_, false) => Ok(()),
        _ => Err(Error::Conflict {
            reason: "--rm and --restart exclude each other".to_owned(),
            hint: Some("a removed container cannot be started again; leave one of them out".to_owned()),
        }),
    }
}

fn host_name(options: &Options) -> Result<()> {
    for (name, value) in [("--hostname", &options.hostname), ("--domainname", &options.domainname)] {
        if value.is_empty() {
            continue;
        }
        if options.namespaces.uts == NamespaceMode::Host {
            return Err(Error::Conflict {
                reason: format!("{name} and --uts host exclude each other"),
                hint: Some("it would rename the host".to_owned()),
            });
        }
        // The kernel takes 64 bytes of anything; names on a network have these letters.
        let good = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
        if value.len() > 64 || !good || value.starts_with(['-', '.']) {
            return Err(Error::Conflict {
                reason: format!("`{value}` cannot be given to {name}"),
                hint: Some("up to 64 letters, digits, `-`, `_` and `.`, beginning with a letter or digit".to_owned()),
            });
        }
    }
    Ok(())
}

/// `user[:group]`: ids are 32 bits, and the highest stands for "none" (CVE-2024-40635 took it for root).
fn user(text: &str) -> Result<()> {
    let error = |reason: &str| Error::Invalid {
        what: "user",
        value: text.to_owned(),
        reason: reason.to_owned(),
        hint: Some("the form is user[:group], by name or number".to_owned()),
    };
    if text.is_empty() {
        return Ok(());
    }
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 2 || parts.iter().any(|part| part.is_empty()) {
        return Err(error("a part is empty or there are more than two"));
    }
    for part in parts {
        let numeric = part.trim_start_matches(['+', '-']).bytes().all(|byte| byte.is_ascii_digit());
        if numeric && part.parse::<u32>().ok().filter(|&id| id != u32::MAX).is_none() || part.starts_with(['+', '-']) {
            return Err(error("ids go from 0 to 4294967294"));
        }
        if part.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'/') {
            return Err(error("a name holds a blank, a slash or a control character"));
        }
    }
    Ok(())
}

fn user_namespace(options: &Options) -> Result<()> {
    let conflict =
        |reason: &str, hint: &str| Err(Error::Conflict { reason: reason.to_owned(), hint: Some(hint.to_owned()) });
    let mapped = !options.uid_map.is_empty() || options.auto_ids.is_some();
    match (&options.namespaces.user, mapped) {
        (Some(NamespaceMode::Private), false) => {
            return conflict("a user namespace of its own needs a map of ids", "use --userns auto or --uidmap");
        }
        (None | Some(NamespaceMode::Host | NamespaceMode::Path(_)), true) => {
            return conflict("a map of ids needs a user namespace of its own", "leave --uidmap out, or --userns host");
        }
        _ => {}
    }
    for map in [&options.uid_map, &options.gid_map] {
        for (index, &(inside, outside, count)) in map.iter().enumerate() {
            if count == 0 || inside.checked_add(count).is_none() || outside.checked_add(count).is_none() {
                return conflict(
                    "a range of mapped ids is empty or goes beyond 4294967295",
                    "ranges are container:host:count",
                );
            }
            let overlap = |a: u32, b: u32, other: u32| a < b.saturating_add(other) && b < a.saturating_add(count);
            if map[..index].iter().any(|&(i, o, n)| overlap(inside, i, n) || overlap(outside, o, n)) {
                return conflict("two ranges of mapped ids overlap", "each id may be mapped once");
            }
        }
    }
    Ok(())
}

fn processors(options: &Options, host: &Host<'_>) -> Result<()> {
    let resources = &options.resources;
    if let (Some(nano), Some(cpus)) = (resources.nano_cpus, &host.cpus)
        && nano > cpus.len() as u64 * 1_000_000_000
    {
        return Err(Error::Conflict {
            reason: format!("{} CPUs were asked for, and this machine has {}", nano as f64 / 1e9, cpus.len()),
            hint: Some(format!("choose a value from 0.01 to {}", cpus.len())),
        });
    }
    let lists = [
        ("list of CPUs", &resources.cpuset_cpus, &host.cpus, "CPU"),
        ("list of memory nodes", &resources.cpuset_mems, &host.memory_nodes, "memory node"),
    ];
    for (what, asked, there, name) in lists {
        let (Some(asked), Some(there)) = (asked, there) else { continue };
        if let Some(missing) = cpu_list(what, asked)?.into_iter().find(|number| !there.contains(number)) {
            let known: Vec<String> = there.iter().map(u32::to_string).collect();
            return Err(Error::Invalid {
                what,
                value: asked.clone(),
                reason: format!("this machine has no {name} {missing}"),
                hint: Some(format!("it has {}", known.join(","))),
            });
        }
    }
    Ok(())
}

fn labels(options: &Options) -> Result<()> {
    let securityfs = Path::new("/sys/kernel/security");
    if let Some(profile) = options.security.apparmor.as_ref().filter(|profile| *profile != "unconfined") {
        label::check(&Label::AppArmor(profile.clone()), securityfs)?;
    }
    if let Some(context) = crate::spec::selinux(&options.security.labels) {
        label::check(&Label::SeLinux(context), securityfs)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options { id: "c1".to_owned(), args: vec!["true".to_owned()], ..Options::default() }
    }

    fn reason(change: impl FnOnce(&mut Options)) -> String {
        let mut options = options();
        change(&mut options);
        let host =
            Host { hierarchies: Hierarchies::detect().unwrap(), cpus: Some(vec![0, 1]), memory_nodes: Some(vec![0]) };
        let error = validate(&options, &host).expect_err("it should be refused");
        assert!(error.hint().is_some(), "no hint: {error}");
        error.to_string()
    }

    #[test]
    fn a_plain_container_is_fine() {
        let mut options = options();
        options.resources.cpuset_cpus = Some("0".into());
        let host = Host::detect(&options).unwrap();
        assert!(host.cpus.is_some() && host.memory_nodes.is_none(), "what is asked for is looked up");
        // Machines without any control groups have no limit of processes either.
        if host.hierarchies.version1_has(crate::cgroup::Controller::Pids).is_none() {
            options.resources.pids_limit = None;
        }
        validate(&options, &host).unwrap();
    }

    #[test]
    fn combinations_are_refused_with_reason_and_hint() {
        assert!(reason(|o| (o.hostname, o.namespaces.uts) = ("x".into(), NamespaceMode::Host)).contains("--uts host"));
        assert!(reason(|o| o.hostname = "a b".into()).contains("--hostname"));
        assert!(reason(|o| o.cwd = "srv".into()).contains("not absolute"));
        assert!(reason(|o| o.namespaces.user = Some(NamespaceMode::Private)).contains("map of ids"));
        assert!(reason(|o| o.uid_map = vec![(0, 1000, 1)]).contains("user namespace of its own"));
        assert!(
            reason(|o| {
                o.namespaces.user = Some(NamespaceMode::Private);
                o.uid_map = vec![(0, 100_000, 65_536), (100, 900_000, 5)];
            })
            .contains("overlap")
        );
        assert!(reason(|o| o.resources.nano_cpus = Some(2_500_000_000)).contains("2.5 CPUs"));
        assert!(reason(|o| o.resources.cpuset_cpus = Some("0,5".into())).contains("no CPU 5"));
        assert!(reason(|o| o.resources.memory = Some(1)).contains("too small"));
        assert!(reason(|o| o.id = "../x".into()).contains("id"));
    }

    #[test]
    fn ids_that_would_wrap_are_refused() {
        for text in ["-1", "4294967295", "4294967296", "0:4294967295", ":", "a:", "a:b:c", "a b", "+5"] {
            assert!(reason(|o| o.user = text.to_owned()).starts_with("invalid user"), "{text}");
        }
        for text in ["", "root", "1000", "1000:1000", "daemon:4294967294", "www-data"] {
            user(text).unwrap();
        }
    }

    #[test]
    fn restart_and_rm() {
        assert!(restart_and_remove(RestartPolicy::Always, true).is_err());
        assert!(restart_and_remove(RestartPolicy::No, true).is_ok());
        assert!(restart_and_remove(RestartPolicy::OnFailure(None), false).is_ok());
    }

    #[test]
    fn limits_this_machine_lacks_are_refused() {
        let nothing = Hierarchies::default();
        let host = Host { hierarchies: &nothing, cpus: None, memory_nodes: None };
        let error = validate(&options(), &host).unwrap_err();
        assert!(error.to_string().contains("cannot limit the number of processes"), "{error}");
        let mut free = options();
        free.resources.pids_limit = None;
        validate(&free, &host).unwrap();
    }
}
