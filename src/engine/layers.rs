//! Which driver shows the layers, and the lowers of an overlay as the runner takes them.

use std::path::Path;

use runner::layers::LayerMount;
use store::DiffId;
use store::snapshot::{self, Directory, Erofs, KernelFacts, Privilege, Snapshot, Snapshotter, erofs_supported};

use super::Engine;
use crate::error::Result;

impl Engine {
    /// The driver, and why it was chosen.
    fn choose_driver(&self) -> (Box<dyn Snapshotter>, String) {
        let unpacked = || Box::new(Directory { privilege: Privilege::Full });
        match self.settings.storage_driver.as_deref() {
            Some("dir") => (unpacked(), "chosen by the configuration".into()),
            Some("erofs") => (Box::new(Erofs), "chosen by the configuration".into()),
            _ => match erofs_reason(self.store.root()) {
                Ok(()) => (Box::new(Erofs), "layers are mounted from their tars, never unpacked".into()),
                Err(reason) => (unpacked(), reason),
            },
        }
    }

    /// The driver.
    pub(super) fn driver(&self) -> Box<dyn Snapshotter> {
        self.choose_driver().0
    }

    /// The driver's name.
    pub fn driver_name(&self) -> &'static str {
        self.driver().name()
    }

    /// The driver's name and why it was chosen.
    pub fn driver_choice(&self) -> (&'static str, String) {
        let (driver, reason) = self.choose_driver();
        (driver.name(), reason)
    }

    /// Layers with a writable directory on top; `rw` gets `upper` and `work`.
    ///
    /// # Errors
    /// A layer that is not there or damaged.
    pub(super) fn snapshot(&self, layers: &[DiffId], rw: &Path) -> Result<Snapshot> {
        Ok(self.driver().prepare(&self.store, layers, rw)?)
    }

    /// Layers alone, to be looked at.
    ///
    /// # Errors
    /// A layer that is not there or damaged.
    pub(super) fn view(&self, layers: &[DiffId]) -> Result<Vec<snapshot::LayerMount>> {
        Ok(self.driver().view(&self.store, layers)?)
    }

    /// Whether a layer is mounted by somebody.
    pub(super) fn layer_in_use(&self, layer: &DiffId) -> bool {
        let id = mount_name(layer);
        // If that cannot be found out, the layer stays.
        runner::layers::in_use(&self.runroot, &id).unwrap_or(true)
    }

    /// Removes the shared mounts of all layers; those that containers use stay theirs.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn unmount_layers(&self) -> Result<()> {
        self.unmount_roots()?;
        runner::layers::unmount_all(&self.runroot)?;
        self.unmount_unused_volumes()
    }
}

/// What the shared mount of a layer is called.
pub(super) fn mount_name(layer: &DiffId) -> String {
    format!("layer-{}", layer.hex())
}

/// The store's mounts as the runner's: the same data, for two rooms that do not know each other.
pub(super) fn to_runner(layers: Vec<snapshot::LayerMount>) -> Vec<LayerMount> {
    let convert = |layer| match layer {
        snapshot::LayerMount::Erofs { id, metadata, devices, .. } => {
            let devices = devices.into_iter().map(|device| (device.path, device.size)).collect();
            LayerMount::Erofs { id, metadata, devices }
        }
        snapshot::LayerMount::Directory { id, path } => LayerMount::Directory { id, path },
    };
    layers.into_iter().map(convert).collect()
}

/// Whether this machine can mount the layers of a store at `root`; if not, why.
pub(super) fn erofs_reason(root: &Path) -> std::result::Result<(), String> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let listed = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let listed = listed.lines().any(|line| line.trim_start_matches("nodev").trim() == "erofs");
    let module = || Path::new(&format!("/lib/modules/{release}/kernel/fs/erofs")).exists();
    let store = rustix::fs::statfs(root).map_err(|error| error.to_string())?;
    let store = u64::try_from(store.f_type).unwrap_or(0);
    let admin = rustix::process::geteuid().is_root();
    erofs_supported(KernelFacts { release: &release, admin, erofs: listed || module(), store })
}
