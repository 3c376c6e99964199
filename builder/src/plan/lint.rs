//! Rules that need values: variables and their defaults, platforms, the ignore file, what the base image brings. Each
//! function says what is wrong, if anything; the planner knows where.

use crate::buildfile::{Rule, Span, Warning};
use crate::context::Ignore;
use crate::platform::Platform;

/// Parts of a name, between underscores, that make it a secret's.
const SECRET: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
/// Parts that make it none after all.
const HARMLESS: [&str; 3] = ["public", "file", "version"];

/// An ARG or ENV that is called like a secret: its value would be in the image or its history.
pub(super) fn secret_name(keyword: &str, name: &str, span: Span) -> Option<Warning> {
    let lower = name.to_ascii_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
    (has(&SECRET) && !has(&HARMLESS)).then(|| {
        let message = format!("Do not use ARG or ENV instructions for sensitive data ({keyword} \"{name}\")");
        Warning::new(Rule::SecretsUsedInArgOrEnv, span, message)
    })
}

/// A variable that nothing defines; `near` is one that was perhaps meant.
pub(super) fn undefined(name: &str, near: Option<&str>, span: Span) -> Warning {
    let near = near.map(|near| format!(" (did you mean ${near}?)")).unwrap_or_default();
    Warning::new(Rule::UndefinedVar, span, format!("Usage of undefined variable '${name}'{near}"))
}

/// The same in FROM.
pub(super) fn undefined_in_from(name: &str, near: Option<&str>, span: Span) -> Warning {
    let near = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
    Warning::new(Rule::UndefinedArgInFrom, span, format!("FROM argument '{name}' is not declared{near}"))
}

/// The `--platform` of a FROM: as written, and as it came out.
pub(super) fn platform(written: &str, expanded: &str, stage: Option<&str>, span: Span) -> Option<Warning> {
    if matches!(written, "$TARGETPLATFORM" | "${TARGETPLATFORM}") {
        let message =
            format!("Setting platform to predefined {written} in FROM is redundant as this is the default behavior");
        return Some(Warning::new(Rule::RedundantTargetPlatform, span, message));
    }
    if written.contains('$') {
        return None;
    }
    let platform = Platform::parse(expanded).ok()?;
    // A stage for one platform says so in its name.
    let named = stage.is_some_and(|name| name.contains(&platform.os) || name.contains(&platform.architecture));
    (!named).then(|| {
        let message = format!("FROM --platform flag should not use constant value \"{expanded}\"");
        Warning::new(Rule::FromPlatformFlagConstDisallowed, span, message)
    })
}

/// A base that is no image when no build argument is given. `default` is what it is then.
pub(super) fn default_base(written: &str, default: &str, span: Span) -> Option<Warning> {
    (!may_be_image(default)).then(|| {
        let message = format!("Default value for ARG {written} results in empty or invalid base image name");
        Warning::new(Rule::InvalidDefaultArgInFrom, span, message)
    })
}

/// A source of COPY or ADD that the ignore file hides. Files with exceptions are not judged: what a hidden directory
/// still shows cannot be told from the patterns.
pub(super) fn ignored_source(ignore: Option<&Ignore>, keyword: &str, source: &str, span: Span) -> Option<Warning> {
    let ignore = ignore.filter(|ignore| !ignore.has_exceptions())?;
    let clean = crate::op::select::components(source).0.join("/");
    let verb = if keyword == "ADD" { "Add" } else { "Copy" };
    (!clean.is_empty() && ignore.judge(clean.as_bytes()).ignored).then(|| {
        let message = format!("Attempting to {verb} file \"{clean}\" that is excluded by .dockerignore");
        Warning::new(Rule::CopyIgnoredFile, span, message)
    })
}

/// One word of EXPOSE: no upper case protocol, no host's address or port.
pub(super) fn exposed(word: &str, span: Span) -> Vec<Warning> {
    let (ports, protocol) = word.split_once('/').unwrap_or((word, ""));
    let mut found = Vec::new();
    if protocol != protocol.to_lowercase() {
        let message = format!("Defined protocol '{word}' in EXPOSE instruction should be lowercase");
        found.push(Warning::new(Rule::ExposeProtoCasing, span, message));
    }
    if ports.contains(':') {
        let message =
            format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'");
        found.push(Warning::new(Rule::ExposeInvalidFormat, span, message));
    }
    found
}

/// A command in the shell form, where the stage chose no shell of its own.
pub(super) fn shell_form(keyword: &str, span: Span) -> Warning {
    let message =
        format!("JSON arguments recommended for {keyword} to prevent unintended behavior related to OS signals");
    Warning::new(Rule::JsonArgsRecommended, span, message)
}

/// A WORKDIR that stands on whatever the base image has.
pub(super) fn relative_workdir(path: &str, span: Span) -> Warning {
    let message = format!("Relative workdir \"{path}\" can have unexpected results if the base image changes");
    Warning::new(Rule::WorkdirRelativePath, span, message)
}

/// Whether `text` has the form of an image's name: `[host[:port]/]path[:tag][@digest]`.
fn may_be_image(text: &str) -> bool {
    let (name, digest) = text.split_once('@').map_or((text, None), |(name, digest)| (name, Some(digest)));
    let tagged = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'));
    let (path, tag) = tagged.map_or((name, None), |(path, tag)| (path, Some(tag)));
    let legal = |text: &str, more: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let mut parts: Vec<&str> = path.split('/').collect();
    let has_host = parts.len() > 1 && (parts[0].contains(['.', ':']) || parts[0] == "localhost");
    let host_is_legal = !has_host || legal(parts.remove(0), ".-:[]");
    let component = |part: &&str| {
        legal(part, "._-")
            && !part.contains(|c: char| c.is_ascii_uppercase())
            && edge(part.chars().next())
            && edge(part.chars().next_back())
    };
    host_is_legal
        && parts.iter().all(component)
        && tag.is_none_or(|tag| legal(tag, "_.-") && tag.len() <= 128 && !tag.starts_with(['.', '-']))
        && digest.is_none_or(|digest| digest.contains(':') && legal(digest, ":+._-"))
}

#[cfg(test)]
#[path = "lint_tests.rs"]
mod tests;
