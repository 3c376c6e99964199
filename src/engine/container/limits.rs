//! Limits in the user's words as the numbers that the runner takes. Devices are looked up here, since a limit of block
//! I/O is kept by the kernel under a device's number.

use runner::spec::parse;
use runner::spec::{ResourceOptions, device, limits};

use super::create::usage;
use super::options::limits::Limits;
use crate::error::{CommandError, Result};

impl Limits {
    /// The limits on top of `base`: the defaults of a new container, or [`ResourceOptions::unlimited`] for a change.
    ///
    /// # Errors
    /// A value that is none, or a device that is not there.
    pub fn resources(&self, base: ResourceOptions) -> Result<ResourceOptions> {
        let size = |what: &'static str, text: &Option<String>| {
            text.as_deref().map(|text| parse::size(what, text)).transpose().map_err(usage)
        };
        let resources = ResourceOptions {
            memory: size("limit of memory", &self.memory)?,
            memory_swap: self.memory_swap.as_deref().map(parse::memory_swap).transpose().map_err(usage)?,
            memory_reservation: size("memory reservation", &self.memory_reservation)?,
            memory_swappiness: swappiness(self.memory_swappiness)?,
            oom_kill_disable: self.oom_kill_disable,
            nano_cpus: self.cpus.as_deref().map(parse::cpus).transpose().map_err(usage)?,
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpu_rt_period: self.cpu_rt_period,
            cpu_rt_runtime: self.cpu_rt_runtime,
            cpu_shares: self.cpu_shares,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            pids_limit: self.pids_limit.or(base.pids_limit),
            blkio_weight: self.blkio_weight,
            blkio_weight_device: each(&self.blkio_weight_device, |text| on_device(text, parse::weight_device(text)))?,
            device_read_bps: rates("--device-read-bps", &self.device_read_bps, true)?,
            device_write_bps: rates("--device-write-bps", &self.device_write_bps, true)?,
            device_read_iops: rates("--device-read-iops", &self.device_read_iops, false)?,
            device_write_iops: rates("--device-write-iops", &self.device_write_iops, false)?,
            hugetlb: each(&self.hugetlb_limit, huge_pages)?,
            unified: each(&self.cgroup_conf, |text| {
                let (file, value) = text
                    .split_once('=')
                    .filter(|(file, value)| !file.is_empty() && !value.is_empty())
                    .ok_or_else(|| {
                        CommandError::usage(format!("--cgroup-conf {text}: it is not FILE=VALUE"))
                            .hint("as memory.high=1073741824; the names are those of cgroup v2")
                    })?;
                Ok((file.to_owned(), value.to_owned()))
            })?
            .into_iter()
            .collect(),
        };
        if let Some(text) = &self.memory {
            // Alone, so that the refusal can name the flag with the words the user gave it.
            let alone = ResourceOptions { memory: resources.memory, ..ResourceOptions::default() };
            limits(&alone).map_err(|error| usage(error).prefixed(&format!("--memory {text}")))?;
        }
        Ok(resources)
    }
}

fn each<T>(texts: &[String], parse: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
    texts.iter().map(|text| parse(text)).collect()
}

/// -1 says nothing, as in docker.
fn swappiness(given: Option<i64>) -> Result<Option<u64>> {
    match given {
        None | Some(-1) => Ok(None),
        Some(value) => u64::try_from(value).map(Some).map_err(|_| {
            CommandError::usage(format!("--memory-swappiness {value} is out of range")).hint("it goes from 0 to 100")
        }),
    }
}

type ByDevice<T> = ((u32, u32), T);

fn on_device<T>(text: &str, parsed: runner::spec::Result<(String, T)>) -> Result<ByDevice<T>> {
    let (path, value) = parsed.map_err(usage)?;
    let number = device::block_device(&path).map_err(|error| usage(error).prefixed(text))?;
    Ok((number, value))
}

fn rates(flag: &'static str, texts: &[String], bytes: bool) -> Result<Vec<ByDevice<u64>>> {
    each(texts, |text| on_device(text, parse::throttle(flag, text, bytes)))
}

/// `2MB=64m`: pages of this size, and how much of them.
fn huge_pages(text: &str) -> Result<(String, u64)> {
    let (page, limit) = text.split_once('=').ok_or_else(|| {
        CommandError::usage(format!("--hugetlb-limit {text}: it is not SIZE=LIMIT"))
            .hint("as 2MB=64m: of pages of two megabytes at most 64 megabytes")
    })?;
    // The kernel's files have the size as a round number of KB, MB or GB.
    let bytes = parse::size("size of huge pages", page).map_err(usage)?;
    let name = [(30, "GB"), (20, "MB"), (10, "KB")]
        .into_iter()
        .find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift)
        .map(|(shift, unit)| format!("{}{unit}", bytes >> shift))
        .ok_or_else(|| CommandError::usage(format!("--hugetlb-limit {text}: there are no pages of {bytes} bytes")))?;
    Ok((name, parse::size("limit of huge pages", limit).map_err(usage)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_pages_are_named_as_the_kernel_does() {
        for (text, name) in
            [("2MB=64m", "2MB"), ("2m=64m", "2MB"), ("2048k=64m", "2MB"), ("1g=2g", "1GB"), ("64K=1m", "64KB")]
        {
            assert_eq!(huge_pages(text).unwrap().0, name, "{text}");
        }
        assert_eq!(huge_pages("2MB=64m").unwrap().1, 64 << 20);
        assert!(huge_pages("2MB").is_err());
        assert!(huge_pages("100=1m").is_err());
    }

    #[test]
    fn what_is_not_said_is_the_base() {
        let nothing = Limits::default();
        assert_eq!(nothing.resources(ResourceOptions::default()).unwrap(), ResourceOptions::default());
        assert_eq!(nothing.resources(ResourceOptions::unlimited()).unwrap(), ResourceOptions::unlimited());
    }
}
