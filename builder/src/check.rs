//! What can be said of a Buildfile without building it: what is doubtful (`check`), what it can be given (`outline`) and
//! what it can make (`targets`). No step runs and no layer is fetched; base images are asked for their configs, since
//! their variables and triggers matter.

use store::Store;

use crate::buildfile::{Buildfile, Check, Warning};
use crate::context::BuildContext;
use crate::error::BuildError;
use crate::inputs::ContextSource;
use crate::options::BuildOptions;
use crate::plan::{self, Call, Outline};
use crate::ports::ImageSource;

/// What a check found.
#[derive(Debug)]
pub struct CheckReport {
    /// Name of the Buildfile.
    pub name: String,
    /// The warnings of published rules, in the order of the lines.
    pub warnings: Vec<Warning>,
    /// The Buildfile, if it could be parsed at all.
    pub file: Option<Buildfile>,
    /// Why a build of it would fail before its first step, if it would.
    pub error: Option<BuildError>,
}

/// The outline of a target.
#[derive(Debug)]
pub struct OutlineReport {
    /// Name of the Buildfile.
    pub name: String,
    /// What the target can be given.
    pub outline: Outline,
}

/// Checks the Buildfile of `options`: all of its stages, or those that its target needs.
///
/// # Errors
/// [`BuildError`] if the options or the context cannot be used. A Buildfile that cannot be built is no error but
/// [`CheckReport::error`].
pub fn check(store: &Store, options: &BuildOptions, images: &dyn ImageSource) -> Result<CheckReport, BuildError> {
    let name = name(options).to_owned();
    let mut report = CheckReport { name, warnings: Vec::new(), file: None, error: None };
    let file = match Buildfile::parse_checked(&report.name, &options.buildfile, check_argument(options)?) {
        Ok(file) => file,
        Err(error) => {
            report.error = Some(error.into());
            return Ok(report);
        }
    };
    let context = match &options.context {
        Some(ContextSource::Directory(path)) => {
            Some(BuildContext::open(store, path, &options.buildfile_name, options.ignore.as_deref())?)
        }
        // Ignore files speak in directories of the user only.
        _ => None,
    };
    let call = Call { file: &file, options, ignore: context.as_ref().map(BuildContext::ignore) };
    (report.warnings, report.error) = plan::check(&call, images);
    report.warnings.retain(|warning| warning.rule.is_published());
    report.file = Some(file);
    Ok(report)
}

/// The build arguments, secrets, agents and cache mounts of the target of `options`.
///
/// # Errors
/// [`BuildError`] for a Buildfile that cannot be built.
pub fn outline(options: &BuildOptions, images: &dyn ImageSource) -> Result<OutlineReport, BuildError> {
    let file = Buildfile::parse(name(options), &options.buildfile)?;
    let outline = plan::outline(&Call { file: &file, options, ignore: None }, images)?;
    Ok(OutlineReport { name: name(options).to_owned(), outline })
}

/// The stages that can be built, in the order of the file.
///
/// # Errors
/// [`BuildError`] for a Buildfile that cannot be parsed.
pub fn targets(options: &BuildOptions) -> Result<Buildfile, BuildError> {
    Ok(Buildfile::parse(name(options), &options.buildfile)?)
}

/// The build argument that stands for the file's `check` directive.
pub(crate) fn check_argument(options: &BuildOptions) -> Result<Option<Check>, BuildError> {
    let given = options.build_args.iter().rfind(|(name, _)| name == "BUILDKIT_DOCKERFILE_CHECK");
    given
        .map(|(_, text)| {
            Check::parse(text).map_err(|message| {
                BuildError::Options(format!("the build argument BUILDKIT_DOCKERFILE_CHECK: {message}"))
            })
        })
        .transpose()
}

fn name(options: &BuildOptions) -> &str {
    if options.buildfile_name.is_empty() { "Buildfile" } else { &options.buildfile_name }
}
