//! Where the groups of a container lie: `linux.cgroupsPath`, or below a place of our own.
//!
//! An absolute path is one below the mounts of the hierarchies, as the specification has it; a relative one and none at all are below
//! `img-runtime`. Only the file system is spoken to, never a service manager.

use std::path::{Component, Path};

use oci_spec::runtime::Spec;

use crate::error::{Error, Result};

/// Where groups lie whose path does not begin at the root.
const HOME: &str = "img-runtime";

/// The path below the mounts.
///
/// # Errors
/// [`Error::Invalid`] if systemd is asked for, or for a path that leads upwards or is the root itself.
pub(super) fn path(spec: &Spec, id: &str, systemd: bool) -> Result<String> {
    let wanted = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_deref()).unwrap_or(Path::new(""));
    if systemd {
        return Err(Error::invalid(
            "systemd cgroups are not supported: this runtime makes its groups itself; \
             set the engine's cgroup driver (or manager) to cgroupfs",
        ));
    }
    if wanted.components().any(|part| part == Component::ParentDir) {
        return Err(Error::invalid(format!("the cgroups path {} leads upwards", wanted.display())));
    }
    let text = wanted.to_str().ok_or_else(|| Error::invalid("the cgroups path is not UTF-8"))?;
    let clean: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    match (wanted.is_absolute(), clean.is_empty()) {
        (true, true) => Err(Error::invalid("the cgroups path / is the root of the hierarchies")),
        (true, false) => Ok(clean.join("/")),
        (false, true) => Ok(format!("{HOME}/{id}")),
        (false, false) => Ok(format!("{HOME}/{}", clean.join("/"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path_text: Option<&str>, systemd: bool) -> Result<String> {
        let mut json = serde_json::json!({"ociVersion": "1.2.0", "linux": {}});
        if let Some(text) = path_text {
            json["linux"]["cgroupsPath"] = text.into();
        }
        path(&serde_json::from_value(json).unwrap(), "c1", systemd)
    }

    #[test]
    fn paths_are_absolute_or_below_our_own() {
        assert_eq!(of(Some("/kubepods//pod1/./c"), false).unwrap(), "kubepods/pod1/c");
        assert_eq!(of(Some("a/b"), false).unwrap(), "img-runtime/a/b");
        assert_eq!(of(None, false).unwrap(), "img-runtime/c1");
        assert_eq!(of(Some("system.slice:docker:c1"), false).unwrap(), "img-runtime/system.slice:docker:c1");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(of(Some("/a/../b"), false).is_err());
        assert!(of(Some("/"), false).is_err());
        let error = of(Some("system.slice:docker:c1"), true).unwrap_err().to_string();
        assert!(error.contains("cgroupfs"), "{error}");
    }
}
