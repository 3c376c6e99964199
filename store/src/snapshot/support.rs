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
    /// The file system that the store is on: `f_type` of statfs(2) for its root.
    pub store: u64,
}

/// File systems whose files cannot back a mount (`ENOTBLK`), since they do not fill the page cache on request: tmpfs,
/// overlayfs, hugetlbfs.
const NOT_BACKING: [u64; 3] = [0x0102_1994, 0x794c_7630, 0x9584_58f6];

/// The first release taken: file-backed mounts came with 6.12, but the first of them panic on blocks smaller than a
/// page, which our images have (CVE-2024-56750, fixed for 6.13), and read files with direct I/O only, which cannot
/// hit 512-byte offsets on every disk, up to late 6.13 release candidates. And the shared mounts can be joined with a
/// container's own directory only from 6.15 on, when overlayfs takes detached mounts.
const FIRST: (u32, u32) = (6, 15);

/// Whether metadata images can be mounted; if not, why, as a clause for people. Never finds out by mounting: the
/// wrong kernel does not fail, it panics. A kernel without `CONFIG_EROFS_FS_BACKED_BY_FILE` is not found out here
/// either; its mount fails cleanly (`ENOTBLK`), and callers may then use the `dir` snapshotter.
///
/// # Errors
/// The reason.
pub fn erofs_supported(kernel: KernelFacts<'_>) -> Result<(), String> {
    let KernelFacts { release, admin, erofs, store } = kernel;
    let Some((major, minor, rest)) = version(release) else {
        return Err(format!("the kernel's release {release:?} is not understood"));
    };
    let candidate = rest.contains("-rc");
    if (major, minor) < FIRST || ((major, minor) == FIRST && candidate) {
        return Err(format!("kernel {major}.{minor} mounts EROFS from files unsafely or not at all; 6.15 is needed"));
    }
    if !admin {
        return Err("mounting EROFS takes CAP_SYS_ADMIN outside of user namespaces".to_owned());
    }
    if !erofs {
        return Err("the kernel has no EROFS".to_owned());
    }
    if NOT_BACKING.contains(&store) {
        return Err("the store is on tmpfs or overlayfs, whose files cannot be mounted".to_owned());
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
        let good = KernelFacts { release: "6.18.0", admin: true, erofs: true, store: 0xef53 };
        let supported = |release| erofs_supported(KernelFacts { release, ..good }).is_ok();
        for release in ["6.15.0", "6.18.44", "6.15.1-arch1-1", "7.0-rc1", "7.1", "6.100.0+"] {
            assert!(supported(release), "{release}");
        }
        for bad in [
            "6.12.50",
            "6.12.0-55.el10",
            "5.15.0-91-generic",
            "6.14.11",
            "6.15.0-rc5",
            "6.15-rc1",
            "",
            "6",
            "x.y",
            "6.x",
        ] {
            assert!(!supported(bad), "{bad}");
        }
        for bad in [
            KernelFacts { admin: false, ..good },
            KernelFacts { erofs: false, ..good },
            KernelFacts { store: 0x0102_1994, ..good },
        ] {
            assert!(erofs_supported(bad).is_err());
        }
        assert_eq!(erofs_supported(good), Ok(()));
    }
}
