//! From a record to what the runner takes: the flags parsed, joined with the image, names resolved, layers found.

use std::path::Path;

use oci_spec::runtime::{Mount, Spec};
use runner::network::{Join, Mode};
use runner::spec::parse::{self, MountKind, SeccompChoice, SecurityOptions};
use runner::spec::{
    Merged, NamespaceMode, Namespaces, Options as SpecOptions, ResourceOptions, SharedMemory, build, device, merge,
};
use runner::validate::{Host, validate};
use runner::{Container, HostsFile, Supervision};
use store::image::RunConfig;

use super::create::{choices, defaults, hostname, usage};
use super::files::{EtcFiles, Names};
use super::network::who_answers;
use super::rootfs::Directory;
use super::supervise::supervision;
use super::{ContainerData, ContainerRecord};
use super::{boot, health, ids, inside, namespaces, secrets};
use crate::engine::Engine;
use crate::error::{CommandError, Context as _, Result};

/// Largest seccomp profile read, bytes.
const PROFILE_MAX: u64 = 4 << 20;

impl Engine {
    /// Whether all the flags make sense, without making anything.
    ///
    /// # Errors
    /// The first that does not, with a hint.
    pub(super) fn check_flags(&self, id: &str, data: &ContainerData, image: Option<&RunConfig>) -> Result<()> {
        let (mut options, merged) = self.spec_options(id, data, image)?;
        self.network(id, data.options.name.as_deref().unwrap_or_default(), &data.options, &merged.exposed_ports)?
            .validate()?;
        EtcFiles::parse(&data.options, id, Names::Copied)?;
        inside::mounts(&data.options)?;
        secrets::check(&data.options)?;
        self.check_mounts(data)?;
        super::limit::Limit::of(data)?;
        if let Some(keys) = &data.options.detach_keys {
            parse::detach_keys(keys).map_err(usage)?;
        }
        if let Some(rootfs) = &data.options.rootfs {
            Directory::parse(rootfs)?.check(&data.options)?;
        }
        if matches!(options.security.seccomp, SeccompChoice::Default | SeccompChoice::Builtin) {
            // It is right, and the longest part to write.
            options.security.seccomp = SeccompChoice::Unconfined;
        }
        build(&options).map_err(usage)?;
        let host = Host::detect(&options).map_err(|error| CommandError::from(runner::Error::from(error)))?;
        validate(&options, &host).map_err(usage)
    }

    /// Everything the runner needs to start a container.
    ///
    /// # Errors
    /// A volume, layer or network that is not there.
    pub(super) fn prepare(&self, record: &ContainerRecord, image: Option<&RunConfig>) -> Result<Container> {
        let (id, data) = (&record.id, &record.data);
        let (mut options, merged) = self.spec_options(id, data, image)?;
        let network = self.network(id, &record.name, &data.options, &merged.exposed_ports)?;
        options.namespaces.network = match &network.mode {
            Mode::Host => NamespaceMode::Host,
            Mode::Join(_) => network.mode.namespace_path().map_or(NamespaceMode::Private, NamespaceMode::Path),
            Mode::None | Mode::Empty | Mode::Networks(_) => NamespaceMode::Private,
        };
        let mut lenders = self.join_namespaces(&data.options, &mut options)?;
        lenders.extend(self.join_ids(&data.options, &mut options)?);
        if let Mode::Join(Join::Process(process)) = &network.mode {
            lenders.push(*process);
        }
        let renewal = (!lenders.is_empty()).then(|| self.renewal(id));
        let state_dir = self.state_dir(id);
        let etc = EtcFiles::parse(&data.options, id, who_answers(&network.mode))?;
        let mut mounts = etc.write(&state_dir)?;
        mounts.extend(boot::mounts(&data.options, &merged.args));
        mounts.extend(inside::mounts(&data.options)?);
        let given = self.secrets(&data.options, 0)?;
        mounts.extend(given.mounts);
        options.env.extend(given.env);
        let mountable = self.resolve_mounts(data, options.namespaces.user.is_some())?;
        mounts.extend(mountable.requests);
        if options.namespaces.user.is_some() {
            ids::show_as_on_disk(&mut mounts, |mount| self.is_own(id, mount));
        }
        // What the user mounts wins over ours.
        let targets: Vec<String> = mounts.iter().map(|mount| mount.target.trim_end_matches('/').to_owned()).collect();
        let mut index = 0;
        mounts.retain(|mount| {
            index += 1;
            !targets[index..].iter().any(|target| *target == mount.target.trim_end_matches('/'))
        });
        options.mounts = mounts;
        options.security.mask.extend(self.own_places(data)?);
        let of_image = image.and_then(|image| image.stop_signal.as_deref());
        let stop_signal = self.stop_signal_of_init(data, &merged.args, of_image).unwrap_or(merged.stop_signal);
        options.stop_signal = Some(stop_signal);
        let rootfs = self.rootfs(id, data)?;
        options.read_only |= Self::is_read_only(&rootfs);
        let spec = build(&options)?;
        let logging = self.logging(&data.options)?;
        let passthrough = logging.passthrough()?;
        let log_service = logging.service(id, &record.name, &data.options.image);
        let health = health::check(&data.options, image, &spec)?;
        let paths = self.store.containers().container_paths(id)?;
        Ok(Container {
            id: id.clone(),
            run_dir: self.runroot.clone(),
            rootfs,
            spec,
            network: Some(network),
            hosts: (!data.options.inside.no_hosts).then(|| HostsFile {
                path: state_dir.join("hosts"),
                hostname: etc.hostname.clone(),
                extra: etc.extra,
            }),
            state_dir,
            init: data.options.init,
            log: logging.files(paths.log),
            create_cwd: true,
            lenders,
            layer_mounts: mountable.layers,
            file_mounts: given.files,
            cgroup_parent: data.options.place.cgroup_parent.clone(),
            stop_signal,
            supervision: Supervision {
                health,
                log_service,
                passthrough,
                renewal,
                ..supervision(&data.options, &merged.args)?
            },
            passed_on: Vec::new(),
        })
    }

    /// Whether what is mounted is a file or volume of ours, rather than the user's.
    pub(super) fn is_own(&self, id: &str, mount: &parse::MountRequest) -> bool {
        let source = Path::new(mount.source.as_deref().unwrap_or_default());
        source.starts_with(self.state_dir(id)) || source.starts_with(self.store.root())
    }

    /// The spec of a container with these words, for inspecting it and for running another program in it.
    ///
    /// # Errors
    /// Words that make no sense.
    pub(in crate::engine) fn spec_of(&self, id: &str, data: &ContainerData) -> Result<Spec> {
        self.spec_with(id, data, self.run_config(data)?.as_ref())
    }

    /// As [`Engine::spec_of`], for a caller who has read what the image says.
    ///
    /// # Errors
    /// Words that make no sense.
    pub(super) fn spec_with(&self, id: &str, data: &ContainerData, image: Option<&RunConfig>) -> Result<Spec> {
        let (mut options, _) = self.spec_options(id, data, image)?;
        options.mounts = data.mounts()?;
        // Volumes and images have no path here.
        options.mounts.retain(|mount| !matches!(mount.kind, MountKind::Volume | MountKind::Image));
        Ok(build(&options)?)
    }

    /// The mounts of a container with these words that `requests` come to: with the attributes they have on a start.
    ///
    /// # Errors
    /// Words that make no sense.
    pub(in crate::engine) fn mounts_for(
        &self,
        id: &str,
        data: &ContainerData,
        requests: Vec<parse::MountRequest>,
    ) -> Result<Vec<Mount>> {
        let (mut options, _) = self.spec_options(id, data, self.run_config(data)?.as_ref())?;
        options.mounts = requests;
        Ok(build(&options).map_err(usage)?.mounts().clone().unwrap_or_default())
    }

    /// The flags as the runner's spec takes them, but for mounts and the network, which depend on what is there.
    pub(super) fn spec_options(
        &self,
        id: &str,
        data: &ContainerData,
        image: Option<&RunConfig>,
    ) -> Result<(SpecOptions, Merged)> {
        let asked = &data.options;
        let merged = merge(&defaults(image, asked.environment.unset_env_all), &choices(asked, id)?).map_err(usage)?;
        let mut security = SecurityOptions::parse(asked.security.iter().map(String::as_str)).map_err(usage)?;
        if let SeccompChoice::File(path) = &security.seccomp {
            let too_large = std::fs::metadata(path).is_ok_and(|about| about.len() > PROFILE_MAX);
            if too_large {
                return Err(CommandError::usage(format!("the seccomp profile {path} is larger than 4 MiB")));
            }
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read the seccomp profile {path}"))?;
            security.seccomp = SeccompChoice::Profile(text);
        }
        let mut devices = Vec::new();
        if asked.privileged {
            devices.extend(device::all_of_host().map_err(usage)?);
        }
        for text in &asked.devices {
            devices.extend(device::resolve(&parse::device(text).map_err(usage)?).map_err(usage)?);
        }
        let ulimits = asked.ulimits.iter().map(|text| parse::ulimit(text)).collect::<runner::spec::Result<Vec<_>>>();
        let rules = asked.place.device_cgroup_rules.iter();
        let device_rules = rules.map(|text| parse::device_rule(text)).collect::<runner::spec::Result<Vec<_>>>();
        let sysctls = asked.sysctls.iter().map(|text| parse::key_value("kernel parameter", text));
        let shared_memory = match &asked.shm_size {
            Some(text) => SharedMemory::Size(parse::size("size of /dev/shm", text).map_err(usage)?),
            None => SpecOptions::default().shared_memory,
        };
        let mut options = SpecOptions {
            id: id.to_owned(),
            args: merged.args.clone(),
            env: merged.env.clone(),
            cwd: merged.cwd.clone(),
            user: merged.user.clone(),
            group_add: asked.groups.clone(),
            hostname: hostname(asked, id),
            terminal: asked.tty,
            cap_add: asked.cap_add.clone(),
            cap_drop: asked.cap_drop.clone(),
            security,
            read_only: asked.read_only,
            privileged: asked.privileged,
            devices,
            shared_memory,
            ulimits: ulimits.map_err(usage)?.into_iter().flatten().collect(),
            sysctls: sysctls.collect::<runner::spec::Result<_>>().map_err(usage)?,
            resources: asked.limits.resources(ResourceOptions::default())?,
            oom_score_adj: asked.place.oom_score_adj,
            device_rules: device_rules.map_err(usage)?,
            namespaces: Namespaces::default(),
            cgroup_parent: asked.place.cgroup_parent.clone(),
            stop_signal: Some(merged.stop_signal),
            umask: asked.inside.mask()?,
            domainname: asked.inside.domainname.clone().unwrap_or_default(),
            annotations: asked.inside.annotated()?,
            ..SpecOptions::default()
        };
        asked.environment.merge(&mut options.env);
        namespaces::set(asked, &mut options)?;
        ids::set(asked, &mut options)?;
        boot::set(asked, &mut options)?;
        Ok((options, merged))
    }
}
