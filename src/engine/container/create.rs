//! Making a container: the image is found or pulled, everything the user said is checked, then the record is written.
//! What is wrong is said here, before anything exists.

use std::io::Write;
use std::path::Path;

use jiff::Timestamp;
use runner::spec::{ImageDefaults, UserChoices, merge};
use runner::timing::{self, Mark};
use store::Digest;
use store::image::{Image, RunConfig};
use store::record::Record;

use super::claim::Claim;
use super::options::Options;
use super::run::Startable;
use super::supervise::Standing;
use super::{ContainerData, names};
use crate::engine::Engine;
use crate::engine::progress::{Event, Progress};
use crate::engine::pull::PullOptions;
use crate::error::{CommandError, Context as _, Kind, Result};

/// Tries at a name nobody has.
const NAME_TRIES: u32 = 20;

impl Engine {
    /// Makes a container; gives it as it is started.
    ///
    /// # Errors
    /// An image that cannot be had, flags that contradict each other, a name that is taken.
    pub fn create(&self, options: &Options, cidfile: Option<&Path>, progress: &dyn Progress) -> Result<Startable> {
        if !options.takes_nothing() {
            self.sweep_some()?;
        }
        if cidfile.is_some_and(Path::exists) {
            let path = cidfile.unwrap_or(Path::new("")).display();
            return Err(CommandError::new(format!("the file {path} for the container's id exists"))
                .hint("is another container running? remove the file if not"));
        }
        super::supervise::supervision(options, &[])?;
        self.check_logging(options)?;
        let image = match &options.rootfs {
            Some(_) => None,
            None => Some(self.image_for(options, progress)?),
        };
        timing::mark(Mark::Resolved);
        let id = self.store.containers().new_id()?;
        let config = image.as_ref().map(|image| &image.config.config);
        let merged =
            merge(&defaults(config, options.environment.unset_env_all), &choices(options, &id)?).map_err(usage)?;
        let mut data = ContainerData {
            options: options.clone(),
            image: image.as_ref().map(|image| image.id),
            layers: image.as_ref().map(|image| image.layers().to_vec()).unwrap_or_default(),
            args: merged.args.clone(),
            labels: merged.labels.clone(),
            anonymous_volumes: Vec::new(),
            image_tmpfs: Vec::new(),
            inherited: Vec::new(),
            mounted_images: std::collections::BTreeMap::new(),
            directory: std::path::absolute(".").ok(),
            last: None,
            standing: Standing::default(),
        };
        self.inherit_mounts(&mut data)?;
        // All words are understood before a volume is made or a record written.
        self.check_flags(&id, &data, config)?;
        super::health::asked(options, config)?;
        let mounted = self.hold_mounted_images(&mut data)?;
        let uses: Vec<Digest> = image
            .iter()
            .flat_map(|image| std::iter::once(image.id.0).chain(image.layers().iter().map(|layer| layer.0)))
            .chain(mounted)
            .collect();
        let mut record = Record { id: id.clone(), name: String::new(), created: Timestamp::now(), uses, data };
        let made = self.write_all(&mut record, &merged.volumes, progress);
        let kept = made.and_then(|claim| match self.keep_volumes(&record) {
            Ok(()) => Ok(claim),
            Err(error) => {
                self.store.containers().remove(&id)?;
                Err(error)
            }
        });
        let claim = match kept {
            Ok(claim) => Some(claim),
            Err(error) => {
                for volume in record.data.anonymous_volumes.iter().filter_map(|line| Some(line.rsplit_once('=')?.1)) {
                    // What cannot be removed now either is for `volume prune`.
                    let _ = crate::engine::volumes::attach::remove(self.store.volumes(), volume);
                }
                return Err(error);
            }
        };
        self.explain_boot(options)?;
        // The record protects the image from now on, without the cost of a lease; until now nothing did.
        if record.data.image.is_some_and(|image| !self.store.images().has(&image)) {
            self.store.containers().remove(&id)?;
            return Err(CommandError::new(format!("image {} was removed meanwhile", options.image)));
        }
        record.data.image.map_or(Ok(()), |image| self.store.images().note_use(&image))?;
        if let Some(path) = cidfile {
            let write = || std::fs::File::create_new(path)?.write_all(id.as_bytes());
            if let Err(error) = write() {
                drop(claim);
                self.remove_container(&id, true, true)?;
                return Err(error).context(format!("cannot write {}", path.display()));
            }
        }
        if !options.remove && self.store.containers().is_in_memory(&id) {
            let note = format!(
                "the store's disk is read-only: container {} lives in memory, until the next boot",
                record.name
            );
            progress.event(Event::Note(&note));
        }
        self.container_event(&record, "create");
        timing::mark(Mark::Recorded);
        Ok(Startable { record, claim, image: image.map(|image| image.config.config) })
    }

    /// The volumes that a new container needs, and its record.
    fn write_all(
        &self,
        record: &mut super::ContainerRecord,
        declared: &[String],
        progress: &dyn Progress,
    ) -> Result<Claim> {
        let id = record.id.clone();
        self.make_volumes(&id, &mut record.data, declared)?;
        let options = &record.data.options;
        if options.privileged {
            progress.event(Event::Note(&opened(options)));
        }
        if let (true, Some(name)) = (options.replace, &options.name) {
            self.replace(name)?;
        }
        self.write_record(record)
    }

    /// The image of a new container, pulled as `--pull` says.
    fn image_for(&self, options: &Options, progress: &dyn Progress) -> Result<Image> {
        let policy = options.pull.as_deref().unwrap_or("missing");
        let here = if policy == "always" { None } else { self.look_up_image(&options.image)? };
        let mut here = here.map(|found| self.not_empty(found, &options.image)).transpose()?;
        if let Some(found) = here.take_if(|_| policy != "newer") {
            let Some(text) = &options.platform else { return Ok(found.image) };
            let wanted = text.parse()?;
            if policy == "never" {
                return self.image_of_platform(&found, &options.image, &wanted);
            }
            // What is here may be for other machines; the registry may have the one that was asked for.
            if let Some(image) = self.fitting(&found, &wanted)? {
                return Ok(image);
            }
        }
        if policy == "never" {
            return Err(CommandError::new(format!("no such image: {}", options.image))
                .hint("--pull=never forbids to fetch it; `img images` lists what is here"));
        }
        if here.is_none() {
            let wanted = options.platform.as_ref().map_or_else(String::new, |platform| format!(" for {platform}"));
            progress.event(Event::Note(&format!("{} is not here{wanted}, pulling it", options.image)));
        }
        let how = PullOptions { platform: options.platform.clone(), ..PullOptions::default() };
        let pulled = self.pull(&options.image, &how, progress);
        match (pulled, here) {
            (Ok(pulled), _) => Ok(self.store.images().get(&pulled.image)?),
            // What is here will do when there is no telling whether it is the newest.
            (Err(error), Some(found)) => {
                let image = match &options.platform {
                    Some(text) => self.image_of_platform(&found, &options.image, &text.parse()?)?,
                    None => found.image,
                };
                progress.event(Event::Note(&format!("using {} as it is here: {}", options.image, error.text())));
                Ok(image)
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Removes the container that has the name, if there is one, running or not.
    fn replace(&self, name: &str) -> Result<()> {
        match self.find_container(name) {
            // A name may also be the beginning of another one's id.
            Ok(id) if self.container_record(&id)?.name == name => self.remove_container(&id, true, true).map(drop),
            _ => Ok(()),
        }
    }

    /// Writes the record under the name that was asked for, or one nobody has.
    fn write_record(&self, record: &mut Record<ContainerData>) -> Result<Claim> {
        if let Some(name) = &record.data.options.name {
            record.name.clone_from(name);
            return self.store.containers().create_held(record).map(Claim::of).map_err(|error| match error {
                store::Error::Conflict(_) => {
                    let owner =
                        self.find_container(name).map_or_else(|_| "another one".into(), |id| id[..12].to_owned());
                    CommandError::new(format!("the name {name} is already in use by container {owner}"))
                        .kind(Kind::Container)
                        .hint(format!("`img rm {name}` removes that one, or choose another name"))
                }
                error => error.into(),
            });
        }
        for attempt in 0..NAME_TRIES {
            record.name = names::generate(attempt)?;
            match self.store.containers().create_held(record) {
                Err(store::Error::Conflict(_)) => {}
                result => return Ok(Claim::of(result?)),
            }
        }
        Err(CommandError::new("found no free name for the container").hint("choose one with --name"))
    }
}

/// What `--privileged` opens, in words; what other flags close again is left out.
fn opened(options: &Options) -> String {
    let mut opened = vec!["all devices of the host"];
    if options.cap_drop.is_empty() {
        opened.insert(0, "all capabilities");
    }
    if options.security.iter().all(|option| !option.starts_with("seccomp")) {
        opened.push("no filter of system calls");
    }
    opened.push("/proc and /sys whole and writable");
    format!("--privileged opens: {}", opened.join(", "))
}

/// What the image says of running it; without its variables if `bare`.
pub(super) fn defaults(config: Option<&RunConfig>, bare: bool) -> ImageDefaults {
    let Some(config) = config else { return ImageDefaults::default() };
    ImageDefaults {
        entrypoint: config.entrypoint.clone().unwrap_or_default(),
        cmd: config.cmd.clone().unwrap_or_default(),
        env: if bare { Vec::new() } else { config.env.clone() },
        workdir: config.working_dir.clone(),
        user: config.user.clone(),
        exposed_ports: config.exposed_ports.keys().cloned().collect(),
        volumes: config.volumes.keys().cloned().collect(),
        stop_signal: config.stop_signal.clone(),
        labels: config.labels.clone(),
    }
}

/// What the user says of the same things.
pub(super) fn choices(options: &Options, id: &str) -> Result<UserChoices> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (text.clone(), String::new()),
    };
    if let Some(bad) = options.labels.iter().find(|label| label.is_empty() || label.starts_with('=')) {
        return Err(CommandError::usage(format!("label without a key: {bad:?}")));
    }
    Ok(UserChoices {
        // A system's init is the first process, whatever the image would put before a command.
        entrypoint: match &options.entrypoint {
            None if options.system.system => Some(vec![String::new()]),
            given => given.as_ref().map(|program| vec![program.clone()]),
        },
        args: match options.command.is_empty() && options.entrypoint.is_none() && options.system.system {
            true => vec![super::boot::INIT.to_owned()],
            false => options.command.clone(),
        },
        env: options.env.iter().map(pair).collect(),
        unset: options.environment.unset_env.clone(),
        workdir: options.workdir.clone(),
        user: options.user.clone(),
        expose: Vec::new(),
        stop_signal: options.stop_signal.clone(),
        labels: options.labels.iter().map(pair).collect(),
        hostname: hostname(options, id),
        terminal: options.tty,
    })
}

/// The host name inside: what the user said, else the beginning of the id.
pub(super) fn hostname(options: &Options, id: &str) -> String {
    let own = || match super::namespaces::has_name_of_host(options) {
        true => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        false => id.chars().take(12).collect(),
    };
    options.hostname.clone().unwrap_or_else(own)
}

/// An error of the words on the command line.
pub(in crate::engine) fn usage(error: runner::spec::Error) -> CommandError {
    let error: CommandError = error.into();
    error.kind(Kind::Usage)
}
