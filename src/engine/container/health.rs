//! Health checks: which one a container has, one run by hand, and the answers in docker's form.
//!
//! The image's check is changed flag by flag, as docker does; what a flag does not say is the image's, then docker's default.

use std::time::Duration;

use oci_spec::runtime::Spec;
use runner::exec::Exec;
use runner::health::{self, Health, HealthCheck, HealthStatus, OnUnhealthy, Probe};
use runner::spec::parse;
use serde_json::{Value, json};
use store::image::{Healthcheck, RunConfig};

use super::create::usage;
use super::options::{Options, SupervisionOptions};
use super::time;
use crate::engine::Engine;
use crate::error::{CommandError, Result};

/// Docker's defaults.
const INTERVAL: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

/// The shortest time that docker takes.
const SHORTEST: Duration = Duration::from_millis(1);

/// A check as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// `CMD` or `CMD-SHELL` and what follows.
    pub test: Vec<String>,
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: u32,
    on_failure: OnUnhealthy,
}

/// The check that flags and image ask for; `None`: none.
///
/// # Errors
/// Words that make no sense or contradict each other.
pub(super) fn asked(options: &Options, image: Option<&RunConfig>) -> Result<Option<Asked>> {
    let flags = &options.supervision;
    let image = image.and_then(|config| config.healthcheck.as_ref());
    if flags.no_healthcheck {
        if flags.speaks_of_health() {
            return Err(CommandError::usage("--no-healthcheck and --health-… contradict each other"));
        }
        return Ok(None);
    }
    let test = match &flags.health_cmd {
        Some(text) => test_of(text)?,
        None => image.map(|image| image.test.clone()).unwrap_or_default(),
    };
    let on_failure = on_failure(flags)?;
    let check = Asked {
        interval: duration(
            "--health-interval",
            &flags.health_interval,
            image.and_then(|image| image.interval),
            INTERVAL,
        )?,
        timeout: duration("--health-timeout", &flags.health_timeout, image.and_then(|image| image.timeout), INTERVAL)?,
        start_period: duration(
            "--health-start-period",
            &flags.health_start_period,
            image.and_then(|image| image.start_period),
            Duration::ZERO,
        )?,
        start_interval: duration(
            "--health-start-interval",
            &flags.health_start_interval,
            image.and_then(|image| image.start_interval),
            START_INTERVAL,
        )?,
        retries: retries(flags, image)?,
        on_failure,
        test,
    };
    match check.test.first().map(String::as_str) {
        None | Some("NONE") if flags.health_cmd.is_none() && flags.speaks_of_health() => {
            Err(CommandError::usage("a health check is described, and there is none")
                .hint("--health-cmd says what is run; the image has no HEALTHCHECK"))
        }
        None | Some("NONE") => Ok(None),
        Some("CMD" | "CMD-SHELL") if check.test.len() > 1 => Ok(Some(check)),
        Some(_) => Err(CommandError::usage(format!("the health check {:?} is not understood", check.test))
            .hint("it begins with CMD, CMD-SHELL or NONE")),
    }
}

/// `--health-cmd`: a line for the shell, or words in JSON.
fn test_of(text: &str) -> Result<Vec<String>> {
    if text.trim().eq_ignore_ascii_case("none") {
        return Ok(vec!["NONE".into()]);
    }
    if let Ok(words) = serde_json::from_str::<Vec<String>>(text) {
        let spelled = matches!(words.first().map(String::as_str), Some("CMD" | "CMD-SHELL" | "NONE"));
        let first = (!spelled).then(|| "CMD".to_owned());
        return Ok(first.into_iter().chain(words).collect());
    }
    if text.trim().is_empty() {
        return Err(CommandError::usage("--health-cmd is empty"));
    }
    Ok(vec!["CMD-SHELL".into(), text.to_owned()])
}

fn duration(flag: &'static str, text: &Option<String>, image: Option<i64>, default: Duration) -> Result<Duration> {
    let asked = match text {
        Some(text) => {
            let asked = parse::duration(flag, text).map_err(usage)?;
            if !asked.is_zero() && asked < SHORTEST {
                return Err(CommandError::usage(format!("{flag} {text}: shorter than 1ms")));
            }
            asked
        }
        None => Duration::from_nanos(image.and_then(|nanoseconds| u64::try_from(nanoseconds).ok()).unwrap_or(0)),
    };
    // Zero means the default, as in docker.
    Ok(if asked.is_zero() { default } else { asked })
}

fn retries(flags: &SupervisionOptions, image: Option<&Healthcheck>) -> Result<u32> {
    let image = image.and_then(|image| image.retries).and_then(|count| u32::try_from(count).ok());
    Ok(flags.health_retries.or(image).filter(|count| *count > 0).unwrap_or(RETRIES))
}

fn on_failure(flags: &SupervisionOptions) -> Result<OnUnhealthy> {
    Ok(match flags.health_on_failure.as_deref() {
        None | Some("none") => OnUnhealthy::Nothing,
        Some("kill") => OnUnhealthy::Kill,
        Some("restart") => OnUnhealthy::Restart,
        Some("stop") => OnUnhealthy::Stop,
        Some(other) => {
            return Err(CommandError::usage(format!("--health-on-failure {other:?} is not known"))
                .hint("there are: none, kill, restart, stop"));
        }
    })
}

/// The check as the runner takes it: run in the container as its own program would be.
///
/// # Errors
/// As [`asked`].
pub(super) fn check(options: &Options, image: Option<&RunConfig>, spec: &Spec) -> Result<Option<HealthCheck>> {
    let Some(asked) = asked(options, image)? else { return Ok(None) };
    let (form, rest) = asked.test.split_first().ok_or_else(|| CommandError::new("the health check is empty"))?;
    let args = if form == "CMD" {
        rest.to_vec()
    } else {
        let shell = image.and_then(|image| image.shell.clone()).filter(|shell| !shell.is_empty());
        let shell = shell.unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into()]);
        shell.into_iter().chain([rest.join(" ")]).collect()
    };
    let mut exec = Exec::like(spec)?;
    exec.process.set_args(Some(args));
    Ok(Some(HealthCheck {
        exec,
        interval: asked.interval,
        timeout: asked.timeout,
        start_period: asked.start_period,
        start_interval: asked.start_interval,
        retries: asked.retries,
        on_failure: asked.on_failure,
    }))
}

impl Engine {
    /// Runs a container's health check now; says whether it went well.
    ///
    /// # Errors
    /// The container does not run, or has no check.
    pub fn run_health_check(&self, name: &str) -> Result<(Probe, Health)> {
        let record = self.container_named(name)?;
        if !self.state(&record.id)?.is_some_and(|state| state.is_running()) {
            return Err(CommandError::new(format!("container {name} is not running")));
        }
        let image = self.run_config(&record.data)?;
        let spec = self.spec_with(&record.id, &record.data, image.as_ref())?;
        let Some(check) = check(&record.data.options, image.as_ref(), &spec)? else {
            return Err(CommandError::new(format!("container {name} has no health check"))
                .hint("--health-cmd of `img run`, or HEALTHCHECK of the image, says what is asked"));
        };
        Ok(health::run(&self.state_dir(&record.id), &check)?)
    }

    /// What is known of a container's health; `None` for one without a check. One that does not run is not healthy.
    pub(super) fn health_of(&self, id: &str, running: bool) -> Result<Option<Health>> {
        let mut health = health::load(&self.state_dir(id))?;
        if let (Some(health), false) = (&mut health, running) {
            health.status = HealthStatus::Unhealthy;
        }
        Ok(health)
    }
}

/// A container's check as docker's inspect prints it.
pub(super) fn config(options: &Options, image: Option<&RunConfig>) -> Result<Value> {
    let Some(asked) = asked(options, image)? else { return Ok(Value::Null) };
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    Ok(json!({
        "Test": asked.test,
        "Interval": nanoseconds(asked.interval),
        "Timeout": nanoseconds(asked.timeout),
        "StartPeriod": nanoseconds(asked.start_period),
        "StartInterval": nanoseconds(asked.start_interval),
        "Retries": asked.retries,
    }))
}

/// A health as docker's inspect prints it.
pub(super) fn shown(health: &Health) -> Value {
    let log = health.log.iter().map(|probe| {
        json!({
            "Start": time(probe.start).to_string(),
            "End": time(probe.end).to_string(),
            "ExitCode": probe.exit_code,
            "Output": probe.output,
        })
    });
    json!({ "Status": health.status.word(), "FailingStreak": health.failing_streak, "Log": log.collect::<Vec<_>>() })
}

/// What `ps` puts behind the status.
pub(super) fn suffix(status: HealthStatus) -> &'static str {
    match status {
        HealthStatus::Starting => " (health: starting)",
        HealthStatus::Healthy => " (healthy)",
        HealthStatus::Unhealthy => " (unhealthy)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(change: impl FnOnce(&mut SupervisionOptions)) -> Options {
        let mut options = Options::default();
        change(&mut options.supervision);
        options
    }

    #[test]
    fn flags_change_the_images_check() {
        let image = RunConfig {
            healthcheck: Some(Healthcheck {
                test: vec!["CMD".into(), "/check".into()],
                interval: Some(7_000_000_000),
                retries: Some(9),
                ..Healthcheck::default()
            }),
            ..RunConfig::default()
        };
        let plain = asked(&Options::default(), Some(&image)).unwrap().unwrap();
        assert_eq!((plain.interval, plain.timeout, plain.retries), (Duration::from_secs(7), INTERVAL, 9));
        let changed = options(|flags| {
            flags.health_cmd = Some("curl -f x".into());
            flags.health_retries = Some(1);
        });
        let changed = asked(&changed, Some(&image)).unwrap().unwrap();
        assert_eq!(changed.test, ["CMD-SHELL", "curl -f x"]);
        assert_eq!((changed.interval, changed.retries), (Duration::from_secs(7), 1));
        assert_eq!(asked(&options(|flags| flags.no_healthcheck = true), Some(&image)).unwrap(), None);
        assert_eq!(asked(&options(|flags| flags.health_cmd = Some("none".into())), Some(&image)).unwrap(), None);
        assert_eq!(asked(&Options::default(), None).unwrap(), None);
    }

    #[test]
    fn nonsense_is_refused() {
        let wrong = |change: fn(&mut SupervisionOptions)| asked(&options(change), None).unwrap_err().text();
        assert!(wrong(|flags| flags.health_interval = Some("5".into())).contains("--health-interval"));
        assert!(wrong(|flags| flags.health_interval = Some("5s".into())).contains("there is none"));
        assert!(wrong(|flags| flags.health_on_failure = Some("reboot".into())).contains("reboot"));
        assert!(
            wrong(|flags| (flags.no_healthcheck, flags.health_cmd) = (true, Some("x".into()))).contains("contradict")
        );
        assert_eq!(test_of("[\"a\", \"b\"]").unwrap(), ["CMD", "a", "b"]);
    }
}
