//! `img events`: the journal, and what is added to it.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};
use store::journal::Event;

use super::Run;
use crate::config::Context;
use crate::engine::container::logs::point_in_time;
use crate::engine::event_filter::EventFilter;
use crate::error::Result;
use crate::ui::Escaped;
use crate::ui::template::{Template, unescape};

/// Show what happens to containers, images, volumes and networks
///
/// What is to come, until Ctrl-C; with --since or --until, what was. No daemon watches: whoever does something writes it
/// down, and the newest of it (4 MiB at least) is kept.
#[derive(Args)]
pub struct Events {
    /// Only containers whose name fits a pattern, as 'web*'
    #[arg(value_name = "PATTERN")]
    pub(super) pattern: Option<String>,
    /// Only what fits: type=, event=, container=, image=, volume=, network=, label=KEY[=VALUE]
    #[arg(long, short, value_name = "KEY=VALUE")]
    pub(super) filter: Vec<String>,
    /// Print as `json` (a line each), or by a template such as '{{.Action}} {{.Actor.ID}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// From a time (RFC 3339) on, or since so long ago, as 10m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until a time, or so long ago
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Go on with what is to come; `--stream=false` ends with what was
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1,
          default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    stream: bool,
}

impl Run for Events {
    fn run(self, context: &Context) -> Result<ExitCode> {
        self.show(context, plain)
    }
}

impl Events {
    /// Shows them, in this form if none was asked for.
    pub(super) fn show(self, context: &Context, plain: fn(&Event) -> Vec<String>) -> Result<ExitCode> {
        let filter = EventFilter::parse(&self.filter, self.pattern.as_deref())?;
        let moment = |text: &Option<String>| -> Result<Option<Timestamp>> {
            let Some(text) = text else { return Ok(None) };
            Ok(Timestamp::from_nanosecond(i128::from(point_in_time(text)?)).ok())
        };
        let (mut since, until) = (moment(&self.since)?, moment(&self.until)?);
        if since.is_none() && until.is_none() && self.stream {
            since = Some(Timestamp::now());
        }
        let style = Style::parse(self.format.as_deref(), plain)?;
        let mut events = context.engine()?.events()?.between(since, until);
        loop {
            for event in events.take()?.iter().filter(|event| filter.fits(event)) {
                if !print(&style.lines(event)?)? {
                    return Ok(ExitCode::SUCCESS);
                }
            }
            if !self.stream || !events.wait()? {
                // What was written between the last look and the end.
                for event in events.take()?.iter().filter(|event| filter.fits(event)) {
                    print(&style.lines(event)?)?;
                }
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}

/// Prints lines; false when nobody reads any more.
fn print(lines: &[String]) -> Result<bool> {
    let mut stdout = io::stdout().lock();
    let written = lines.iter().try_for_each(|line| writeln!(stdout, "{}", Escaped(line)));
    match written.and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        result => Ok(result.map(|()| true)?),
    }
}

/// How an event is printed.
enum Style {
    Plain(fn(&Event) -> Vec<String>),
    Json,
    Template(Template),
}

impl Style {
    fn parse(format: Option<&str>, plain: fn(&Event) -> Vec<String>) -> Result<Self> {
        Ok(match format {
            None => Self::Plain(plain),
            Some("json") => Self::Json,
            Some(text) => Self::Template(Template::parse(&unescape(text))?),
        })
    }

    fn lines(&self, event: &Event) -> Result<Vec<String>> {
        match self {
            Self::Plain(plain) => Ok(plain(event)),
            Self::Json => Ok(vec![serde_json::to_string(&as_docker(event))?]),
            Self::Template(template) => {
                let mut value = as_docker(event);
                value["ID"] = event.id.as_str().into();
                value["Name"] = event.attributes.get("name").map(String::as_str).into();
                value["Image"] = event.attributes.get("image").map(String::as_str).into();
                for (upper, lower) in
                    [("Status", "status"), ("Time", "time"), ("TimeNano", "timeNano"), ("Scope", "scope")]
                {
                    value[upper] = value[lower].clone();
                }
                Ok(vec![template.render(&value)?])
            }
        }
    }
}

/// As docker prints an event for people: `TIME container start ID (image=…, name=…)`.
fn plain(event: &Event) -> Vec<String> {
    let attributes: Vec<String> = event.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let time = event.time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S.%9f%:z");
    vec![format!("{time} {} {} {} ({})", event.subject.word(), event.action, event.id, attributes.join(", "))]
}

/// As docker writes an event for programs.
fn as_docker(event: &Event) -> Value {
    json!({
        "status": event.action,
        "id": event.id,
        "from": event.attributes.get("image"),
        "Type": event.subject,
        "Action": event.action,
        "Actor": { "ID": event.id, "Attributes": event.attributes },
        "scope": "local",
        "time": event.time.as_second(),
        "timeNano": i64::try_from(event.time.as_nanosecond()).unwrap_or(i64::MAX),
    })
}
