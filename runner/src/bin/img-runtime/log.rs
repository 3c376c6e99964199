//! Where errors go: to standard error, and to the file of `--log`, one line each, in the form that engines read.
//!
//! Engines take the last line with the level `error` from the file as the reason why a command failed.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `time="…" level=error msg="…"`.
    Text,
    /// `{"level":"error","msg":"…","time":"…"}`.
    Json,
}

/// The log of one command.
#[derive(Debug)]
pub struct Log {
    file: Option<File>,
    format: Format,
    debug: bool,
}

impl Log {
    /// A log that only goes to standard error.
    pub fn plain() -> Self {
        Self { file: None, format: Format::Text, debug: false }
    }

    /// A log into a file, if one is named.
    pub fn open(path: Option<&str>, format: Format, debug: bool) -> std::io::Result<Self> {
        // Standard error by its name would be opened a second time, and cut if it is a file.
        let path = path.filter(|path| !path.is_empty() && *path != "/dev/stderr");
        let file = path.map(|path| File::options().create(true).append(true).open(path)).transpose()?;
        Ok(Self { file, format, debug })
    }

    /// Tells an error.
    pub fn error(&self, text: &str) {
        self.line("error", text);
        if self.file.is_some() {
            eprintln!("{text}");
        }
    }

    /// Tells what went wrong without harm.
    pub fn warning(&self, text: &str) {
        self.line("warning", text);
    }

    /// Tells what is being done, if that is wanted.
    pub fn debug(&self, text: &str) {
        if self.debug {
            self.line("debug", text);
        }
    }

    fn line(&self, level: &str, text: &str) {
        let time = now();
        let line = match self.format {
            Format::Json => serde_json::json!({"level": level, "msg": text, "time": time}).to_string(),
            Format::Text => format!("time={time:?} level={level} msg={text:?}"),
        };
        // A log that cannot be written must not hide the exit code.
        match &self.file {
            Some(file) => drop(writeln!(&mut &*file, "{line}")),
            None if std::io::stderr().is_terminal() && self.format == Format::Text => {
                eprintln!("{level}: {text}");
            }
            None => eprintln!("{line}"),
        }
    }
}

/// The time in RFC 3339 with seconds.
fn now() -> String {
    let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    let text = runner::oci::timestamp(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
    format!("{}Z", text.split('.').next().unwrap_or_default())
}
