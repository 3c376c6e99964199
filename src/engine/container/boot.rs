//! Containers that boot a system: what an init needs that a program does not.
//!
//! Its init finds `container=img`, `container_ttys`, empty /run, /run/lock and /tmp, its control group writable, a console, and may end and
//! restart itself: reboot(2) in a pid namespace means its init alone. It is asked to stop by the signal it knows.

use std::path::{Path, PathBuf};

use runner::spec::parse::{self, MountKind, MountRequest};
use runner::spec::{NamespaceMode, Options as SpecOptions};

use super::ContainerData;
use super::options::Options;
use crate::engine::Engine;
use crate::engine::tree::Merged;
use crate::error::{CommandError, Result};

/// The init of every distribution.
pub(super) const INIT: &str = "/sbin/init";
/// Mounted empty and fresh.
const FRESH: [&str; 3] = ["/run", "/run/lock", "/tmp"];
/// systemd powers off.
const SYSTEMD: &str = "SIGRTMIN+3";
/// sysvinit and most others take it as a power failure, and shut down.
const SYSVINIT: &str = "SIGPWR";
/// busybox powers off.
const BUSYBOX: &str = "SIGUSR2";

/// Whether a container boots a system.
pub(super) fn is_asked(asked: &Options, args: &[String]) -> bool {
    asked.system.boots(args.first().map_or("", String::as_str))
}

/// What its init needs of its sandbox.
///
/// # Errors
/// Flags that an init cannot live with.
pub(super) fn set(asked: &Options, options: &mut SpecOptions) -> Result<()> {
    if !is_asked(asked, &options.args) {
        return Ok(());
    }
    if options.namespaces.pid != NamespaceMode::Private || asked.init {
        return Err(CommandError::usage("a system needs to be the first process: --pid and --init exclude it")
            .hint("leave them out, or --system"));
    }
    options.security.writable_cgroups = true;
    options.cgroup2_view = true;
    // In a pid namespace of its own it restarts nothing but itself.
    options.cap_add.push("SYS_BOOT".to_owned());
    let id: String = options.id.chars().filter(char::is_ascii_hexdigit).take(32).collect();
    let given =
        |name: &str| options.env.iter().any(|line| line.split_once('=').is_some_and(|(known, _)| known == name));
    let mut more = Vec::new();
    if !given("container") {
        more.push("container=img".to_owned());
    }
    if id.len() == 32 && !given("container_uuid") {
        let parts = [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]];
        more.push(format!("container_uuid={}", parts.join("-")));
    }
    let ttys = asked.system.tty_count();
    if ttys > 0 && !given("container_ttys") {
        // Where systemd starts a login prompt beside the console's; they are made in this order, the console first.
        let names: Vec<String> = (1..=ttys).map(|number| format!("pts/{number}")).collect();
        more.push(format!("container_ttys={}", names.join(" ")));
    }
    options.env.extend(more);
    Ok(())
}

/// Its fresh directories, which begin with what the image has there.
pub(super) fn mounts(asked: &Options, args: &[String]) -> Vec<MountRequest> {
    if !is_asked(asked, args) {
        return Vec::new();
    }
    let fresh = FRESH.iter().map(|place| {
        let mut mount = MountRequest::new(MountKind::Tmpfs, None, place);
        mount.options = vec!["nosuid".into(), "nodev".into(), "exec".into()];
        mount.tmpfs_mode = Some(if *place == "/tmp" || *place == "/run/lock" { 0o1777 } else { 0o755 });
        mount
    });
    fresh.collect()
}

impl Engine {
    /// The signal by which an init is asked to stop, if neither the user nor the image has said it.
    pub(super) fn stop_signal_of_init(
        &self,
        data: &ContainerData,
        args: &[String],
        image: Option<&str>,
    ) -> Option<i32> {
        let said = data.options.stop_signal.is_some() || image.is_some_and(|signal| !signal.is_empty());
        if said || !is_asked(&data.options, args) {
            return None;
        }
        let program = args.first().map_or(INIT, String::as_str);
        let target = self.real_path(data, program).unwrap_or_else(|| PathBuf::from(program));
        let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let signal = match name.as_str() {
            name if name.contains("systemd") => SYSTEMD,
            "busybox" => BUSYBOX,
            _ => SYSVINIT,
        };
        parse::signal(signal).ok()
    }

    /// Where links lead in the container's image or directory; `None` if there is nothing.
    fn real_path(&self, data: &ContainerData, path: &str) -> Option<PathBuf> {
        if let Some(root) = Self::root_directory(data) {
            let here = root.join(path.trim_start_matches('/'));
            let link = std::fs::read_link(&here).ok();
            return Some(link.unwrap_or(here));
        }
        let merged = Merged::new(&self.store, &data.layers).ok()?;
        let found = merged.tree.resolve(path.as_bytes(), true).ok()?;
        merged.tree.get(&found)?;
        Some(Path::new("/").join(found.to_string()))
    }
}
