//! AppArmor profiles and SELinux labels: only accepted where the kernel enforces them.
//!
//! A label that silently does nothing is worse than none, so [`check`] refuses one on a kernel without its module. Putting
//! a label on is one write to a file of the child's own /proc, which the caller does through its verified procfs.

use std::fs;
use std::path::Path;

use super::{Error, Result};

/// A mandatory access control label for the container's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Label {
    /// The name of a loaded AppArmor profile.
    AppArmor(String),
    /// A full SELinux context, `user:role:type:level`.
    SeLinux(String),
}

impl Label {
    /// Where (below `/proc/thread-self/attr`) and what to write so that the next exec takes the label.
    pub fn exec_attribute(&self) -> (&'static str, String) {
        match self {
            Label::AppArmor(profile) => ("apparmor/exec", format!("exec {profile}")),
            Label::SeLinux(context) => ("exec", context.clone()),
        }
    }
}

/// Refuses a label that this kernel cannot enforce. `securityfs` is usually `/sys/kernel/security`.
pub fn check(label: &Label, securityfs: &Path) -> Result<()> {
    // The list of active modules; where securityfs is not mounted the modules have left marks of their own.
    let active = fs::read_to_string(securityfs.join("lsm")).unwrap_or_default();
    let has = |module: &str| active.trim_end().split(',').any(|name| name == module);
    match label {
        Label::AppArmor(profile) => {
            let enabled = has("apparmor")
                || fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.trim() == "Y");
            if enabled {
                Ok(())
            } else {
                Err(Error::Label {
                    kind: "AppArmor",
                    label: profile.clone(),
                    reason: "AppArmor is not enabled in this kernel",
                })
            }
        }
        Label::SeLinux(context) => {
            if context.split(':').count() < 3 {
                return Err(Error::Label {
                    kind: "SELinux",
                    label: context.clone(),
                    reason: "a context has the form user:role:type[:level]",
                });
            }
            if has("selinux") || Path::new("/sys/fs/selinux/enforce").exists() {
                Ok(())
            } else {
                Err(Error::Label {
                    kind: "SELinux",
                    label: context.clone(),
                    reason: "SELinux is not enabled in this kernel",
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_need_their_module() {
        let directory = tempfile::tempdir().unwrap();
        let apparmor = Label::AppArmor("docker-default".into());
        let selinux = Label::SeLinux("system_u:system_r:container_t:s0".into());
        fs::write(directory.path().join("lsm"), "capability,yama,apparmor,selinux\n").unwrap();
        assert!(check(&apparmor, directory.path()).is_ok());
        assert!(check(&selinux, directory.path()).is_ok());
        assert!(check(&Label::SeLinux("container_t".into()), directory.path()).is_err());
        fs::write(directory.path().join("lsm"), "capability,landlock").unwrap();
        if !Path::new("/sys/fs/selinux/enforce").exists() {
            let error = check(&selinux, directory.path()).unwrap_err();
            assert!(error.to_string().contains("SELinux is not enabled"), "{error}");
            assert!(error.hint().is_some());
        }
        assert_eq!(apparmor.exec_attribute(), ("apparmor/exec", "exec docker-default".to_owned()));
    }
}
