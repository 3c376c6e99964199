//! Things that are allowed in a Buildfile but doubtful. Rules have the names that Docker's build checks publish, so
//! that a `# check=skip=NAME` directive written for those means the same here.

use super::source::Span;

/// The rules that are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Stage names should be lower case.
    StageNameCasing,
    /// `FROM` and `AS` should be in the same case.
    FromAsCasing,
    /// Blank lines inside a continued instruction.
    NoEmptyContinuation,
    /// Instructions should be all upper or all lower case.
    ConsistentInstructionCasing,
    /// Two stages of one name.
    DuplicateStageName,
    /// A stage called `scratch` or `context`.
    ReservedStageName,
    /// CMD and ENTRYPOINT are better written in the exec form.
    JsonArgsRecommended,
    /// `MAINTAINER` is deprecated.
    MaintainerDeprecated,
    /// A relative WORKDIR without an absolute one before it.
    WorkdirRelativePath,
    /// Only the last CMD, ENTRYPOINT or HEALTHCHECK counts.
    MultipleInstructionsDisallowed,
    /// `ENV key value` without `=`.
    LegacyKeyValueFormat,
    /// A variable that no ARG or ENV defines.
    UndefinedVar,
    /// A variable in FROM that no global ARG defines.
    UndefinedArgInFrom,
    /// `--platform` of a FROM is the constant that it would be anyway.
    RedundantTargetPlatform,
    /// Not a published check: a source pattern that matched nothing, a path that leads out of the context, or a build
    /// argument that nothing used.
    Unused,
    /// Not a published check: a secret given to the build is in the image.
    SecretFound,
}

impl Rule {
    /// The published name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::StageNameCasing => "StageNameCasing",
            Self::FromAsCasing => "FromAsCasing",
            Self::NoEmptyContinuation => "NoEmptyContinuation",
            Self::ConsistentInstructionCasing => "ConsistentInstructionCasing",
            Self::DuplicateStageName => "DuplicateStageName",
            Self::ReservedStageName => "ReservedStageName",
            Self::JsonArgsRecommended => "JSONArgsRecommended",
            Self::MaintainerDeprecated => "MaintainerDeprecated",
            Self::WorkdirRelativePath => "WorkdirRelativePath",
            Self::MultipleInstructionsDisallowed => "MultipleInstructionsDisallowed",
            Self::LegacyKeyValueFormat => "LegacyKeyValueFormat",
            Self::UndefinedVar => "UndefinedVar",
            Self::UndefinedArgInFrom => "UndefinedArgInFrom",
            Self::RedundantTargetPlatform => "RedundantTargetPlatform",
            Self::Unused => "Unused",
            Self::SecretFound => "SecretFound",
        }
    }
}

/// One doubtful thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Which rule.
    pub rule: Rule,
    /// What it is about.
    pub span: Span,
    /// What is doubtful: lower case, one line.
    pub message: String,
}

impl Warning {
    /// A warning.
    #[must_use]
    pub fn new(rule: Rule, span: Span, message: String) -> Self {
        Self { rule, span, message }
    }
}

/// The `check` parser directive: `skip=Rule,Rule;error=true`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    skip: Vec<String>,
    /// Warnings end the build.
    pub error: bool,
}

impl Check {
    /// Reads the value of the directive. Unknown keys are refused, unknown rules are allowed (newer ones).
    ///
    /// # Errors
    /// A message that names what was not understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut check = Self::default();
        for part in text.split(';') {
            match part.trim().split_once('=') {
                Some(("skip", rules)) => {
                    check.skip.extend(rules.split(',').map(|rule| rule.trim().to_ascii_lowercase()));
                }
                Some(("error", "true")) => check.error = true,
                Some(("error", "false")) => check.error = false,
                Some(("experimental", _)) => {}
                _ => return Err(format!("unknown check option {part:?}: it is skip=RULES or error=true")),
            }
        }
        Ok(check)
    }

    /// Whether `rule` is to be reported.
    #[must_use]
    pub fn wants(&self, rule: Rule) -> bool {
        !self.skip.iter().any(|skip| skip == "all" || *skip == rule.name().to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_directive() {
        let check = Check::parse("skip=JSONArgsRecommended,StageNameCasing;error=true").unwrap();
        assert!(check.error && !check.wants(Rule::JsonArgsRecommended) && check.wants(Rule::UndefinedVar));
        assert!(!Check::parse("skip=all").unwrap().wants(Rule::UndefinedVar));
        assert!(Check::parse("what=1").is_err());
    }
}
