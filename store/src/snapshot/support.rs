//! Decides, without trying, whether a kernel can be trusted with metadata images.

/// What is known of the running kernel.
#[derive(Clone, Copy, Debug)]
pub struct KernelFacts<'a> {
    /// Its release, as uname(2) and `/proc/sys/kernel/osrelease` have it.
    pub release: &'a str,
    /// Whether the caller has `CAP_SYS_ADMIN` in the first user namespace: EROFS cannot be mounted in another.
    pub admin: bool,
    /// Whether EROFS is built in or loaded (`/proc/filesystems`), or a module of that name is there for this release.
    pub erofs: bool,
}

/// The first release taken: file-backed mounts came with 6.12, but the first of them panic on blocks smaller than a
/// page, which our images have (CVE-2024-56750, fixed for 6.13), and read files with direct I/O only, which cannot
/// hit 512-byte offsets on every disk, up to late 6.13 release candidates. Later 6.12 stable releases have the first
/// fix, but the second was not proven for any, so none is taken.
const FIRST: (u32, u32) = (6, 13);

/// Whether metadata images can be mounted; if not, why, as a clause for people. Never finds out by mounting: the
/// wrong kernel does not fail, it panics. A kernel without `CONFIG_EROFS_FS_BACKED_BY_FILE` is not found out here
/// either; its mount fails cleanly (`ENOTBLK`), and callers may then use the `dir` snapshotter.
///
/// # Errors
/// The reason.
pub fn erofs_supported(kernel: KernelFacts<'_>) -> Result<(), String> {
    let KernelFacts { release, admin, erofs } = kernel;
    let Some((major, minor, rest)) = version(release) else {
        return Err(format!("the kernel's release {release:?} is not understood"));
    };
    let candidate = rest.contains("-rc");
    if (major, minor) < FIRST || ((major, minor) == FIRST && candidate) {
        return Err(format!("kernel {major}.{minor} mounts EROFS from files unsafely or not at all; 6.13 is needed"));
    }
    if !admin {
        return Err("mounting EROFS takes CAP_SYS_ADMIN outside of user namespaces".to_owned());
    }
    if !erofs {
        return Err("the kernel has no EROFS".to_owned());
    }
    Ok(())
}

/// Major, minor and what follows.
fn version(release: &str) -> Option<(u32, u32, &str)> {
    let (major, rest) = release.split_once('.')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some((major.parse().ok()?, rest[..end].parse().ok()?, &rest[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_known_good_kernels_only() {
        let supported = |release| erofs_supported(KernelFacts { release, admin: true, erofs: true }).is_ok();
        for good in ["6.13.0", "6.18.44", "6.13.1-arch1-1", "7.0-rc1", "7.1", "6.100.0+"] {
            assert!(supported(good), "{good}");
        }
        for bad in ["6.12.50", "6.12.0-55.el10", "5.15.0-91-generic", "6.13.0-rc5", "6.13-rc1", "", "6", "x.y", "6.x"] {
            assert!(!supported(bad), "{bad}");
        }
        assert!(erofs_supported(KernelFacts { release: "6.18.0", admin: false, erofs: true }).is_err());
        assert!(erofs_supported(KernelFacts { release: "6.18.0", admin: true, erofs: false }).is_err());
    }
}
