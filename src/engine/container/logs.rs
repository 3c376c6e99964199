//! Reading what a container has written.

use std::io::{self, Write};

use jiff::Timestamp;
use runner::log::{Entry, Query, Reader, Stream};
use runner::spec::parse;

use super::ContainerRecord;
use super::logging::Logging;
use crate::engine::Engine;
use crate::error::{CommandError, Result};

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Go on until the container ends.
    pub follow: bool,
    /// Only since then.
    pub since: Option<String>,
    /// Only until then.
    pub until: Option<String>,
    /// Only so many lines of the end, or `all`.
    pub tail: String,
    /// Print times.
    pub timestamps: bool,
    /// Print the chosen labels and variables before each line.
    pub details: bool,
    /// Print the container's name before each line.
    pub names: bool,
    /// Print it in this colour of ANSI terminals.
    pub colour: Option<u8>,
}

impl Engine {
    /// Prints a container's log: its output to `out`, its errors to `err`.
    ///
    /// # Errors
    /// No such container, a log that cannot be read.
    pub fn logs(&self, name: &str, options: &LogOptions) -> Result<()> {
        let id = self.find_container(name)?;
        let tail = match options.tail.as_str() {
            "all" | "-1" => None,
            text => {
                Some(text.parse().map_err(|_| CommandError::usage(format!("--tail {text:?} is no number of lines")))?)
            }
        };
        let query = Query {
            since: options.since.as_deref().map(point_in_time).transpose()?,
            until: options.until.as_deref().map(point_in_time).transpose()?,
            tail,
        };
        let record = self.container_record(&id)?;
        let logging = self.logging(&record.data.options)?;
        let Some(config) = logging.files(self.store.containers().container_paths(&id)?.log) else {
            return Err(CommandError::new(format!(
                "the log of container {name} cannot be read: its log driver is {}",
                logging.name
            ))
            .hint("json-file, k8s-file and local can be read; what went elsewhere is asked for there"));
        };
        let prefix = if options.names { format!("{} ", record.name) } else { String::new() };
        let details = if options.details { self.details(&record, &logging)? } else { String::new() };
        let mut reader = Reader::open(&config, &query)?;
        loop {
            let entry = if options.follow {
                reader.follow(|| self.state(&id).ok().flatten().is_some_and(|state| state.is_up()))?
            } else {
                reader.next_entry()?
            };
            let Some(entry) = entry else { return Ok(()) };
            let lost = reader.take_lost();
            if lost > 0 {
                crate::ui::warn(format_args!(
                    "{lost} lines of the log of container {} were deleted before they could be read \
                     (--log-opt max-size and max-file keep more)",
                    record.name
                ));
            }
            match print(&entry, &prefix, options, &details) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                result => result?,
            }
        }
    }

    /// What stands before each line with `--details`.
    fn details(&self, record: &ContainerRecord, logging: &Logging) -> Result<String> {
        let spec = self.spec_of(&record.id, &record.data)?;
        let env = spec.process().as_ref().and_then(|process| process.env().clone()).unwrap_or_default();
        let details = logging.details(&record.data.labels, &env);
        Ok(if details.is_empty() { details } else { format!("{details} ") })
    }
}

fn print(entry: &Entry, prefix: &str, options: &LogOptions, details: &str) -> io::Result<()> {
    let stamp = if options.timestamps { format!("{} ", entry.time) } else { String::new() };
    let (begin, end) = match options.colour {
        Some(colour) => (format!("\x1b[{colour}m"), "\x1b[0m"),
        None => (String::new(), ""),
    };
    // The colour ends with the line, not after it.
    let (line, newline) = entry.bytes().strip_suffix(b"\n").map_or((entry.bytes(), &b""[..]), |line| (line, b"\n"));
    let before = [begin.as_str(), prefix, &stamp, details].concat();
    let text = [before.as_bytes(), line, end.as_bytes(), newline].concat();
    match entry.stream {
        Stream::Stdout => {
            let mut out = io::stdout().lock();
            out.write_all(&text)?;
            out.flush()
        }
        Stream::Stderr => io::stderr().lock().write_all(&text),
    }
}

/// A time of day, seconds since 1970, or how long ago; as nanoseconds since 1970.
pub fn point_in_time(text: &str) -> Result<u64> {
    let nanoseconds = if let Ok(time) = text.parse::<Timestamp>() {
        time.as_nanosecond()
    } else if let Ok(seconds) = text.parse::<f64>() {
        (seconds * 1e9) as i128
    } else {
        let ago = parse::duration("time", text)?;
        Timestamp::now().as_nanosecond() - i128::try_from(ago.as_nanos()).unwrap_or(0)
    };
    Ok(u64::try_from(nanoseconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::point_in_time;

    #[test]
    fn points_in_time() {
        assert_eq!(point_in_time("1970-01-01T00:00:01Z").unwrap(), 1_000_000_000);
        assert_eq!(point_in_time("1.5").unwrap(), 1_500_000_000);
        assert!(point_in_time("10m").unwrap() > 1_600_000_000_000_000_000);
        assert!(point_in_time("yesterday").is_err());
    }
}
