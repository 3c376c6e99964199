//! The flags that say what the program finds around it: names, mask, time zone, secrets, annotations.

use clap::Args;

use crate::engine::container::options::inside::Inside;

/// What a program finds.
#[derive(Args)]
pub struct InsideFlags {
    /// NIS domain name inside
    #[arg(long, value_name = "NAME")]
    domainname: Option<String>,
    /// Note something about it, for inspect and whoever reads the OCI configuration
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    /// Mode bits that new files do not get, as 0027
    #[arg(long, value_name = "MODE")]
    umask: Option<String>,
    /// Time zone, as Europe/Berlin, or local for the host's
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// Give it a secret: id=NAME,src=FILE|env=VARIABLE[,type=mount|env][,target=…][,uid=…][,gid=…][,mode=…]
    #[arg(long, value_name = "SPEC")]
    secret: Vec<String>,
    /// With --read-only, mount file systems in memory on /run, /tmp and /var/tmp
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1,
          default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    read_only_tmpfs: bool,
    /// Leave the image's /etc/hosts as it is
    #[arg(long)]
    no_hosts: bool,
    /// Begin /etc/hosts with what this file has; none for nothing
    #[arg(long, value_name = "FILE", conflicts_with = "no_hosts")]
    hosts_file: Option<String>,
    /// Leave the image's /etc/hostname as it is
    #[arg(long)]
    no_hostname: bool,
}

impl InsideFlags {
    /// The same as the engine takes it.
    pub fn inside(self) -> Inside {
        Inside {
            domainname: self.domainname,
            annotations: self.annotation,
            umask: self.umask,
            tz: self.tz,
            secrets: self.secret,
            read_only_tmpfs: self.read_only_tmpfs,
            no_hosts: self.no_hosts,
            hosts_file: self.hosts_file,
            no_hostname: self.no_hostname,
        }
    }
}
