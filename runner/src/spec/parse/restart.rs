//! Restart policies.

use serde::{Deserialize, Serialize};

use super::{Error, Result, unknown};

/// What happens when a container ends by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    No,
    /// Started again if its status was not 0; at most this often, if given.
    OnFailure(Option<u32>),
    /// Started again, also after a boot.
    Always,
    /// As always, unless somebody stopped it.
    UnlessStopped,
}

/// `--restart`: no, `on-failure[:max]`, always, unless-stopped.
pub fn restart(text: &str) -> Result<RestartPolicy> {
    const WHAT: &str = "restart policy";
    let (name, count) = match text.split_once(':') {
        Some((name, count)) => (name, Some(count)),
        None => (text, None),
    };
    let policy = match name {
        "no" | "" => RestartPolicy::No,
        "always" => RestartPolicy::Always,
        "unless-stopped" => RestartPolicy::UnlessStopped,
        "on-failure" => {
            let times = count.map(|count| {
                let number = count.parse::<u32>().ok();
                number.ok_or_else(|| Error::invalid(WHAT, text, format!("`{count}` is not a number of tries")))
            });
            // Zero means no bound, as with Docker.
            return Ok(RestartPolicy::OnFailure(times.transpose()?.filter(|&times| times > 0)));
        }
        _ => return Err(unknown(WHAT, text, name, &["no", "on-failure", "always", "unless-stopped"])),
    };
    match count {
        Some(_) => Err(Error::invalid(WHAT, text, "only on-failure takes a number of tries")),
        None => Ok(policy),
    }
}
