//! The files of a container that does not run, with its volumes, binds and mounted images where its programs would find
//! them. File systems in memory are left out: they are empty whenever the container starts.

use std::os::fd::OwnedFd;
use std::path::Path;

use oci_spec::runtime::Mount;
use runner::Stopped;
use runner::spec::parse::MountKind;

use crate::engine::Engine;
use crate::engine::container::mounts::Mountable;
use crate::engine::container::{ContainerData, ContainerRecord};
use crate::engine::volumes::attach;
use crate::error::Result;

/// What a look into a stopped container leaves to be taken back.
pub struct Opened {
    record: ContainerRecord,
    stopped: Stopped,
}

impl Engine {
    /// The root directory of a container that does not run. What it needs lasts until [`Engine::close_stopped`].
    pub(super) fn open_stopped(&self, record: ContainerRecord) -> Result<(OwnedFd, Opened)> {
        let opened = self.tree_of_stopped(&record);
        if opened.is_err() {
            self.let_go();
            attach::released_by(&self.store, &self.states(), &record)?;
        }
        opened.map(|(root, stopped)| (root, Opened { record, stopped }))
    }

    fn tree_of_stopped(&self, record: &ContainerRecord) -> Result<(OwnedFd, Stopped)> {
        let (id, data) = (&record.id, &record.data);
        let mut mountable = Mountable::default();
        for mut mount in data.mounts()? {
            if !matches!(mount.kind, MountKind::Volume | MountKind::Bind | MountKind::DiskImage | MountKind::Image) {
                continue;
            }
            // Owners are given at a start. What would be thrown away at its end is not to be written at all.
            mount.chown = false;
            mount.read_only |= mount.overlay || mount.kind == MountKind::Image;
            mount.overlay = false;
            self.resolve_mount(mount, data, data.options.ids.mapped(), &mut mountable)?;
        }
        for mount in &mut mountable.requests {
            // Without words it is the container's own mapping, and what lies on the disk has the container's ids already.
            mount.idmap = mount.idmap.take().filter(|words| !words.is_empty());
            mount.propagation = None;
        }
        let mounts = self.mounts_of(id, data, &mountable)?;
        let rootfs = self.rootfs(id, data)?;
        let read_only = data.options.read_only || Self::is_read_only(&rootfs);
        Ok(Stopped::open(&self.runroot, &rootfs, &mounts, &mountable.layers, read_only)?)
    }

    fn mounts_of(&self, id: &str, data: &ContainerData, mountable: &Mountable) -> Result<Vec<Mount>> {
        let mut mounts = self.mounts_for(id, data, mountable.requests.clone())?;
        let asked = |place: &Path| {
            let same = |target: &str| Path::new(target).components().eq(place.components());
            mountable.requests.iter().any(|request| same(&request.target))
        };
        mounts.retain(|mount| asked(mount.destination()));
        Ok(mounts)
    }

    /// Ends a look into a stopped container: missing mount points go again, and volumes that nobody else uses.
    pub(super) fn close_stopped(&self, opened: Opened) -> Result<()> {
        let closed = opened.stopped.close();
        self.let_go();
        attach::released_by(&self.store, &self.states(), &opened.record)?;
        Ok(closed?)
    }
}
