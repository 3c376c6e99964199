//! A bundle: a directory with `config.json` and a root file system, read and checked.
//!
//! Paths that the specification lets be relative to the bundle are made absolute here, and what this runtime adds to every
//! configuration (the rules for devices that each container has) is added.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType, LinuxResources, Spec};

use super::record::read;
use crate::error::{Doing, Error, Result};
use crate::security::label::{self, Label};

/// A configuration and where its root file system is.
#[derive(Debug)]
pub(super) struct Bundle {
    /// The bundle, absolute.
    pub path: PathBuf,
    /// The root file system, absolute.
    pub rootfs: PathBuf,
    /// The configuration.
    pub spec: Spec,
    /// Its text.
    pub text: Vec<u8>,
}

impl Bundle {
    /// Reads the bundle in a directory.
    pub fn load(path: &Path) -> Result<Self> {
        let path = std::fs::canonicalize(path).doing(|| format!("find the bundle {}", path.display()))?;
        let file = path.join("config.json");
        let text = read(&file, || Error::invalid("JSON specification file config.json not found"))?;
        let mut spec: Spec =
            serde_json::from_slice(&text).map_err(|source| Error::Record { path: file.clone(), source })?;
        if !spec.version().starts_with("1.") {
            return Err(Error::invalid(format!(
                "the version {:?} of the configuration is not supported",
                spec.version()
            )));
        }
        let root = spec.root().as_ref().ok_or_else(|| Error::invalid("the spec has no root"))?;
        let rootfs = path.join(root.path());
        let rootfs =
            std::fs::canonicalize(&rootfs).doing(|| format!("find the root file system {}", rootfs.display()))?;
        if !rootfs.is_dir() {
            return Err(Error::invalid(format!("the root file system {} is not a directory", rootfs.display())));
        }
        prepare(&mut spec, &path)?;
        Ok(Self { path, rootfs, spec, text })
    }

    /// Tells the program of sockets that it inherits (sd_listen_fds(3)).
    pub fn tell_sockets(&mut self, count: u32) {
        if let Some(process) = self.spec.process_mut().as_mut().filter(|_| count > 0) {
            let mut env = process.env().clone().unwrap_or_default();
            env.extend([format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()]);
            process.set_env(Some(env));
        }
    }
}

/// Makes paths absolute and leaves out what is meant for other systems.
fn prepare(spec: &mut Spec, bundle: &Path) -> Result<()> {
    if let Some(mounts) = spec.mounts_mut() {
        for mount in mounts {
            let is_bind = mount.typ().as_deref() == Some("bind")
                || mount.options().iter().flatten().any(|option| matches!(option.as_str(), "bind" | "rbind"));
            if let Some(source) = mount.source().clone().filter(|source| is_bind && source.is_relative()) {
                mount.set_source(Some(bundle.join(source)));
            }
            // Old configurations leave out the first slash.
            if mount.destination().is_relative() {
                mount.set_destination(Path::new("/").join(mount.destination()));
            }
        }
    }
    if let Some(process) = spec.process_mut() {
        // A name is for Windows; on Linux there are the numbers.
        process.user_mut().set_username(None);
        check_labels(process)?;
    }
    Ok(())
}

/// Refuses labels that this kernel does not enforce.
pub(super) fn check_labels(process: &oci_spec::runtime::Process) -> Result<()> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let apparmor = given(process.apparmor_profile()).filter(|profile| profile != "unconfined").map(Label::AppArmor);
    let labels = [apparmor, given(process.selinux_label()).map(Label::SeLinux)];
    for label in labels.iter().flatten() {
        label::check(label, Path::new("/sys/kernel/security"))?;
    }
    Ok(())
}

/// The limits of a container, with the rules for the devices that every container may use after its own.
pub(super) fn resources(spec: &Spec) -> Result<LinuxResources> {
    let mut resources = spec.linux().as_ref().and_then(|linux| linux.resources().clone()).unwrap_or_default();
    let mut rules = resources.devices().clone().unwrap_or_default();
    rules.extend(default_rules()?);
    resources.set_devices(Some(rules));
    Ok(resources)
}

/// Nodes of any device may be made; null, zero, full, random, urandom, tty, ptmx and the container's terminals may be used.
fn default_rules() -> Result<Vec<LinuxDeviceCgroup>> {
    use LinuxDeviceType::{B, C};
    let devices = [
        (C, None, None, "m"),
        (B, None, None, "m"),
        (C, Some(1), Some(3), "rwm"),
        (C, Some(1), Some(5), "rwm"),
        (C, Some(1), Some(7), "rwm"),
        (C, Some(1), Some(8), "rwm"),
        (C, Some(1), Some(9), "rwm"),
        (C, Some(5), Some(0), "rwm"),
        (C, Some(5), Some(2), "rwm"),
        (C, Some(136), None, "rwm"),
    ];
    let rule = |(kind, major, minor, access): (_, Option<i64>, Option<i64>, &str)| {
        LinuxDeviceCgroupBuilder::default()
            .allow(true)
            .typ(kind)
            .major(major.unwrap_or(-1))
            .minor(minor.unwrap_or(-1))
            .access(access)
            .build()
            .map_err(|error| Error::invalid(error.to_string()))
    };
    devices.into_iter().map(rule).collect()
}
