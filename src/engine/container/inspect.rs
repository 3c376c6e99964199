//! All that is known of a container, in docker's form.

use runner::ProcessId;
use runner::spec::parse;
use serde_json::{Value, json};

use super::list::{exit_code, state_word};
use super::ports::network_settings;
use super::{ContainerRecord, time};
use crate::engine::Engine;
use crate::error::Result;

/// What docker prints for a time that is not.
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Engine {
    /// Adds to what `inspect` has of a container the bytes it wrote, and those with its image.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn inspect_sizes(&self, container: &mut Value) -> Result<()> {
        let id = container["Id"].as_str().unwrap_or_default().to_owned();
        let upper = self.store.containers().upper_size(&id)?;
        let mut below = 0;
        for layer in &self.container_record(&id)?.data.layers {
            below += self.store.layers().info(layer)?.file_bytes;
        }
        container["SizeRw"] = upper.into();
        container["SizeRootFs"] = (upper + below).into();
        Ok(())
    }

    /// A container as docker's inspect prints it; `None` if there is none of that name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn inspect_container(&self, name: &str) -> Result<Option<Value>> {
        let id = match self.store.containers().find(name) {
            Ok(id) => id,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let record = self.container_record(&id)?;
        let state = self.state(&id)?;
        let word = state_word(&record, state.as_ref());
        let running = state.as_ref().filter(|state| state.is_running());
        let last = record.data.last.as_ref();
        let exit = state.as_ref().and_then(|state| state.exit.as_ref());
        let started =
            state.as_ref().and_then(|state| state.started_at).map(time).or(last.and_then(|last| last.started));
        let finished = exit.map(|exit| time(exit.at)).or(last.map(|last| last.finished));
        // What runs has overcome it.
        let error = match exit {
            Some(exit) => exit.error.as_ref(),
            None => last.and_then(|last| last.error.as_ref()),
        };
        let error = error.filter(|_| running.is_none());
        let text = |time: Option<jiff::Timestamp>| time.map_or_else(|| NEVER.to_owned(), |time| time.to_string());
        let options = &record.data.options;
        let image = self.run_config(&record.data)?;
        let spec = self.spec_with(&id, &record.data, image.as_ref())?;
        let process = serde_json::to_value(spec.process())?;
        let healthcheck = super::health::config(options, image.as_ref())?;
        let image = image.unwrap_or_default();
        let paths = self.store.containers().container_paths(&id)?;
        let mut host = host_config(&record);
        if let Ok(logging) = self.logging(options) {
            host["LogConfig"] = json!({ "Type": logging.name, "Config": logging.options });
        }
        Ok(Some(json!({
            "Id": record.id,
            "Name": format!("/{}", record.name),
            "Created": record.created.to_string(),
            "Path": record.data.args.first(),
            "Args": record.data.args.get(1..).unwrap_or_default(),
            "State": {
                "Status": word,
                "Running": state.as_ref().is_some_and(runner::State::is_up),
                "Paused": word == "paused",
                "Restarting": word == "restarting",
                "OOMKilled": exit.map(|exit| exit.oom).or(last.map(|last| last.oom)).unwrap_or(false),
                "Dead": false,
                "Pid": running.and_then(|state| state.process).map_or(0, |process| process.pid),
                "ExitCode": if running.is_some() { Some(0) } else { exit_code(&record, state.as_ref()).or(if last.is_none() { Some(0) } else { None }) },
                "Error": error.cloned().unwrap_or_default(),
                "StartedAt": text(started),
                "FinishedAt": if running.is_some() { NEVER.to_owned() } else { text(finished) },
                "Health": self.health_of(&id, running.is_some())?.as_ref().map(super::health::shown),
                "CgroupPath": running.map(|state| state.cgroup.clone()),
                "Namespaces": running.and_then(|state| state.process).map(namespaces),
            },
            "Image": record.data.image,
            "ImageName": options.image,
            "Driver": self.driver_name(),
            "LogPath": paths.log,
            "ExecIDs": Some(runner::execs(&self.state_dir(&id))?.into_iter().map(|exec| exec.id).collect::<Vec<_>>()).filter(|ids| !ids.is_empty()),
            "RestartCount": state.as_ref().map_or(0, |state| state.restarts),
            "HostConfig": with_storage(&record.data.options, host),
            "GraphDriver": { "Name": self.driver_name(), "Data": { "UpperDir": paths.upper, "WorkDir": paths.work } },
            "Mounts": self.show_mounts(&record.data)?,
            "Config": {
                "Hostname": spec.hostname(),
                "User": options.user.clone().unwrap_or_default(),
                "Tty": options.tty,
                "TtyCount": options.system.tty_count(),
                "OpenStdin": options.interactive,
                "Env": chosen(&process["env"], &image.env, &options.env),
                "Entrypoint": match &options.entrypoint {
                    Some(program) => Some(vec![program.clone()]).filter(|words| !words[0].is_empty()),
                    None => image.entrypoint.clone(),
                },
                "Cmd": match (&options.entrypoint, options.command.is_empty()) {
                    (None, true) => image.cmd.clone(),
                    (Some(_), true) => None,
                    (_, false) => Some(options.command.clone()),
                },
                "Image": options.image,
                "WorkingDir": process["cwd"],
                "Labels": record.data.labels,
                "Domainname": spec.domainname(),
                "Annotations": options.inside.annotated()?,
                "StopSignal": options.stop_signal,
                "StopTimeout": options.stop_timeout,
                "Healthcheck": healthcheck,
                "CreateCommand": options.invocation,
            },
            "NetworkSettings": network_settings(running),
            "Options": options,
        })))
    }
}

/// The variables that the image or the user chose, as the program gets them: not those that every program gets.
fn chosen(all: &Value, image: &[String], user: &[String]) -> Vec<Value> {
    let name = |line: &str| line.split_once('=').map_or(line, |(name, _)| name).to_owned();
    let known: std::collections::BTreeSet<String> = image.iter().chain(user).map(|line| name(line)).collect();
    let lines = all.as_array().map(Vec::as_slice).unwrap_or_default();
    let is_chosen =
        |line: &&Value| line.as_str().is_some_and(|line| name(line) == "PATH" || known.contains(&name(line)));
    lines.iter().filter(is_chosen).cloned().collect()
}

/// The namespaces of a process by kind, as the paths by which others join them, with their numbers.
fn namespaces(process: ProcessId) -> Value {
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
    let one = |kind: &str| {
        let path = process.directory().join("ns").join(kind);
        let link = std::fs::read_link(&path).ok()?.to_string_lossy().into_owned();
        // Else the number may have been another's by then.
        process.lives().ok().filter(|lives| *lives)?;
        let number = link.split_once('[')?.1.trim_end_matches(']').parse::<u64>().ok()?;
        Some((kind.to_owned(), json!({ "Path": path, "Inode": number })))
    };
    Value::Object(kinds.into_iter().filter_map(one).collect())
}

fn host_config(record: &ContainerRecord) -> Value {
    let options = &record.data.options;
    let limits = &options.limits;
    let size = |text: &Option<String>| text.as_deref().and_then(|text| parse::size("memory", text).ok()).unwrap_or(0);
    json!({
        "NetworkMode": options.network.mode(),
        "AutoRemove": options.remove,
        "RestartPolicy": restart_policy(options),
        "Binds": options.volumes,
        "Privileged": options.privileged,
        "ReadonlyRootfs": options.read_only,
        "CapAdd": options.cap_add,
        "CapDrop": options.cap_drop,
        "SecurityOpt": options.security,
        "Dns": options.network.dns,
        "DnsOptions": options.network.dns_options,
        "DnsSearch": options.network.dns_search,
        "PublishAllPorts": options.network.publish_all,
        "ExtraHosts": options.network.add_host,
        "Init": options.init,
        "PidMode": options.place.pid.as_deref().unwrap_or(""),
        "IpcMode": options.place.ipc.as_deref().unwrap_or("private"),
        "UTSMode": options.place.uts.as_deref().unwrap_or(""),
        "CgroupParent": options.place.cgroup_parent.as_deref().unwrap_or(""),
        "CgroupnsMode": options.place.cgroupns.as_deref().unwrap_or("private"),
        "DeviceCgroupRules": options.place.device_cgroup_rules,
        "OomScoreAdj": options.place.oom_score_adj.unwrap_or(0),
        "OomKillDisable": limits.oom_kill_disable,
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "CpuPeriod": limits.cpu_period.unwrap_or(0),
        "CpuQuota": limits.cpu_quota.unwrap_or(0),
        "CpuRealtimePeriod": limits.cpu_rt_period.unwrap_or(0),
        "CpuRealtimeRuntime": limits.cpu_rt_runtime.unwrap_or(0),
        "CpusetCpus": limits.cpuset_cpus.as_deref().unwrap_or(""),
        "CpusetMems": limits.cpuset_mems.as_deref().unwrap_or(""),
        "PidsLimit": limits.pids_limit,
        "Memory": size(&limits.memory),
        "MemoryReservation": size(&limits.memory_reservation),
        "MemorySwap": limits.memory_swap.as_deref().and_then(|text| parse::memory_swap(text).ok()).unwrap_or(0),
        "MemorySwappiness": limits.memory_swappiness,
        "NanoCpus": limits.cpus.as_deref().and_then(|text| parse::cpus(text).ok()).unwrap_or(0),
        "BlkioWeight": limits.blkio_weight.unwrap_or(0),
    })
}

/// The restart policy as docker prints it.
fn restart_policy(options: &super::options::Options) -> Value {
    use runner::spec::parse::RestartPolicy;
    let (name, times) = match super::supervise::restart_policy(options).unwrap_or_default() {
        RestartPolicy::No => ("no", 0),
        RestartPolicy::OnFailure(times) => ("on-failure", times.unwrap_or(0)),
        RestartPolicy::Always => ("always", 0),
        RestartPolicy::UnlessStopped => ("unless-stopped", 0),
    };
    json!({ "Name": name, "MaximumRetryCount": times })
}

/// Adds what the flags say of memory file systems and of storage.
fn with_storage(options: &super::options::Options, mut config: Value) -> Value {
    use std::collections::BTreeMap;
    let storage = &options.storage;
    let tmpfs = options.tmpfs.iter().map(|text| text.split_once(':').unwrap_or((text, "")));
    config["ShmSize"] =
        options.shm_size.as_deref().map_or(64 << 20, |text| parse::size("size", text).unwrap_or(0)).into();
    config["Tmpfs"] = json!(tmpfs.collect::<BTreeMap<_, _>>());
    config["StorageOpt"] =
        json!(storage.storage.iter().filter_map(|text| text.split_once('=')).collect::<BTreeMap<_, _>>());
    config["VolumesFrom"] = json!(storage.volumes_from);
    config
}
