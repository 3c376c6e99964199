//! Changing a container that exists: its limits, its restart policy, and what is mounted in it. If it runs, it feels the change at once; and the
//! change is recorded, for its next start.

use std::path::Path;

use oci_spec::runtime::Mount;
use runner::State;
use runner::spec::parse::{self, MountKind, MountRequest, RestartPolicy};
use runner::spec::{ResourceOptions, limits};

use super::create::usage;
use super::ids;
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

/// One change that has been made, as it goes into the record.
enum Step {
    Limits(Box<Limits>),
    Restart { words: String, standing: Option<Standing> },
    Removed(String),
    Added { words: String, place: String, anonymous_volumes: Vec<String> },
}

impl Step {
    fn apply(&self, data: &mut ContainerData) {
        match self {
            Self::Limits(newer) => data.options.limits = data.options.limits.changed_by(newer),
            Self::Restart { words, standing } => {
                data.options.supervision.restart = Some(words.clone());
                data.standing = standing.unwrap_or(data.standing);
            }
            Self::Removed(place) => drop(drop_mount(&mut data.options, place)),
            Self::Added { words, place, anonymous_volumes } => {
                // Somebody else may have mounted something there meanwhile: the last one is what is seen.
                drop_mount(&mut data.options, place);
                add_words(&mut data.options, words);
                data.anonymous_volumes.extend(anonymous_volumes.iter().cloned());
            }
        }
    }
}

impl Engine {
    /// Changes a container.
    ///
    /// # Errors
    /// No such container, words that make no sense, a limit that the kernel refuses; what was done before it is recorded.
    pub fn update(&self, name: &str, changes: &Changes) -> Result<()> {
        let mut record = self.container_named(name)?;
        let running = self.state(&record.id)?.is_some_and(|state: State| state.is_running());
        let what = || format!("cannot update container {name}");
        let mut steps = Vec::new();
        let done = self.make_changes(&mut record, changes, running, &mut steps).with_context(what);
        // What was done before something failed is recorded, too; and only that, for others may have changed the rest meanwhile.
        let recorded = self.store.containers().change(&record.id, |data: &mut ContainerData| {
            steps.iter().for_each(|step| step.apply(data));
        });
        let record = self.unless_removed(&record, done.and(recorded.map_err(CommandError::from)))?;
        self.container_event(&record, "update");
        Ok(())
    }

    fn make_changes(
        &self,
        record: &mut ContainerRecord,
        changes: &Changes,
        running: bool,
        steps: &mut Vec<Step>,
    ) -> Result<()> {
        let mut made = |record: &mut ContainerRecord, step: Step| {
            step.apply(&mut record.data);
            steps.push(step);
        };
        if changes.limits != Limits::default() {
            self.update_limits(record, &changes.limits, running)?;
            made(record, Step::Limits(Box::new(changes.limits.clone())));
        }
        if let Some(words) = &changes.restart {
            let step = self.update_restart(record, words)?;
            made(record, step);
        }
        for place in &changes.mount_remove {
            let step = self.remove_mount(record, place, running)?;
            made(record, step);
        }
        for words in &changes.mount_add {
            let step = self.add_mount(record, words, running)?;
            made(record, step);
        }
        Ok(())
    }

    fn update_limits(&self, record: &ContainerRecord, newer: &Limits, running: bool) -> Result<()> {
        let all = record.data.options.limits.changed_by(newer);
        let mut changed = record.data.clone();
        changed.options.limits = all.clone();
        // All words together must make sense to the next start, too.
        self.check_flags(&record.id, &changed, self.run_config(&record.data)?.as_ref())?;
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
            match runner::update(&self.state_dir(&record.id), &limits(&resources).map_err(usage)?) {
                // It has ended meanwhile: they are for its next start.
                Err(error) if error.has_ended() => {}
                updated => updated?,
            }
        }
        Ok(())
    }

    /// A monitor reads the policy when the program has ended; a container that waits to be started again has one, too.
    fn update_restart(&self, record: &ContainerRecord, words: &str) -> Result<Step> {
        let mut options = record.data.options.clone();
        options.supervision.restart = Some(words.to_owned());
        let policy = restart_policy(&options)?;
        self.explain_boot(&options)?;
        let up = self.state(&record.id)?.is_some_and(|state: State| state.is_up());
        if up {
            runner::set_restart_policy(&self.state_dir(&record.id), policy)?;
        }
        let standing = match (policy, up) {
            (RestartPolicy::No, _) => Some(Standing::Unknown),
            (_, true) => Some(Standing::Up),
            (_, false) => None,
        };
        Ok(Step::Restart { words: words.to_owned(), standing })
    }

    fn add_mount(&self, record: &ContainerRecord, words: &str, running: bool) -> Result<Step> {
        // A path is meant from here, not from where the container was made.
        let words = if words.starts_with("./") || words.starts_with("../") {
            format!("{}/{words}", std::path::absolute(".").context("cannot tell the working directory")?.display())
        } else {
            words.to_owned()
        };
        let mut alone = record.data.clone();
        let options = &mut alone.options;
        (options.volumes, options.mounts, options.tmpfs) = (Vec::new(), Vec::new(), Vec::new());
        options.storage.mount_entries.clear();
        alone.anonymous_volumes.clear();
        alone.inherited.clear();
        alone.image_tmpfs.clear();
        add_words(&mut alone.options, &words);
        // Two at one place, and what is not supported, are refused as on a start.
        let asked = parse_mounts(&alone.options)?;
        let [request] = asked.as_slice() else {
            return Err(CommandError::usage(format!("{words:?} is not one mount")));
        };
        let place = request.target.trim_end_matches('/').to_owned();
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
        if running {
            let mapped = runner::RunningIds::of(&self.state_dir(&record.id))?.is_some();
            let mut requests = self.resolve_mounts(&alone, mapped)?.requests;
            if mapped {
                ids::show_as_on_disk(&mut requests, |request| self.is_own(&record.id, request));
            }
            for request in requests {
                let mount = self.mount_of(&record.id, &alone, request)?;
                runner::add_mount(&self.state_dir(&record.id), &mount)?;
            }
        }
        Ok(Step::Added { words, place, anonymous_volumes: alone.anonymous_volumes })
    }

    /// A request as the runner mounts it: with the attributes that it would have on a start.
    fn mount_of(&self, id: &str, data: &ContainerData, request: MountRequest) -> Result<Mount> {
        let target = request.target.trim_end_matches('/').to_owned();
        let mounts = self.mounts_for(id, data, vec![request])?;
        let found = mounts.into_iter().rev().find(|mount| mount.destination() == Path::new(&target));
        found.ok_or_else(|| CommandError::new(format!("nothing is to be mounted at {target}")))
    }

    fn remove_mount(&self, record: &ContainerRecord, place: &str, running: bool) -> Result<Step> {
        let bare = place.trim_end_matches('/');
        if !drop_mount(&mut record.data.options.clone(), bare) {
            return Err(CommandError::new(format!("nothing that can be taken away is mounted at {place}"))
                .hint("those made by -v, --mount, --tmpfs and --mount-add can; `img inspect` shows them"));
        }
        if running {
            runner::remove_mount(&self.state_dir(&record.id), Path::new(bare)).map_err(|error| {
                CommandError::from(error)
                    .hint("stop the container first: the mount is then gone from its next start on")
            })?;
        }
        Ok(Step::Removed(bare.to_owned()))
    }
}

/// Whether the words are those of `--mount` rather than of `-v`.
fn is_mount(words: &str) -> bool {
    let first = words.split(',').next().unwrap_or_default();
    let key = first.split_once('=').map(|(key, _)| key);
    key.is_some_and(|key| ["type", "src", "source", "dst", "destination", "target"].contains(&key))
}

/// Adds the words of a mount.
fn add_words(options: &mut Options, words: &str) {
    let all = if is_mount(words) { &mut options.mounts } else { &mut options.volumes };
    all.push(words.to_owned());
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
