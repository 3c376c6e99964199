//! Planning for its own sake: the warnings of all stages, and what a target can be given.

use super::stages::Planner;
use crate::buildfile::{Buildfile, Expander, Kind, Span, Warning};
use crate::context::Ignore;
use crate::error::BuildError;
use crate::options::BuildOptions;
use crate::ports::ImageSource;

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The Buildfile.
    pub file: &'a Buildfile,
    /// As for a build of it.
    pub options: &'a BuildOptions,
    /// What the context hides.
    pub ignore: Option<&'a Ignore>,
}

/// What a target can be given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// Name of the target, if it has one.
    pub name: Option<String>,
    /// The comment that describes it.
    pub description: String,
    /// Build arguments, in the order of the file.
    pub args: Vec<OutlineArg>,
    /// Secrets of RUN mounts.
    pub secrets: Vec<OutlineUse>,
    /// Agents of RUN mounts.
    pub ssh: Vec<OutlineUse>,
    /// Cache mounts.
    pub caches: Vec<OutlineUse>,
}

/// A build argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// The comment that describes it.
    pub description: String,
    /// What it is: as given, or its default.
    pub value: Option<String>,
    /// Where it stands.
    pub span: Span,
}

/// A secret, an agent or a cache that some RUN mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineUse {
    /// Its id.
    pub id: String,
    /// The step fails without it.
    pub required: bool,
    /// Where it stands.
    pub span: Span,
}

/// The warnings of the target's stages, or of all of them if no target is given; and what a build would fail for.
pub fn check(call: &Call<'_>, images: &dyn ImageSource) -> (Vec<Warning>, Option<BuildError>) {
    let mut planner = match Planner::new(call.file, call.options, call.ignore) {
        Ok(planner) => planner,
        Err(error) => return (call.file.warnings.clone(), Some(error)),
    };
    let all = || (0..call.file.stages.len()).collect();
    let looked = planner
        .draft()
        .and_then(|()| if call.options.target.is_some() { planner.target().map(|t| vec![t]) } else { Ok(all()) })
        .and_then(|targets| planner.dispatch_all(&targets, images, &|_| ()));
    (planner.all_warnings(), looked.err())
}

/// What the target can be given.
///
/// # Errors
/// [`BuildError`] for what a build would fail for.
pub fn outline(call: &Call<'_>, images: &dyn ImageSource) -> Result<Outline, BuildError> {
    let mut planner = Planner::new(call.file, call.options, call.ignore)?;
    planner.draft()?;
    let target = planner.target()?;
    let (done, reached) = planner.dispatch_all(&[target], images, &|_| ())?;
    let stage = &call.file.stages[target];
    let mut outline = Outline { name: stage.name.clone(), ..Outline::default() };
    if let Some(name) = &stage.name {
        outline.description = description(name, &stage.comments);
    }
    let bases: Vec<&str> = (0..call.file.stages.len())
        .filter(|index| reached[*index])
        .flat_map(|index| {
            let stage = &call.file.stages[index];
            [stage.base.as_str()].into_iter().chain(stage.platform.as_deref())
        })
        .collect();
    // Those before the first FROM count if a FROM that is needed uses them, or a stage takes them over.
    for instruction in &call.file.global_args {
        let Kind::Arg(args) = &instruction.kind else { continue };
        for arg in args.iter().filter(|arg| bases.iter().any(|base| mentions(base, &arg.name, call.file.escape))) {
            outline.add_arg(&arg.name, planner.global.get(&arg.name), &instruction.comments, instruction.span);
        }
    }
    for (index, stage) in done.iter().enumerate().filter_map(|(index, stage)| Some((index, stage.as_ref()?))) {
        for instruction in planner.drafts[index].instructions.iter() {
            match &instruction.kind {
                Kind::Arg(args) => {
                    for arg in args {
                        outline.add_arg(&arg.name, stage.env.get(&arg.name), &instruction.comments, instruction.span);
                    }
                }
                Kind::Run(run) => run.mounts.iter().for_each(|(text, span)| outline.add_mount(text, *span)),
                _ => {}
            }
        }
    }
    Ok(outline)
}

impl Outline {
    fn add_arg(&mut self, name: &str, value: Option<&str>, comments: &[String], span: Span) {
        let description = description(name, comments);
        let value = value.map(str::to_owned);
        match self.args.iter_mut().find(|arg| arg.name == name) {
            Some(known) => {
                known.value = known.value.take().or(value);
                if known.description.is_empty() {
                    known.description = description;
                }
            }
            None => self.args.push(OutlineArg { name: name.to_owned(), description, value, span }),
        }
    }

    /// Reads what an outline shows of a `--mount`; whether all of it makes sense is the planner's business.
    fn add_mount(&mut self, text: &str, span: Span) {
        let fields: Vec<(&str, &str)> =
            text.split(',').map(|field| field.trim_matches('"').split_once('=').unwrap_or((field, ""))).collect();
        let value = |names: &[&str]| fields.iter().find(|(key, _)| names.contains(key)).map(|(_, value)| *value);
        let target = value(&["target", "dst", "destination"]);
        let (list, default) = match value(&["type"]) {
            Some("secret") => (&mut self.secrets, target.and_then(|path| path.rsplit('/').next())),
            Some("ssh") => (&mut self.ssh, Some("default")),
            Some("cache") => (&mut self.caches, target),
            _ => return,
        };
        let Some(id) = value(&["id"]).or(default) else { return };
        let required = value(&["required"]).is_some_and(|text| matches!(text, "" | "true" | "1"));
        match list.iter_mut().find(|known| known.id == id) {
            Some(known) => known.required |= required,
            None => list.push(OutlineUse { id: id.to_owned(), required, span }),
        }
    }
}

/// The text of a comment `name text` among `comments`.
pub fn description(name: &str, comments: &[String]) -> String {
    let text = |comment: &String| comment.strip_prefix(name)?.strip_prefix(' ').map(|text| text.trim().to_owned());
    comments.iter().find_map(text).unwrap_or_default()
}

/// Whether `text` uses the variable `name`.
fn mentions(text: &str, name: &str, escape: char) -> bool {
    Expander::new(escape).expand(text, &|_| None).is_ok_and(|expanded| expanded.unset.iter().any(|used| used == name))
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
