//! Budgets: comments of the form `# img:assert size<=90MB`, which other builders take for what they are. One in a stage
//! speaks of the image when that stage is the target; one before the first FROM speaks of any.

use super::diagnostic::{Diagnostic, did_you_mean};
use super::source::{Position, Source, Span};

/// What is asserted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The files of all layers have at most so many bytes.
    Size(u64),
    /// There are at most so many layers.
    Layers(u64),
    /// Nothing is at this path, nor hidden in a layer that the build made.
    NoPath(String),
    /// The image's user is another one.
    UserNot(String),
    /// No file has the set-user-ID or set-group-ID bit.
    NoSetuid,
    /// This command ends with code 0 in the image.
    Runs(String),
}

/// One assertion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// As written.
    pub text: String,
    /// Where it stands.
    pub span: Span,
    /// What it says.
    pub requirement: Requirement,
    /// The stage it stands in, by number; none before the first FROM.
    pub stage: Option<usize>,
}

/// Names of assertions, for guesses.
const NAMES: [&str; 6] = ["size", "layers", "no-path", "user", "no-setuid", "runs"];
const HINT: &str = "there are size<=90MB, layers<=N, no-path PATH, user!=NAME, no-setuid and runs: COMMAND";

/// Reads the comment `text` (without `#`) at `line`; none if it is none of ours.
pub(super) fn read(source: &Source, line: u32, text: &str) -> Result<Option<Assertion>, Box<Diagnostic>> {
    let Some(rest) = text.trim().strip_prefix("img:") else { return Ok(None) };
    let (word, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let written = source.lines().nth(line as usize - 1).unwrap_or_default();
    let column = |at: usize| u32::try_from(written[..at].chars().count()).unwrap_or(0) + 1;
    let start = written.find('#').unwrap_or(0);
    let span = Span {
        start: Position { line, column: column(start) },
        end: Position { line, column: column(written.trim_end().len()) },
    };
    let wrong = |message: String, hint: &str| Box::new(source.diagnostic(span, message).hint(hint));
    if word != "assert" {
        return match did_you_mean(word, ["assert"]) {
            Some(near) => Err(wrong(format!("img:{word} is not known"), &format!("did you mean img:{near}?"))),
            // Other words may be directives of other versions.
            None => Ok(None),
        };
    }
    let text = rest.trim();
    let requirement = requirement(text).map_err(|message| {
        let name: String = text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        let known = NAMES.contains(&name.as_str());
        let near = did_you_mean(&name, NAMES).filter(|_| !known);
        wrong(message, &near.map_or(HINT.to_owned(), |near| format!("did you mean {near}?")))
    })?;
    Ok(Some(Assertion { text: text.to_owned(), span, requirement, stage: None }))
}

fn requirement(text: &str) -> Result<Requirement, String> {
    if text == "no-setuid" {
        return Ok(Requirement::NoSetuid);
    }
    if let Some(command) = text.strip_prefix("runs:") {
        return match command.trim() {
            "" => Err("runs: names no command".to_owned()),
            command => Ok(Requirement::Runs(command.to_owned())),
        };
    }
    if let Some(path) = text.strip_prefix("no-path").filter(|rest| rest.starts_with(char::is_whitespace)) {
        return match path.trim() {
            path if path.starts_with('/') && !path.trim_matches('/').is_empty() => {
                Ok(Requirement::NoPath(path.to_owned()))
            }
            path => Err(format!("no-path takes an absolute path, not {path:?}")),
        };
    }
    if let Some((name, user)) = text.split_once("!=")
        && name.trim() == "user"
    {
        return match user.trim() {
            "" => Err("user!= names nobody".to_owned()),
            user => Ok(Requirement::UserNot(user.to_owned())),
        };
    }
    if let Some((name, limit)) = text.split_once('<') {
        // `<` is `<=` of one less.
        let (limit, less) = limit.strip_prefix('=').map_or((limit, 1), |limit| (limit, 0));
        let number = match name.trim() {
            "size" => bytes(limit.trim())?,
            "layers" => limit.trim().parse().map_err(|_| format!("layers takes a number, not {:?}", limit.trim()))?,
            other => return Err(format!("there is no assertion {other:?}")),
        };
        let limit = u64::saturating_sub(number, less);
        return Ok(if name.trim() == "size" { Requirement::Size(limit) } else { Requirement::Layers(limit) });
    }
    Err(format!("there is no assertion {text:?}"))
}

/// `90MB`, `1.5GiB`, `4096`: units of 1000 or, with an `i`, of 1024.
fn bytes(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (text[..end].parse::<f64>(), text[end..].trim().to_ascii_lowercase());
    let (power, base) = match unit.as_str() {
        "" | "b" => (0, 1000_u64),
        "k" | "kb" => (1, 1000),
        "m" | "mb" => (2, 1000),
        "g" | "gb" => (3, 1000),
        "kib" => (1, 1024),
        "mib" => (2, 1024),
        "gib" => (3, 1024),
        _ => return Err(format!("{text:?} is no size: it is a number with B, kB, MB, GB, KiB, MiB or GiB")),
    };
    let number = number.map_err(|_| format!("{text:?} is no size: it begins with no number"))?;
    // Exact up to 2^53, which is enough for images.
    Ok((number * base.pow(power) as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        for (text, expected) in [
            ("size<=90MB", Requirement::Size(90_000_000)),
            ("size < 1.5 KiB", Requirement::Size(1535)),
            ("layers<=3", Requirement::Layers(3)),
            ("no-path /root/.npmrc", Requirement::NoPath("/root/.npmrc".to_owned())),
            ("user!=root", Requirement::UserNot("root".to_owned())),
            ("no-setuid", Requirement::NoSetuid),
            ("runs: app --version", Requirement::Runs("app --version".to_owned())),
        ] {
            assert_eq!(requirement(text).unwrap(), expected, "{text}");
        }
        for bad in [
            "",
            "size",
            "size>=1",
            "size<=x",
            "size<=1XB",
            "layers<=x",
            "no-path",
            "no-path x",
            "no-path /",
            "runs:",
            "user!=",
        ] {
            assert!(requirement(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_was_meant() {
        let source = Source::new("f", b"FROM x\n  # img:assert sise<=1\n").unwrap();
        let error = read(&source, 2, " img:assert sise<=1").unwrap_err();
        assert_eq!((error.span.start.column, error.span.end.column), (3, 23));
        assert_eq!(error.hint.as_deref(), Some("did you mean size?"));
        assert!(read(&source, 2, " img:asert size<=1").unwrap_err().to_string().contains("img:assert"));
        assert_eq!(read(&source, 2, " a comment about img: nothing").unwrap(), None);
        assert_eq!(read(&source, 2, "img:other").unwrap(), None);
    }
}
