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
use crate::ports::{Executor, ImageSource, NoSharedCache, SharedCache};
use crate::solve::Solver;

/// Builds what `options` ask for. Events are told from several threads while it runs; the image is in the store,
/// untagged, when it returns.
///
/// # Errors
/// [`BuildError`]; nothing is left behind then but finished steps in the build cache.
pub fn build(
    store: &Store,
    options: &BuildOptions,
    images: &dyn ImageSource,
    executor: &dyn Executor,
    events: &(dyn Fn(Event) + Sync),
) -> Result<BuildOutput, BuildError> {
    build_with(store, options, images, executor, &NoSharedCache, events)
}

/// As [`build`], looking steps that the store does not know up in `shared` before they are run.
///
/// # Errors
/// As [`build`].
pub fn build_with(
    store: &Store,
    options: &BuildOptions,
    images: &dyn ImageSource,
    executor: &dyn Executor,
    shared: &dyn SharedCache,
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
    let (plan, warnings) = plan::plan(&file, options, images, &tell)?;
    if file.check.error && warnings.iter().any(|warning| warning.rule.is_published()) {
        return Err(BuildError::Warnings { file: name.to_owned(), warnings });
    }
    warnings.into_iter().for_each(|warning| tell(Event::Warning(warning)));
    if options.cancel.is_cancelled() {
        return Err(BuildError::Cancelled);
    }
    let steps = plan.stages.iter().flatten().flat_map(|stage| &stage.steps);
    tell(Event::Planned(steps.map(|step| step.info.clone()).collect()));
    let solver = Solver::new(store, &file, &plan, options, executor, shared, &tell)?;
    let results = solver.solve()?;
    let mut output = output::write(&solver, &results)?;
    output.warnings = found.lock().unwrap_or_else(PoisonError::into_inner).clone();
    output.warnings.sort_by_key(|warning| warning.span.start);
    Ok(output)
}
