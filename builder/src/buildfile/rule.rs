//! The rules that a Buildfile is checked by: those that Docker publishes for its build checks, under the same names and
//! in the same words, so that directives, documentation and tools written for those serve here too (Docker
//! documentation, "Build checks"), and a few of our own.

/// A rule. Its name, what it wants and where it is documented are in [`Rule::name`] and its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Stage names are lower case.
    StageNameCasing,
    /// `FROM` and `AS` are in the same case.
    FromAsCasing,
    /// No blank lines inside a continued instruction.
    NoEmptyContinuation,
    /// Instructions are all upper or all lower case.
    ConsistentInstructionCasing,
    /// No two stages of one name.
    DuplicateStageName,
    /// No stage called `scratch` or `context`.
    ReservedStageName,
    /// CMD and ENTRYPOINT are written in the exec form.
    JsonArgsRecommended,
    /// No `MAINTAINER`.
    MaintainerDeprecated,
    /// A variable in FROM is a global ARG.
    UndefinedArgInFrom,
    /// No relative WORKDIR without an absolute one before it.
    WorkdirRelativePath,
    /// A variable is defined by an ARG or ENV before it.
    UndefinedVar,
    /// One CMD, ENTRYPOINT and HEALTHCHECK a stage.
    MultipleInstructionsDisallowed,
    /// `ENV key=value`, not `ENV key value`.
    LegacyKeyValueFormat,
    /// No `--platform=$TARGETPLATFORM`, which is what FROM does anyway.
    RedundantTargetPlatform,
    /// No ARG or ENV that is called like a secret.
    SecretsUsedInArgOrEnv,
    /// A FROM is an image also when no build argument is given.
    InvalidDefaultArgInFrom,
    /// No constant `--platform`.
    FromPlatformFlagConstDisallowed,
    /// No copying of what the ignore file hides.
    CopyIgnoredFile,
    /// A comment right above a stage or an ARG describes it: `# name text`.
    InvalidDefinitionDescription,
    /// The protocol of EXPOSE is lower case.
    ExposeProtoCasing,
    /// EXPOSE names ports of the container only.
    ExposeInvalidFormat,
    /// Not a published check: a source pattern that matched nothing, a path that leads out of the context, or a build
    /// argument that nothing used. Told by a build, not by a check.
    Unused,
    /// Not a published check: a secret given to the build is in the image.
    SecretFound,
    /// Not a published check: a file is packed so that not all of it was searched for secrets.
    SecretSearchCut,
}

/// Name, page and description of each rule.
const TABLE: [(Rule, &str, &str, &str); 21] = [
    (Rule::StageNameCasing, "StageNameCasing", "stage-name-casing", "Stage names should be lowercase"),
    (
        Rule::FromAsCasing,
        "FromAsCasing",
        "from-as-casing",
        "The 'as' keyword should match the case of the 'from' keyword",
    ),
    (
        Rule::NoEmptyContinuation,
        "NoEmptyContinuation",
        "no-empty-continuation",
        "Empty continuation lines will become errors in a future release",
    ),
    (
        Rule::ConsistentInstructionCasing,
        "ConsistentInstructionCasing",
        "consistent-instruction-casing",
        "All commands within the Dockerfile should use the same casing (either upper or lower)",
    ),
    (Rule::DuplicateStageName, "DuplicateStageName", "duplicate-stage-name", "Stage names should be unique"),
    (
        Rule::ReservedStageName,
        "ReservedStageName",
        "reserved-stage-name",
        "Reserved words should not be used as stage names",
    ),
    (
        Rule::JsonArgsRecommended,
        "JSONArgsRecommended",
        "json-args-recommended",
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    ),
    (
        Rule::MaintainerDeprecated,
        "MaintainerDeprecated",
        "maintainer-deprecated",
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    ),
    (Rule::UndefinedArgInFrom, "UndefinedArgInFrom", "undefined-arg-in-from", "FROM command must use declared ARGs"),
    (
        Rule::WorkdirRelativePath,
        "WorkdirRelativePath",
        "workdir-relative-path",
        "Relative workdir without an absolute workdir declared within the build can have unexpected results if the \
         base image changes",
    ),
    (Rule::UndefinedVar, "UndefinedVar", "undefined-var", "Variables should be defined before their use"),
    (
        Rule::MultipleInstructionsDisallowed,
        "MultipleInstructionsDisallowed",
        "multiple-instructions-disallowed",
        "Multiple instructions of the same type should not be used in the same stage",
    ),
    (
        Rule::LegacyKeyValueFormat,
        "LegacyKeyValueFormat",
        "legacy-key-value-format",
        "Legacy key/value format with whitespace separator should not be used",
    ),
    (
        Rule::RedundantTargetPlatform,
        "RedundantTargetPlatform",
        "redundant-target-platform",
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    ),
    (
        Rule::SecretsUsedInArgOrEnv,
        "SecretsUsedInArgOrEnv",
        "secrets-used-in-arg-or-env",
        "Sensitive data should not be used in the ARG or ENV commands",
    ),
    (
        Rule::InvalidDefaultArgInFrom,
        "InvalidDefaultArgInFrom",
        "invalid-default-arg-in-from",
        "Default value for global ARG results in an empty or invalid base image name",
    ),
    (
        Rule::FromPlatformFlagConstDisallowed,
        "FromPlatformFlagConstDisallowed",
        "from-platform-flag-const-disallowed",
        "FROM --platform flag should not use a constant value",
    ),
    (
        Rule::CopyIgnoredFile,
        "CopyIgnoredFile",
        "copy-ignored-file",
        "Attempting to Copy file that is excluded by .dockerignore",
    ),
    (
        Rule::InvalidDefinitionDescription,
        "InvalidDefinitionDescription",
        "invalid-definition-description",
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is \
         not intended to be a description comment, add an empty line or comment between the instruction and the \
         comment.",
    ),
    (
        Rule::ExposeProtoCasing,
        "ExposeProtoCasing",
        "expose-proto-casing",
        "Protocol in EXPOSE instruction should be lowercase",
    ),
    (
        Rule::ExposeInvalidFormat,
        "ExposeInvalidFormat",
        "expose-invalid-format",
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a \
         future release",
    ),
];

impl Rule {
    /// The published rules.
    pub fn published() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|(rule, ..)| *rule)
    }

    fn row(self) -> Option<&'static (Self, &'static str, &'static str, &'static str)> {
        TABLE.iter().find(|(rule, ..)| *rule == self)
    }

    /// Whether Docker publishes it.
    #[must_use]
    pub fn is_published(self) -> bool {
        self.row().is_some()
    }

    /// Its published name; of ours, what we call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        let ours = match self {
            Self::SecretFound => "SecretFound",
            Self::SecretSearchCut => "SecretSearchCut",
            _ => "Unused",
        };
        self.row().map_or(ours, |(_, name, ..)| name)
    }

    /// What it wants, one sentence; empty for ours.
    #[must_use]
    pub fn description(self) -> &'static str {
        self.row().map_or("", |(.., description)| description)
    }

    /// The page that explains it; none for ours.
    #[must_use]
    pub fn url(self) -> Option<String> {
        self.row().map(|(_, _, page, _)| format!("https://docs.docker.com/go/dockerfile/rule/{page}/"))
    }

    /// Whether it is checked only where `experimental=` asks for it.
    #[must_use]
    pub fn is_experimental(self) -> bool {
        self == Self::InvalidDefinitionDescription
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_one_rules_with_names_of_their_own() {
        let mut names: Vec<&str> = Rule::published().map(Rule::name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 21);
        assert!(Rule::published().all(|rule| rule.is_published() && !rule.description().is_empty()));
        assert_eq!(Rule::Unused.name(), "Unused");
        assert_eq!(Rule::Unused.url(), None);
        let url = Rule::JsonArgsRecommended.url().unwrap();
        assert_eq!(url, "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/");
    }
}
