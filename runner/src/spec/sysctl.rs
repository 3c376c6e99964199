//! Which kernel parameters belong to a container.
//!
//! A parameter that is not in a namespace would change the host, so only those of the container's own IPC, network and UTS
//! namespaces are let through (sysctl(8); kernel: Documentation/admin-guide/sysctl).

use super::options::{NamespaceMode, Options};
use super::{Error, Result};

const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// All sysctls of a container: the defaults of a network namespace of its own, then the user's, checked.
pub(super) fn all(options: &Options) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    let spaces = &options.namespaces;
    if spaces.network == NamespaceMode::Private {
        // Ports below 1024 are only special where others share them; and ping needs no raw sockets.
        all.push(("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned()));
        // Groups that a user namespace does not map cannot be named.
        let mapped = spaces.user.is_some() || options.rootless;
        let range = if mapped { "0 0" } else { "0 2147483647" };
        all.push(("net.ipv4.ping_group_range".to_owned(), range.to_owned()));
    }
    for (name, value) in &options.sysctls {
        let name = check(name, options)?;
        all.retain(|(known, _)| *known != name);
        all.push((name, value.clone()));
    }
    Ok(all)
}

/// The name with dots (slashes are understood), if the container may set it.
fn check(written: &str, options: &Options) -> Result<String> {
    // A dot inside a part (an interface like eth0.100) is written with slashes around it; the OCI form has dots only.
    let name = match (written.find('.'), written.find('/')) {
        (Some(dot), Some(slash)) if dot < slash => written.to_owned(),
        (_, Some(_)) => written.replace('.', "\0").replace('/', ".").replace('\0', "/"),
        _ => written.to_owned(),
    };
    let error = |reason: String, hint: &str| Err(Error::invalid("sysctl", written, reason).with_hint(hint));
    if name.split('.').any(|part| part.is_empty() || part == "..") || name.contains('\0') {
        return error("it is not the name of a kernel parameter".to_owned(), "as net.core.somaxconn=1024");
    }
    let spaces = &options.namespaces;
    let (mode, flag) = if name.starts_with("net.") {
        (&spaces.network, "--network")
    } else if IPC.contains(&name.as_str()) || name.starts_with("fs.mqueue.") {
        (&spaces.ipc, "--ipc")
    } else if name == "kernel.domainname" {
        (&spaces.uts, "--uts")
    } else if name == "kernel.hostname" {
        return error("the host name has a flag of its own".to_owned(), "use --hostname");
    } else {
        return error(
            "it is not in a namespace, so it would change the whole machine".to_owned(),
            "set it on the host, or choose one of net.*, fs.mqueue.*, kernel.msg*, kernel.sem, kernel.shm*",
        );
    };
    match mode {
        NamespaceMode::Host => error(
            format!("with {flag} host it would change the host's own"),
            "give the container a namespace of its own, or set it on the host",
        ),
        _ => Ok(name),
    }
}
