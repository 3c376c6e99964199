//! The flags of limits, which `run`, `create` and `update` share. Which of them a machine can keep depends on its
//! control groups; what it cannot keep is refused by the runner, with the reason.

use clap::Args;

use crate::engine::container::options::limits::Limits;

/// What a container may use of the machine.
#[derive(Args)]
pub struct LimitFlags {
    /// Limit of memory, as 512m or 2g
    #[arg(long, short, value_name = "SIZE")]
    memory: Option<String>,
    /// Limit of memory and swap together; -1 for no limit
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Memory the kernel tries to leave to the container
    #[arg(long, value_name = "SIZE")]
    memory_reservation: Option<String>,
    /// How willingly its memory is swapped out, 0 to 100; cgroup v1 only
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    memory_swappiness: Option<i64>,
    /// Let it wait instead of killing it when memory runs out; cgroup v1 only
    #[arg(long)]
    oom_kill_disable: bool,
    /// How many processors' time it may use, as 1.5
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,
    /// Microseconds in which the quota is counted
    #[arg(long, value_name = "µS")]
    cpu_period: Option<u64>,
    /// Microseconds of processor time it gets in each period; -1 for no limit
    #[arg(long, value_name = "µS", allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    /// Microseconds in which real-time processor time is counted; cgroup v1 only
    #[arg(long, value_name = "µS")]
    cpu_rt_period: Option<u64>,
    /// Microseconds of real-time processor time in each period; cgroup v1 only
    #[arg(long, value_name = "µS", allow_hyphen_values = true)]
    cpu_rt_runtime: Option<i64>,
    /// Share of the processors under contention; 1024 is usual
    #[arg(long, short = 'c', value_name = "SHARES")]
    cpu_shares: Option<u64>,
    /// Processors it may run on, as 0-2,4
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes it may use, as 0-1
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Limit of processes; -1 for none, 4096 unless said otherwise
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Share of block I/O under contention, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// The same for one device: DEVICE:WEIGHT
    #[arg(long, value_name = "DEVICE:WEIGHT")]
    blkio_weight_device: Vec<String>,
    /// Bytes a second it may read from a device, as /dev/sda:1mb
    #[arg(long, value_name = "DEVICE:RATE")]
    device_read_bps: Vec<String>,
    /// Bytes a second it may write to a device
    #[arg(long, value_name = "DEVICE:RATE")]
    device_write_bps: Vec<String>,
    /// Reads a second from a device, as /dev/sda:1000
    #[arg(long, value_name = "DEVICE:RATE")]
    device_read_iops: Vec<String>,
    /// Writes a second to a device
    #[arg(long, value_name = "DEVICE:RATE")]
    device_write_iops: Vec<String>,
    /// Limit of huge pages of a size, as 2MB=64m
    #[arg(long, value_name = "PAGE=SIZE")]
    hugetlb_limit: Vec<String>,
    /// Write a value to a file of its control group; cgroup v2 only
    #[arg(long, value_name = "FILE=VALUE")]
    cgroup_conf: Vec<String>,
}

impl LimitFlags {
    /// The same as the engine takes it.
    pub fn limits(self) -> Limits {
        Limits {
            memory: self.memory,
            memory_swap: self.memory_swap,
            memory_reservation: self.memory_reservation,
            memory_swappiness: self.memory_swappiness,
            oom_kill_disable: self.oom_kill_disable,
            cpus: self.cpus,
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpu_rt_period: self.cpu_rt_period,
            cpu_rt_runtime: self.cpu_rt_runtime,
            cpu_shares: self.cpu_shares,
            cpuset_cpus: self.cpuset_cpus,
            cpuset_mems: self.cpuset_mems,
            pids_limit: self.pids_limit,
            blkio_weight: self.blkio_weight,
            blkio_weight_device: self.blkio_weight_device,
            device_read_bps: self.device_read_bps,
            device_write_bps: self.device_write_bps,
            device_read_iops: self.device_read_iops,
            device_write_iops: self.device_write_iops,
            hugetlb_limit: self.hugetlb_limit,
            cgroup_conf: self.cgroup_conf,
        }
    }
}
