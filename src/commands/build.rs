//! `img build`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use clap::Args;

use super::build_output::OutputFlags;
use super::build_steps::StepFlags;
use super::{Run, build_call};
use crate::config::Context;
use crate::engine::build::BuildRequest;
use crate::error::{CommandError, Context as _, Result};
use crate::ui::{self, build_progress::BuildProgress};

/// How long the steps that run may take to stop after Ctrl-C before the build is simply ended.
const PATIENCE: Duration = Duration::from_secs(3);

/// Build an image from a Buildfile
///
/// Reads Buildfile, Containerfile or Dockerfile (looked for in that order; the language is the same). Steps whose
/// instruction and inputs have not changed are taken from the cache; stages that nothing needs are skipped; independent
/// ones run side by side. Nothing is compressed until the image is pushed or saved.
#[derive(Args)]
pub struct Build {
    /// The build context: a directory, the URL of a tar, a git repository (URL[#REF[:DIRECTORY]]), or - for a tar or a
    /// Buildfile on standard input
    #[arg(default_value = ".", value_name = "CONTEXT")]
    context: String,
    /// Name the image; may be given several times
    #[arg(long, short, value_name = "NAME[:TAG]")]
    tag: Vec<String>,
    /// The Buildfile; - for standard input
    #[arg(long, short, value_name = "FILE")]
    file: Option<String>,
    /// Stop at this stage
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    #[command(flatten)]
    inputs: super::build_inputs::InputFlags,
    /// Set an ARG; without a value, take it from here
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,
    /// Label the image
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Run every step anew
    #[arg(long)]
    no_cache: bool,
    /// Look for newer base images even if they are here
    #[arg(long)]
    pull: bool,
    #[command(flatten)]
    platforms: super::build_platforms::PlatformFlags,
    /// Network of RUN steps: default, none, host
    #[arg(long, value_name = "NETWORK", default_value = "default")]
    network: String,
    /// Add a line to /etc/hosts of RUN steps: NAME:IP
    #[arg(long, value_name = "NAME:IP")]
    add_host: Vec<String>,
    /// Size of /dev/shm in RUN steps
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,
    /// Write the image's id to this file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    steps: StepFlags,
    /// How progress is shown: auto, plain, tty, quiet or none (errors only), rawjson (a line of JSON for each change)
    #[arg(long, default_value = "auto", value_name = "KIND",
        value_parser = ["auto", "plain", "tty", "quiet", "none", "rawjson"])]
    progress: String,
    /// What to do when bytes of a secret are found in what was built: fail (exit code 17), warn, off
    #[arg(long, default_value = "fail", value_name = "ACTION", value_parser = ["fail", "warn", "off"])]
    tripwire: String,
    /// Keep a layer of its own for each RUN that only changes owners, modes or times of files that the build wrote
    #[arg(long)]
    no_fold: bool,
    /// Print, instead of the image's id, each step with the reason why it ran: text, json
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"])]
    explain: Option<String>,
    /// Check the Buildfile instead of building it: short for --call=check
    #[arg(long)]
    check: bool,
    /// What to do: build; check (show doubtful things, exit code 1 if there are any); outline (what can be given);
    /// targets (what can be built). With ,format=json for programs
    #[arg(long, default_value = "build", value_name = "METHOD", value_parser = build_call::Call::parse)]
    call: build_call::Call,
    /// Form of what --check and --call print: text, json
    #[arg(long, value_name = "FORM", value_parser = ["text", "json"])]
    format: Option<String>,
    /// Print the image's id only
    #[arg(long, short)]
    quiet: bool,
}

impl Run for Build {
    fn run(self, context: &Context) -> Result<ExitCode> {
        // A test's wish; there is no such thing in a release.
        #[cfg(debug_assertions)]
        if let Some(rule) = context.variable("IMG_TEST_BREAK") {
            builder::mutation::break_rule(rule);
        }
        // An archive that ADD unpacks may have half a million members, and is gone through twice.
        runner::return_large_blocks();
        let engine = context.engine()?;
        let mut build_args = self.steps.file_arguments()?;
        for argument in &self.build_arg {
            match argument.split_once('=') {
                Some((name, value)) => build_args.push((name.to_owned(), value.to_owned())),
                None => build_args.extend(context.variable(argument).map(|value| (argument.clone(), value.to_owned()))),
            }
        }
        // Proxies of the host reach RUN, but no cache key and no history (they are predefined build arguments).
        for name in ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"] {
            for name in [name.to_owned(), name.to_uppercase()] {
                if let Some(value) = context.variable(&name)
                    && !build_args.iter().any(|(given, _)| *given == name)
                {
                    build_args.push((name, value.to_owned()));
                }
            }
        }
        let mut labels = Vec::new();
        for label in &self.label {
            let (key, value) = label.split_once('=').unwrap_or((label, ""));
            if key.is_empty() {
                return Err(CommandError::usage(format!("label without a key: {label:?}")));
            }
            labels.push((key.to_owned(), value.to_owned()));
        }
        let source_date_epoch = match context.variable("SOURCE_DATE_EPOCH") {
            None | Some("") => None,
            Some(text) => Some(text.parse().map_err(|_| {
                CommandError::usage(format!("SOURCE_DATE_EPOCH is {text:?}, not a number of seconds since 1970"))
            })?),
        };
        // docker takes the build argument of that name for the same thing.
        let argument = build_args.iter().rev().find(|(name, _)| name == "SOURCE_DATE_EPOCH");
        let epoch = source_date_epoch.or_else(|| argument.and_then(|(_, value)| value.parse().ok()));
        let delivery = self.output.delivery(epoch)?;
        let uses_stdout = delivery.uses_stdout();
        let cancel = builder::Cancel::new();
        let signal = Arc::new(AtomicU8::new(0));
        let (flag, seen) = (cancel.clone(), Arc::clone(&signal));
        runner::interrupt::watch(PATIENCE, move |signal| {
            seen.store(u8::try_from(signal).unwrap_or(0), Ordering::Relaxed);
            flag.cancel();
        })?;
        let (inputs, keys) = self.inputs.read(context)?;
        let mut request = BuildRequest {
            context: self.context,
            file: self.file,
            tags: self.tag,
            target: self.target,
            build_args,
            labels,
            no_cache: self.no_cache,
            pull: self.pull,
            platform: None,
            network: self.network,
            add_host: self.add_host,
            shm_size: self.shm_size,
            inputs,
            keys,
            build_contexts: self.inputs.contexts()?,
            source_date_epoch,
            delivery,
            cache: self.steps.cache()?,
            cache_budget: self.steps.cache_budget()?,
            steps: self.steps.options(),
            no_cache_stages: self.steps.no_cache_stages(),
            tripwire: match self.tripwire.as_str() {
                "off" => builder::Tripwire::Off,
                "warn" => builder::Tripwire::Warn,
                _ => builder::Tripwire::Fail,
            },
            no_fold: self.no_fold,
            cancel,
        };
        let platforms = self.platforms.plan(&mut request)?;
        let progress = BuildProgress::new(self.quiet, &self.progress);
        let call = self.call.with(self.check, self.format.as_deref());
        if !call.is_build() {
            return build_call::run(engine, &request, call);
        }
        if self.format.is_some() {
            return Err(CommandError::usage("--format is for --check and --call"));
        }
        if platforms.are_several() && (self.explain.is_some() || self.output.has_metadata()) {
            return Err(CommandError::usage("--explain and --metadata-file are for the image of one platform"));
        }
        let all = platforms.build(engine, &mut request, &progress, |request| {
            let built = engine.build(request, &progress)?;
            progress.finish(&built);
            Ok(built)
        });
        let (built, list) = match all {
            Err(error) if signal.load(Ordering::Relaxed) > 0 => {
                ui::error(&error);
                return Ok(ExitCode::from(128 + signal.load(Ordering::Relaxed)));
            }
            result => result?,
        };
        if let Some(file) = &self.iidfile {
            let id = list.filter(|_| platforms.are_several()).unwrap_or(built.image.0);
            std::fs::write(file, id.to_string())
                .with_context(|| format!("cannot write the image's id to {}", file.display()))?;
        }
        self.output.finish(&built)?;
        match self.explain.as_deref() {
            // The image itself, or its files, have gone there.
            None if uses_stdout => {}
            None if platforms.are_several() => ui::outln(list.unwrap_or(built.image.0))?,
            None => ui::outln(built.image)?,
            Some("json") => ui::outln_json(&built.report, true)?,
            Some(_) => ui::explain::print(&built.report.steps)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
