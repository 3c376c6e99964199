//! What a container mounts, and what of it can be mounted: the words of the flags become requests, and a request's
//! volume, image or path becomes something the runner can open. [`Engine::resolve_mount`] is the one place where that
//! is done, for a start, for a live container and for looking into one that does not run.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use builder::op::{OpError, chown};
use runner::MountedLayers;
use runner::spec::parse::{self, IdMap, IdRange, MountKind, MountRequest, Propagation};
use serde_json::{Value, json};

use super::ContainerData;
use super::create::usage;
use super::options::Options;
use crate::engine::Engine;
use crate::engine::layers::to_runner;
use crate::engine::tree::Merged;
use crate::error::{CommandError, Context as _, Kind, Result};

/// Largest `/etc/passwd` read, bytes.
const PASSWD_MAX: u64 = 4 << 20;

/// Mounts that can be made as they are.
#[derive(Clone, Debug, Default)]
pub struct Mountable {
    /// Sources are paths of the host, or numbers of what is beside.
    pub requests: Vec<MountRequest>,
    /// The layers of images, which requests name by their number.
    pub layers: Vec<MountedLayers>,
}

/// All mounts the flags ask for, in the order in which they are made; two at one place are refused.
pub(in crate::engine) fn parse_mounts(asked: &Options) -> Result<Vec<MountRequest>> {
    let mut mounts = Vec::new();
    for text in &asked.volumes {
        mounts.push(parse::volume(text).map_err(usage)?);
    }
    for text in &asked.mounts {
        mounts.push(parse::mount(text).map_err(usage)?);
    }
    for text in &asked.tmpfs {
        mounts.push(parse::tmpfs(text).map_err(usage)?);
    }
    for line in &asked.storage.mount_entries {
        mounts.extend(parse::fstab(line).map_err(usage)?);
    }
    let mut seen = BTreeMap::new();
    for mount in &mounts {
        if seen.insert(place(&mount.target), ()).is_some() {
            return Err(CommandError::usage(format!("two mounts at {}", mount.target)).kind(Kind::Usage));
        }
        check(mount)?;
    }
    Ok(mounts)
}

/// A mount point as it is compared: without slashes at its end.
fn place(target: &str) -> String {
    target.trim_end_matches('/').to_owned()
}

/// What can be told of a mount without looking at the machine.
fn check(mount: &MountRequest) -> Result<()> {
    let at = &mount.target;
    let in_proc = std::path::Component::Normal("proc".as_ref());
    let file_system = match mount.kind {
        MountKind::Tmpfs => "tmpfs",
        MountKind::Proc => "proc",
        _ => "",
    };
    if Path::new(at).components().nth(1) == Some(in_proc)
        && !runner::plan::allowed_in_proc(Path::new(at), matches!(mount.kind, MountKind::Bind), file_system)
    {
        return Err(CommandError::usage(format!("nothing can be mounted on {at}: it lies in procfs"))
            .hint("programs trust what they read there; only files such as /proc/cpuinfo may be replaced"));
    }
    if let Some(mapping) = mount.idmap.as_deref().filter(|mapping| !mapping.is_empty()) {
        parse::id_map(mapping).map_err(usage)?;
    }
    if mount.kind == MountKind::Image && (mount.idmap.is_some() || mount.chown || mount.overlay) {
        return Err(CommandError::usage(format!("the mount of an image at {at} takes neither idmap, U nor O"))
            .hint("rw makes it writable; what is written is gone with the container"));
    }
    if mount.relabel.is_some() && Path::new("/sys/fs/selinux/enforce").exists() {
        return Err(CommandError::usage(format!("the mount at {at} cannot be relabelled (z, Z): not supported yet"))
            .hint("`chcon -Rt container_file_t DIR` does it by hand"));
    }
    Ok(())
}

impl ContainerData {
    /// All mounts of the container: what its flags ask for, the volumes of its image, and what it takes from others.
    /// Anonymous volumes stand there by their ids, paths of the host absolute.
    ///
    /// # Errors
    /// Words that make no sense.
    pub(in crate::engine) fn mounts(&self) -> Result<Vec<MountRequest>> {
        let mut mounts = parse_mounts(&self.options)?;
        let anonymous = self.anonymous_volumes.iter().filter_map(|line| line.rsplit_once('='));
        for (target, id) in anonymous {
            match mounts.iter_mut().find(|mount| place(&mount.target) == place(target)) {
                Some(mount) if mount.kind == MountKind::Volume => mount.source = Some(id.to_owned()),
                Some(_) => {}
                None => mounts.push(MountRequest::new(MountKind::Volume, Some(id), target)),
            }
        }
        for target in &self.image_tmpfs {
            mounts.push(parse::tmpfs(&format!("{target}:exec,dev,suid,mode=755")).map_err(usage)?);
        }
        for taken in &self.inherited {
            if !mounts.iter().any(|mount| place(&mount.target) == place(&taken.target)) {
                mounts.push(taken.clone());
            }
        }
        for mount in mounts.iter_mut().filter(|mount| matches!(mount.kind, MountKind::Bind | MountKind::DiskImage)) {
            let source = Path::new(mount.source.as_deref().unwrap_or_default());
            if source.is_relative() && !source.as_os_str().is_empty() {
                let base = match &self.directory {
                    Some(directory) => directory.clone(),
                    None => std::path::absolute(".").context("cannot tell the working directory")?,
                };
                // Without the dots that only the shell's user cares for; `..` stays, it may follow a link.
                let source: PathBuf = base.join(source).components().collect();
                mount.source = source.to_str().map(str::to_owned);
            }
        }
        Ok(mounts)
    }
}

impl Engine {
    /// Whether the mounts of a container could be made, as far as that can be told before it exists.
    pub(super) fn check_mounts(&self, data: &ContainerData) -> Result<()> {
        for mount in data.mounts()? {
            match mount.kind {
                MountKind::Bind | MountKind::DiskImage => {
                    source_exists(&mount)?;
                }
                MountKind::Image => {
                    self.mounted_image(&mount, data)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The mounts of a container with volumes, images and owners turned into what the runner can open. `mapped`: it has ids
    /// of its own, in a user namespace.
    pub(in crate::engine) fn resolve_mounts(&self, data: &ContainerData, mapped: bool) -> Result<Mountable> {
        let mut mountable = Mountable::default();
        for mount in data.mounts()? {
            self.resolve_mount(mount, data, mapped, &mut mountable)?;
        }
        Ok(mountable)
    }

    /// Adds one mount of a container to those that can be made: a volume, which is filled if it is new, and a directory
    /// become bind mounts, an image becomes its layers.
    ///
    /// # Errors
    /// A source that is not there, a volume or image that cannot be used.
    pub(in crate::engine) fn resolve_mount(
        &self,
        mut mount: MountRequest,
        data: &ContainerData,
        mapped: bool,
        into: &mut Mountable,
    ) -> Result<()> {
        match mount.kind {
            MountKind::Volume => self.mount_volume(&mut mount, data)?,
            MountKind::Bind | MountKind::DiskImage if !source_exists(&mount)? => return Ok(()),
            MountKind::Image => {
                let image = self.mounted_image(&mount, data)?;
                let lowers = to_runner(self.view(image.layers())?);
                let path = PathBuf::from(mount.subpath.take().unwrap_or_default());
                into.layers.push(MountedLayers { lowers, path, writable: !mount.read_only });
                mount.source = Some((into.layers.len() - 1).to_string());
                mount.kind = MountKind::Layers;
            }
            _ => {}
        }
        must_propagate(&mount)?;
        if mount.chown || mount.idmap.as_deref() == Some("") {
            self.owners(&mut mount, data, mapped)?;
        }
        into.requests.push(mount);
        Ok(())
    }

    /// The image that a mount shows: the one that was meant when the container was made.
    fn mounted_image(&self, mount: &MountRequest, data: &ContainerData) -> Result<store::image::Image> {
        let name = mount.source.as_deref().unwrap_or_default();
        if let Some(id) = data.mounted_images.get(name) {
            return Ok(self.store.images().get(id)?);
        }
        let found = self.look_up_image(name)?.ok_or_else(|| {
            CommandError::new(format!("cannot mount the image {name}: it is not here"))
                .hint(format!("`img pull {name}` fetches it"))
        })?;
        Ok(found.image)
    }

    /// The mounts of a container in docker's form.
    pub(super) fn show_mounts(&self, data: &ContainerData) -> Result<Vec<Value>> {
        let mut shown = Vec::new();
        for mount in data.mounts()? {
            let (kind, name, source) = match mount.kind {
                MountKind::Volume => {
                    let name = mount.source.clone().unwrap_or_default();
                    let id = self.store.volumes().find(&name).ok();
                    let path = id.map(|id| self.volume_path(&id)).transpose()?;
                    ("volume", Some(name), path.map(|path| path.display().to_string()).unwrap_or_default())
                }
                MountKind::Bind => ("bind", None, mount.source.clone().unwrap_or_default()),
                MountKind::Image => ("image", None, mount.source.clone().unwrap_or_default()),
                MountKind::DiskImage => ("image-file", None, mount.source.clone().unwrap_or_default()),
                _ => continue,
            };
            let mut value = json!({
                "Type": kind,
                "Source": source,
                "Destination": mount.target,
                "Mode": if mount.read_only { "ro" } else { "" },
                "RW": !mount.read_only,
                "Propagation": match (mount.kind, mount.propagation) {
                    (MountKind::Bind, propagation) => propagation.unwrap_or(Propagation::RPrivate).name(),
                    _ => "",
                },
            });
            if let Some(name) = name {
                value["Name"] = name.into();
                value["Driver"] = "local".into();
            }
            shown.push(value);
        }
        Ok(shown)
    }

    /// Remembers which images the mounts show, so that they stay what they are, and stay at all.
    pub(super) fn hold_mounted_images(&self, data: &mut ContainerData) -> Result<Vec<store::Digest>> {
        let mut uses = Vec::new();
        for mount in data.mounts()?.iter().filter(|mount| mount.kind == MountKind::Image) {
            let image = self.mounted_image(mount, data)?;
            uses.push(image.id.0);
            uses.extend(image.layers().iter().map(|layer| layer.0));
            data.mounted_images.insert(mount.source.clone().unwrap_or_default(), image.id);
        }
        Ok(uses)
    }

    /// `U` and `idmap`: what is mounted is given to the container's user, for good or for this mount only.
    fn owners(&self, mount: &mut MountRequest, data: &ContainerData, mapped: bool) -> Result<()> {
        let user = self.user_of(data)?;
        let source = Path::new(mount.source.as_deref().unwrap_or_default()).to_owned();
        if mount.chown {
            super::chown::give(&source, mount.subpath.as_deref(), user)?;
            mount.chown = false;
            if mapped {
                // On the disk it has the container's ids by now, which only a mapped mount shows as they are.
                mount.idmap.get_or_insert_with(String::new);
            }
        }
        if mapped {
            // Without words the mapping is that of the container's user namespace.
            return Ok(());
        }
        if mount.idmap.as_deref() == Some("") {
            use std::os::unix::fs::MetadataExt;
            let about = std::fs::metadata(&source).with_context(|| format!("cannot examine {}", source.display()))?;
            mount.idmap = Some(words(&IdMap::swapping((about.uid(), about.gid()), user)));
        }
        Ok(())
    }

    /// User and group, by number, that a container's program runs as.
    fn user_of(&self, data: &ContainerData) -> Result<(u32, u32)> {
        let of_image = self.run_config(data)?.map(|image| image.user).unwrap_or_default();
        let user = data.options.user.clone().unwrap_or(of_image);
        if user.is_empty() {
            return Ok((0, 0));
        }
        let merged = Merged::new(&self.store, &data.layers)?;
        let read = |path: &str, limit: u64| -> std::result::Result<Option<Vec<u8>>, OpError> {
            let Ok(path) = merged.tree.resolve(path.as_bytes(), true) else { return Ok(None) };
            let Some(node) = merged.tree.get(&path) else { return Ok(None) };
            let mut bytes = Vec::new();
            let read = merged.with_data(&node, |data| Ok(data.take(limit).read_to_end(&mut bytes)?));
            read.map(|_| Some(bytes)).map_err(|error| OpError::Message(error.text()))
        };
        if let Ok(uid) = user.parse::<u32>() {
            // As when it runs: a number has the group of its line, or none but root's.
            let text = read("/etc/passwd", PASSWD_MAX).unwrap_or_default().unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let line = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
            let of_uid = line.filter(|line| line.get(2).and_then(|field| field.parse().ok()) == Some(uid));
            let gid = of_uid.filter_map(|line| line.get(3)?.parse().ok()).next().unwrap_or(0);
            return Ok((uid, gid));
        }
        chown::resolve(&user, &read)
            .map_err(|error| CommandError::new(format!("cannot find the container's user {user}: {error}")))
    }
}

/// A mapping as the words that [`parse::id_map`] reads.
fn words(map: &IdMap) -> String {
    let list = |ranges: &[IdRange]| {
        let ranges: Vec<String> = ranges.iter().map(|(from, to, count)| format!("{from}-{to}-{count}")).collect();
        ranges.join("#")
    };
    format!("uids={};gids={}", list(&map.uids), list(&map.gids))
}

/// Refuses propagation that the kernel would take and not carry out.
fn must_propagate(mount: &MountRequest) -> Result<()> {
    let (both, what) = match mount.propagation {
        Some(Propagation::Shared | Propagation::RShared) => (true, "shared"),
        Some(Propagation::Slave | Propagation::RSlave) => (false, "shared or slave"),
        _ => return Ok(()),
    };
    let source = mount.source.as_deref().unwrap_or_default();
    let can = runner::can_propagate(Path::new(source), both).with_context(|| format!("cannot examine {source}"))?;
    if mount.kind != MountKind::Bind || can {
        return Ok(());
    }
    Err(CommandError::usage(format!("{source} does not lie on a {what} mount: nothing would propagate"))
        .hint("`mount --make-shared MOUNTPOINT` makes it one"))
}

/// Whether the source of a mount is there; one that must be and is not is an error, or is made if the user said so.
fn source_exists(mount: &MountRequest) -> Result<bool> {
    let source = mount.source.as_deref().unwrap_or_default();
    let path = Path::new(source);
    if path.exists() {
        return Ok(true);
    }
    if mount.optional {
        return Ok(false);
    }
    if mount.create_source {
        std::fs::create_dir_all(path).with_context(|| format!("cannot make the source {source} of a mount"))?;
        return Ok(true);
    }
    // docker makes a missing source for -v, which hides slips of the finger: podman refuses, and so do we.
    Err(CommandError::usage(format!("cannot mount {source}: there is no such file or directory on the host"))
        .hint(format!("`mkdir -p {source}` makes it; --mount takes bind-create-src")))
}
