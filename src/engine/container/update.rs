//! Changing a container that exists: its limits, its restart policy, and what is mounted in it. If it runs, it feels the change at once; and the
//! change is recorded, for its next start.

use std::path::Path;

use oci_spec::runtime::Mount;
use runner::State;
use runner::spec::parse::{self, MountKind, MountRequest, RestartPolicy};
use runner::spec::{ResourceOptions, build, limits};

use super::create::usage;
use super::mounts::parse_mounts;
use super::options::Options;
use super::options::limits::Limits;
use super::supervise::{Standing, restart_policy};
use super::{ContainerData, ContainerRecord};
use crate::engine::Engine;
use crate::error::{CommandError, Context as _, Result};

/// What is to be changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Limits in place of those it has; what is not named stays.
    pub limits: Limits,
    /// A restart policy in place of the one it has.
    pub restart: Option<String>,
    /// Mounts to add, in the words of `-v` or `--mount`.
    pub mount_add: Vec<String>,
    /// Places at which what is mounted goes.
    pub mount_remove: Vec<String>,
}

impl Engine {
    /// Changes a container.
    ///
    /// # Errors
    /// No such container, words that make no sense, a limit that the kernel refuses; what was done before it is recorded.
    pub fn update(&self, name: &str, changes: &Changes) -> Result<()> {
        let mut record = self.container_record(&self.find_container(name)?)?;
        let running = self.state(&record.id)?.is_some_and(|state: State| state.is_running());
        let what = || format!("cannot update container {name}");
        let mut done = Ok(());
        if changes.limits != Limits::default() {
            self.update_limits(&mut record, &changes.limits, running).with_context(what)?;
        }
        if let Some(words) = &changes.restart {
            self.update_restart(&mut record, words).with_context(what)?;
        }
        for place in &changes.mount_remove {
            done = done.and_then(|()| self.remove_mount(&mut record, place, running).with_context(what));
        }
        for words in &changes.mount_add {
            done = done.and_then(|()| self.add_mount(&mut record, words, running).with_context(what));
        }
        self.store.containers().replace(&record)?;
        done?;
        self.container_event(&record, "update");
        Ok(())
    }

    fn update_limits(&self, record: &mut ContainerRecord, newer: &Limits, running: bool) -> Result<()> {
        let all = record.data.options.limits.changed_by(newer);
        let mut changed = record.data.clone();
        changed.options.limits = all.clone();
        // All words together must make sense to the next start, too.
        let image = record.data.image.map(|image| self.store.images().get(&image)).transpose()?;
        self.check_flags(&record.id, &changed, image.as_ref().map(|image| &image.config.config))?;
        if running {
            // Only what was named is written, but for pairs of which the kernel needs both halves.
            let mut part = newer.clone();
            if part.memory.is_some() || part.memory_swap.is_some() {
                part.memory.clone_from(&all.memory);
                part.memory_swap.clone_from(&all.memory_swap);
            }
            if part.cpu_quota.is_some() || part.cpu_period.is_some() {
                (part.cpu_quota, part.cpu_period) = (all.cpu_quota, all.cpu_period);
            }
            let resources = part.resources(ResourceOptions::unlimited())?;
            runner::update(&self.state_dir(&record.id), &limits(&resources).map_err(usage)?)?;
        }
        record.data = changed;
        Ok(())
    }

    /// A monitor reads the policy when the program has ended; a container that waits to be started again has one, too.
    fn update_restart(&self, record: &mut ContainerRecord, words: &str) -> Result<()> {
        let mut options = record.data.options.clone();
        options.supervision.restart = Some(words.to_owned());
        let policy = restart_policy(&options)?;
        self.explain_boot(&options)?;
        let up = self.state(&record.id)?.is_some_and(|state: State| state.is_up());
        if up {
            runner::set_restart_policy(&self.state_dir(&record.id), policy)?;
        }
        record.data.standing = match (policy, up) {
            (RestartPolicy::No, _) => Standing::Unknown,
            (_, true) => Standing::Up,
            (_, false) => record.data.standing,
        };
        record.data.options = options;
        Ok(())
    }

    fn add_mount(&self, record: &mut ContainerRecord, words: &str, running: bool) -> Result<()> {
        // A path is meant from here, not from where the container was made.
        let words = if words.starts_with("./") || words.starts_with("../") {
            format!("{}/{words}", std::path::absolute(".").context("cannot tell the working directory")?.display())
        } else {
            words.to_owned()
        };
        let mut changed = record.data.clone();
        let mut alone = record.data.clone();
        let options = &mut alone.options;
        (options.volumes, options.mounts, options.tmpfs) = (Vec::new(), Vec::new(), Vec::new());
        options.storage.mount_entries.clear();
        alone.anonymous_volumes.clear();
        alone.inherited.clear();
        alone.image_tmpfs.clear();
        for options in [&mut changed.options, &mut alone.options] {
            if is_mount(&words) { options.mounts.push(words.clone()) } else { options.volumes.push(words.clone()) }
        }
        // Two at one place, and what is not supported, are refused as on a start.
        let asked = parse_mounts(&alone.options)?;
        let [request] = asked.as_slice() else {
            return Err(CommandError::usage(format!("{words:?} is not one mount")));
        };
        let place = request.target.trim_end_matches('/');
        if record.data.mounts()?.iter().any(|mount| mount.target.trim_end_matches('/') == place) {
            return Err(CommandError::usage(format!("two mounts at {}", request.target))
                .hint(format!("--mount-rm {place} takes the other one away")));
        }
        if !matches!(request.kind, MountKind::Bind | MountKind::Tmpfs | MountKind::Volume) {
            return Err(CommandError::usage(format!("{words:?}: only binds, volumes and tmpfs can be added"))
                .hint("an image is mounted when the container is made"));
        }
        self.check_mounts(&alone)?;
        self.make_volumes(&record.id, &mut alone, &[])?;
        changed.anonymous_volumes.extend(alone.anonymous_volumes.iter().cloned());
        if running {
            for request in self.resolve_mounts(&alone)?.requests {
                let mount = self.mount_of(&record.id, &alone, request)?;
                runner::add_mount(&self.state_dir(&record.id), &mount)?;
            }
        }
        record.data = changed;
        Ok(())
    }

    /// A request as the runner mounts it: with the attributes that it would have on a start.
    fn mount_of(&self, id: &str, data: &ContainerData, request: MountRequest) -> Result<Mount> {
        let target = request.target.trim_end_matches('/').to_owned();
        let image = data.image.map(|image| self.store.images().get(&image)).transpose()?;
        let (mut options, _) = self.spec_options(id, data, image.as_ref().map(|image| &image.config.config))?;
        options.mounts = vec![request];
        let spec = build(&options).map_err(usage)?;
        let mounts = spec.mounts().clone().unwrap_or_default();
        let found = mounts.into_iter().rev().find(|mount| mount.destination() == Path::new(&target));
        found.ok_or_else(|| CommandError::new(format!("nothing is to be mounted at {target}")))
    }

    fn remove_mount(&self, record: &mut ContainerRecord, place: &str, running: bool) -> Result<()> {
        let bare = place.trim_end_matches('/');
        let mut options = record.data.options.clone();
        if !drop_mount(&mut options, bare) {
            return Err(CommandError::new(format!("nothing that can be taken away is mounted at {place}"))
                .hint("those made by -v, --mount, --tmpfs and --mount-add can; `img inspect` shows them"));
        }
        if running {
            runner::remove_mount(&self.state_dir(&record.id), Path::new(bare)).map_err(|error| {
                CommandError::from(error)
                    .hint("stop the container first: the mount is then gone from its next start on")
            })?;
        }
        record.data.options = options;
        Ok(())
    }
}

/// Whether the words are those of `--mount` rather than of `-v`.
fn is_mount(words: &str) -> bool {
    let first = words.split(',').next().unwrap_or_default();
    let key = first.split_once('=').map(|(key, _)| key);
    key.is_some_and(|key| ["type", "src", "source", "dst", "destination", "target"].contains(&key))
}

/// Takes the words of the mount at `place` away; says whether there were any.
fn drop_mount(options: &mut Options, place: &str) -> bool {
    let before = options.volumes.len() + options.mounts.len() + options.tmpfs.len();
    let stays = |parsed: runner::spec::Result<MountRequest>| {
        parsed.map_or(true, |request| request.target.trim_end_matches('/') != place)
    };
    options.volumes.retain(|text| stays(parse::volume(text)));
    options.mounts.retain(|text| stays(parse::mount(text)));
    options.tmpfs.retain(|text| stays(parse::tmpfs(text)));
    options.volumes.len() + options.mounts.len() + options.tmpfs.len() < before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_both_flags_are_told_apart() {
        for (words, expected) in [
            ("type=bind,src=/a,dst=/b", true),
            ("target=/x,type=tmpfs", true),
            ("/a=b:/c", false),
            ("vol:/x:ro", false),
        ] {
            assert_eq!(is_mount(words), expected, "{words}");
        }
    }

    #[test]
    fn a_mount_is_dropped_by_its_place() {
        let mut options = Options {
            volumes: vec!["/a:/b".into(), "/a:/c".into()],
            mounts: vec!["type=tmpfs,target=/d".into()],
            tmpfs: vec!["/e:size=1m".into()],
            ..Options::default()
        };
        for place in ["/b", "/d", "/e"] {
            assert!(drop_mount(&mut options, place) && !drop_mount(&mut options, place), "{place}");
        }
        assert_eq!(options.volumes, ["/a:/c"]);
    }
}
