//! What this machine's store and runner look like, for `img info`.

use serde::Serialize;

use super::Engine;
use crate::error::Result;

/// `img info`, with docker's names where docker has them.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Info {
    /// Version of img.
    pub server_version: String,
    /// How layers are stacked: `erofs` or `dir`.
    pub driver: String,
    /// Why this driver.
    pub driver_reason: String,
    /// Where the store is.
    pub root: String,
    /// Where the state of running containers is.
    pub run_root: String,
    /// How many images.
    pub images: usize,
    /// How many containers.
    pub containers: usize,
    /// How many of them run.
    pub containers_running: usize,
    /// The kind of cgroup hierarchy.
    pub cgroups: String,
    /// Release of the kernel.
    pub kernel_version: String,
    /// OCI name of the architecture.
    pub architecture: String,
    /// Number of processors.
    #[serde(rename = "NCPU")]
    pub ncpu: usize,
    /// Memory in bytes.
    pub mem_total: u64,
}

/// The kind of cgroup hierarchy, in words.
fn cgroups() -> Result<String> {
    use runner::cgroup::Mode;
    let hierarchies = runner::cgroup::Hierarchies::detect().map_err(runner::Error::from)?;
    Ok(match hierarchies.mode() {
        Mode::V1 => "version 1",
        Mode::V2 => "version 2",
        Mode::Hybrid => "hybrid",
        Mode::None => "none",
    }
    .to_owned())
}

/// A controller of control groups.
#[derive(Clone, Debug)]
pub struct ControllerPlace {
    /// The kernel's name.
    pub name: String,
    /// 1 or 2.
    pub version: u8,
    /// Where its groups lie.
    pub mount: String,
}

impl Engine {
    /// The controllers that this machine has for containers, by name.
    ///
    /// # Errors
    /// There are no control groups.
    pub fn controllers(&self) -> Result<Vec<ControllerPlace>> {
        let hierarchies = runner::cgroup::Hierarchies::detect().map_err(runner::Error::from)?;
        let one = hierarchies.version1.iter().map(|(controller, mount)| ControllerPlace {
            name: controller.name(true).to_owned(),
            version: 1,
            mount: mount.display().to_string(),
        });
        let two = hierarchies.unified.iter().flat_map(|unified| {
            // Freezing, killing and counting processor time need no controller there.
            let names = unified.usable().chain(["freezer"]).filter(|name| {
                *name != "freezer" || hierarchies.version1.keys().all(|controller| controller.name(true) != "freezer")
            });
            let mount = unified.base.display().to_string();
            names.map(move |name| ControllerPlace { name: name.to_owned(), version: 2, mount: mount.clone() })
        });
        let mut all: Vec<ControllerPlace> = one.chain(two).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Looks at everything.
    ///
    /// # Errors
    /// A damaged store.
    pub fn info(&self) -> Result<Info> {
        let (driver, reason) = self.driver_choice();
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let total = total.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0);
        Ok(Info {
            server_version: env!("CARGO_PKG_VERSION").into(),
            driver: driver.to_owned(),
            driver_reason: reason,
            root: self.store.root().display().to_string(),
            run_root: self.runroot.display().to_string(),
            images: self.store.images().list()?.len(),
            containers: self.store.containers().ids()?.len(),
            containers_running: self.running()?.len(),
            cgroups: cgroups()?,
            kernel_version: rustix::system::uname().release().to_string_lossy().into_owned(),
            architecture: registry_client::Platform::host().architecture,
            ncpu: std::thread::available_parallelism().map_or(1, usize::from),
            mem_total: total * 1024,
        })
    }
}
