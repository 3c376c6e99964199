//! The flags of user namespaces: which ids of the host a container's ids are; and how far its clocks are off.

use clap::Args;

use crate::engine::container::options::ids::Ids;

/// User namespace and clocks.
#[derive(Args)]
pub struct IdFlags {
    /// Whose ids it has on the host: host, auto[:size=N], keep-id, private, container:NAME
    #[arg(long, value_name = "MODE")]
    userns: Option<String>,
    /// Map user ids: CONTAINER:HOST[:COUNT]
    #[arg(long, value_name = "RANGE")]
    uidmap: Vec<String>,
    /// Map group ids; as those of users unless given
    #[arg(long, value_name = "RANGE")]
    gidmap: Vec<String>,
    /// Map to the ids that /etc/subuid has for this name
    #[arg(long, value_name = "NAME", conflicts_with = "uidmap")]
    subuidname: Option<String>,
    /// Map to the group ids that /etc/subgid has for this name
    #[arg(long, value_name = "NAME", conflicts_with = "gidmap")]
    subgidname: Option<String>,
    /// Set its clocks off, as boottime=1d,monotonic=-2h
    #[arg(long, value_name = "CLOCK=TIME", value_delimiter = ',', allow_hyphen_values = true)]
    timens_offset: Vec<String>,
}

impl IdFlags {
    /// The same as the engine takes it.
    pub fn ids(self) -> Ids {
        Ids {
            userns: self.userns,
            uidmap: self.uidmap,
            gidmap: self.gidmap,
            subuidname: self.subuidname,
            subgidname: self.subgidname,
            timens_offset: self.timens_offset,
        }
    }
}
