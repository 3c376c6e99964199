//! One build from beginning to end: parse, plan, solve, write the image.

use std::sync::{Mutex, PoisonError};

use store::Store;

use crate::buildfile::{Buildfile, Warning};
use crate::check::check_argument;
use crate::error::BuildError;
use crate::event::Event;
use crate::options::{BuildOptions, BuildOutput};
use crate::output;
use crate::plan;
use crate::ports::Ports;
use crate::solve::Solver;

/// Builds what `options` ask for. Events are told from several threads while it runs; the image is in the store,
/// untagged, when it returns.
///
/// # Errors
/// [`BuildError`]; nothing is left behind then but finished steps in the build cache.
pub fn build(
    store: &Store,
    options: &BuildOptions,
    ports: &Ports<'_>,
    events: &(dyn Fn(Event) + Sync),
) -> Result<BuildOutput, BuildError> {
    let name = if options.buildfile_name.is_empty() { "Buildfile" } else { &options.buildfile_name };
    let file = Buildfile::parse_checked(name, &options.buildfile, check_argument(options)?)?;
    let found: Mutex<Vec<Warning>> = Mutex::default();
    let check = file.check.clone();
    // Warnings come while steps are looked at too; all of them are told, and given back at the end.
    let tell = |event: Event| {
        if let Event::Warning(warning) = &event {
            if !check.wants(warning.rule) {
                return;
            }
            found.lock().unwrap_or_else(PoisonError::into_inner).push(warning.clone());
        }
        events(event);
    };
    let (plan, warnings) = plan::plan(&file, options, ports.images, &tell)?;
    if file.check.error && warnings.iter().any(|warning| warning.rule.is_published()) {
        return Err(BuildError::Warnings { file: name.to_owned(), warnings });
    }
    warnings.into_iter().for_each(|warning| tell(Event::Warning(warning)));
    if options.cancel.is_cancelled() {
        return Err(BuildError::Cancelled);
    }
    let steps = plan.stages.iter().flatten().flat_map(|stage| &stage.steps);
    tell(Event::Planned(steps.map(|step| step.info.clone()).collect()));
    let solver = Solver::new(store, &file, &plan, options, ports, &tell)?;
    let made = solver.solve().and_then(|results| output::write(&solver, &results));
    let mut output = match made {
        Ok(output) => output,
        Err(error) => {
            // What was done is told later also of a build that failed; why it failed matters more than that.
            let _ = solver.report(None);
            return Err(error);
        }
    };
    output.report = solver.report(Some(output.image.to_string()))?;
    output.warnings = found.lock().unwrap_or_else(PoisonError::into_inner).clone();
    output.warnings.sort_by_key(|warning| warning.span.start);
    Ok(output)
}
