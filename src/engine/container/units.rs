//! Units for systemd (systemd.unit(5), systemd.service(5)), as text. Pure but for looking a container up.
//!
//! A container's unit runs `img start --attach`: the unit's process is the container's own monitor or its client, so systemd sees
//! its life and its exit code, and its output goes to the journal.

use std::path::PathBuf;

use super::signal::STOP_TIMEOUT;
use crate::engine::Engine;
use crate::error::Result;

/// What systemd gets beyond a container's own time to stop, in seconds.
const SPARE: u64 = 60;

/// How this program is called.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Its path.
    pub program: PathBuf,
    /// What stands before the command.
    pub arguments: Vec<String>,
}

impl Invocation {
    /// A command line of a unit.
    fn line(&self, words: &[&str]) -> String {
        let program = self.program.to_string_lossy();
        let own = self.arguments.iter().map(String::as_str);
        let words = std::iter::once(&*program).chain(own).chain(words.iter().copied()).map(quote);
        words.collect::<Vec<_>>().join(" ")
    }
}

/// A word as systemd reads it back: `%` and `$` mean nothing, white space does not split.
fn quote(word: &str) -> String {
    let plain = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    if plain.is_empty() || plain.contains(|c: char| c.is_whitespace() || c == '\'' || c == '"' || c == ';') {
        format!("\"{plain}\"")
    } else {
        plain
    }
}

/// A unit file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitFile {
    /// Its name.
    pub name: String,
    /// Its content.
    pub text: String,
}

impl UnitFile {
    /// The one unit for all containers with a restart policy.
    #[must_use]
    pub fn for_boot(img: &Invocation) -> Self {
        let text = format!(
            "# img.service: starts containers by their restart policies\n\n\
             [Unit]\n\
             Description=Containers of img\n\
             Documentation=man:img-system-start(1)\n\
             Wants=network-online.target\n\
             After=network-online.target local-fs.target\n\n\
             [Service]\n\
             Type=oneshot\n\
             RemainAfterExit=yes\n\
             Delegate=yes\n\
             ExecStart={}\n\
             ExecStop={}\n\
             TimeoutStopSec=infinity\n\n\
             [Install]\n\
             WantedBy=multi-user.target\n",
            img.line(&["system", "start"]),
            img.line(&["system", "stop"]),
        );
        Self { name: "img.service".into(), text }
    }

    /// The unit of one container.
    fn for_container(img: &Invocation, name: &str, stop_timeout: u64) -> Self {
        let text = format!(
            "# container-{name}.service\n\n\
             [Unit]\n\
             Description=Container {name}\n\
             Documentation=man:img-start(1)\n\
             Wants=network-online.target\n\
             After=network-online.target local-fs.target\n\n\
             [Service]\n\
             Type=exec\n\
             Delegate=yes\n\
             ExecStart={}\n\
             ExecStop={}\n\
             Restart=on-failure\n\
             SuccessExitStatus=143\n\
             TimeoutStopSec={}\n\n\
             [Install]\n\
             WantedBy=multi-user.target\n",
            img.line(&["start", "--attach", name]),
            img.line(&["stop", name]),
            stop_timeout.saturating_add(SPARE),
        );
        Self { name: format!("container-{name}.service"), text }
    }
}

impl Engine {
    /// The unit of a container.
    ///
    /// # Errors
    /// No such container.
    pub fn unit(&self, name: &str, img: &Invocation) -> Result<UnitFile> {
        let record = self.container_named(name)?;
        let timeout = record.data.options.stop_timeout.unwrap_or(STOP_TIMEOUT.as_secs());
        Ok(UnitFile::for_container(img, &record.name, timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_meaning() {
        assert_eq!(quote("/usr/bin/img"), "/usr/bin/img");
        assert_eq!(quote("a b%c$d"), "\"a b%%c$$d\"");
        let img = Invocation { program: "/usr/bin/img".into(), arguments: vec!["--root".into(), "/srv/img".into()] };
        let unit = UnitFile::for_container(&img, "web", 10);
        assert_eq!(unit.name, "container-web.service");
        assert!(unit.text.contains("\nExecStart=/usr/bin/img --root /srv/img start --attach web\n"), "{}", unit.text);
        assert!(unit.text.contains("\nTimeoutStopSec=70\n"));
    }
}
