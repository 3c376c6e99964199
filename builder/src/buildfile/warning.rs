//! Things that are allowed in a Buildfile but doubtful, and the directive that says which of them are to be told.

use super::rule::Rule;
use super::source::Span;

/// One doubtful thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Which rule.
    pub rule: Rule,
    /// What it is about.
    pub span: Span,
    /// What is doubtful: one line, for published rules in Docker's words.
    pub message: String,
}

impl Warning {
    /// A warning.
    #[must_use]
    pub fn new(rule: Rule, span: Span, message: String) -> Self {
        Self { rule, span, message }
    }
}

/// The `check` parser directive: `skip=Rule,Rule;error=true;experimental=Rule` (Docker documentation, "Build checks").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    skip: Vec<String>,
    experimental: Vec<String>,
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
        let rules = |text: &str| text.split(',').map(|rule| rule.trim().to_ascii_lowercase()).collect::<Vec<_>>();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
                Some(("skip", names)) => check.skip = rules(names),
                Some(("experimental", names)) => check.experimental = rules(names),
                Some(("error", value)) => {
                    check.error = match value.to_ascii_lowercase().as_str() {
                        "true" | "1" => true,
                        "false" | "0" => false,
                        _ => return Err(format!("check option error is true or false, not {value:?}")),
                    }
                }
                _ => {
                    return Err(format!(
                        "unknown check option {part:?}: it is skip=RULES, error=true or experimental=RULES"
                    ));
                }
            }
        }
        Ok(check)
    }

    /// Whether `rule` is to be reported.
    #[must_use]
    pub fn wants(&self, rule: Rule) -> bool {
        let names = |list: &[String]| list.iter().any(|name| name == "all" || name.eq_ignore_ascii_case(rule.name()));
        !names(&self.skip) && (!rule.is_experimental() || names(&self.experimental))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_directive() {
        let check = Check::parse("skip=JSONArgsRecommended, StageNameCasing;error=true").unwrap();
        assert!(check.error && !check.wants(Rule::JsonArgsRecommended) && check.wants(Rule::UndefinedVar));
        assert!(!check.wants(Rule::StageNameCasing));
        assert!(!Check::parse("skip=all").unwrap().wants(Rule::UndefinedVar));
        assert!(Check::parse("what=1").is_err() && Check::parse("error=maybe").is_err());
        assert_eq!(Check::parse("").unwrap(), Check::default());
    }

    #[test]
    fn experimental_rules_are_asked_for() {
        let rule = Rule::InvalidDefinitionDescription;
        assert!(!Check::default().wants(rule));
        assert!(Check::parse("experimental=InvalidDefinitionDescription").unwrap().wants(rule));
        assert!(Check::parse("experimental=all").unwrap().wants(rule));
        assert!(!Check::parse("experimental=all;skip=all").unwrap().wants(rule));
    }
}
