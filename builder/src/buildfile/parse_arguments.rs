//! What stands behind the keyword of most instructions: commands in either form, names with values, plain words, and the
//! options of HEALTHCHECK and ONBUILD.

use super::instruction::{Arg, Command, Healthcheck, Pair};
use super::parser::{Failure, Parser, trigger};
use super::rule::Rule;
use super::source::Source;
use super::warning::Warning;
use super::words::{self, Json, Word};

impl Parser<'_> {
    pub(super) fn texts(&self) -> Vec<String> {
        words::fields(&self.line.text, self.arguments).into_iter().map(|word| word.text).collect()
    }

    pub(super) fn single(&self) -> Result<String, Failure> {
        match words::fields(&self.line.text, self.arguments).as_slice() {
            [word] => Ok(word.text.clone()),
            _ => Err(self.about_arguments(format!("{} takes exactly one argument", self.keyword))),
        }
    }

    /// Exec form if the arguments are a JSON array of strings, shell form otherwise.
    pub(super) fn command(&mut self) -> Result<Command, Failure> {
        match words::json_array(self.rest()) {
            Json::Strings(args) => Ok(Command::Exec(args)),
            Json::Others => Err(self.not_strings()),
            Json::No | Json::Broken => Ok(Command::Shell(self.rest().to_owned())),
        }
    }

    pub(super) fn args(&self) -> Result<Vec<Arg>, Failure> {
        let words = words::quoted(&self.line.text, self.arguments, self.escape);
        let parse = |word: &Word| {
            let (name, default) = match word.text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (word.text.as_str(), None),
            };
            if name.is_empty() {
                return Err(self.at(word.start, word.end, "ARG needs a name before ="));
            }
            Ok(Arg { name: name.to_owned(), default })
        };
        words.iter().map(parse).collect()
    }

    /// `key=value …`, or the old `key value with blanks`.
    pub(super) fn pairs(&mut self) -> Result<Vec<Pair>, Failure> {
        let words = words::quoted(&self.line.text, self.arguments, self.escape);
        if !words[0].text.contains('=') {
            let (key, value) = words::keyword(self.rest());
            if value.is_empty() {
                let problem = self.about_arguments(format!("{} {key} has no value", self.keyword));
                return Err(Box::new(problem.hint(format!("{} {key}=value", self.keyword))));
            }
            let message =
                format!("\"{0} key=value\" should be used instead of legacy \"{0} key value\" format", self.keyword);
            self.warnings.push(Warning::new(Rule::LegacyKeyValueFormat, self.line.whole(), message));
            return Ok(vec![Pair { key: key.to_owned(), value: value.to_owned() }]);
        }
        let parse = |word: &Word| match word.text.split_once('=') {
            Some(("", _)) => Err(self.at(word.start, word.end, "there is no name before =")),
            Some((key, value)) => Ok(Pair { key: key.to_owned(), value: value.to_owned() }),
            None => {
                let message = format!("there is no = in {}", word.text);
                let hint = "each word is name=value; put quotes around a value with blanks";
                Err(Box::new(self.at(word.start, word.end, message).hint(hint)))
            }
        };
        words.iter().map(parse).collect()
    }

    pub(super) fn healthcheck(&mut self) -> Result<Healthcheck, Failure> {
        let names = ["interval", "timeout", "start-period", "start-interval", "retries"];
        let mut numbers = [0i64; 5];
        let mut given = false;
        for (name, number) in names.into_iter().zip(&mut numbers) {
            let Some((value, flag)) = self.take_value(name)? else { continue };
            given = true;
            let parsed = if name == "retries" {
                value.parse().ok().filter(|retries| (0..=i64::from(i32::MAX)).contains(retries))
            } else {
                duration(&value).filter(|&nanoseconds| nanoseconds == 0 || nanoseconds >= 1_000_000)
            };
            *number = parsed.ok_or_else(|| {
                let what =
                    if name == "retries" { "a number of tries" } else { "a duration such as 1m30s, 1ms or more" };
                self.at(flag.start, flag.end, format!("--{name} is {what}, not {value:?}"))
            })?;
        }
        self.no_more_flags(&names)?;
        let (kind, command) = words::keyword(self.rest());
        let test = match kind.to_ascii_uppercase().as_str() {
            "NONE" if command.is_empty() && !given => vec!["NONE".to_owned()],
            "NONE" => return Err(self.whole("HEALTHCHECK NONE takes no flags and no arguments")),
            "CMD" => match words::json_array(command) {
                Json::Strings(args) if !args.is_empty() => [vec!["CMD".to_owned()], args].concat(),
                Json::Others => return Err(self.not_strings()),
                Json::No | Json::Broken if !command.is_empty() => vec!["CMD-SHELL".to_owned(), command.to_owned()],
                _ => return Err(self.about_arguments("HEALTHCHECK CMD needs a command")),
            },
            _ => {
                let problem = self.about_arguments("HEALTHCHECK takes CMD or NONE");
                return Err(Box::new(problem.hint("HEALTHCHECK [--interval=…] CMD command, or HEALTHCHECK NONE")));
            }
        };
        let [interval, timeout, start_period, start_interval, retries] = numbers;
        Ok(Healthcheck { test, interval, timeout, start_period, start_interval, retries })
    }

    /// The trigger's text, parsed once here so that mistakes show now and not in the image built on top.
    pub(super) fn onbuild(&mut self) -> Result<String, Failure> {
        let rest = self.line.text[self.keyword.len()..].trim_start();
        if rest.is_empty() {
            return Err(self.about_arguments("ONBUILD needs an instruction"));
        }
        let begin = self.line.text.len() - rest.len();
        let mut text = rest.to_owned();
        for heredoc in &self.line.heredocs {
            text.push('\n');
            text.push_str(&heredoc.content);
            text.push_str(&heredoc.name);
        }
        let parsed = Source::new(self.source.name(), text.as_bytes()).and_then(trigger);
        parsed.map_err(|problem| {
            let mut here = self.at(begin, self.line.text.len(), problem.message);
            here.hint = problem.hint;
            here
        })?;
        Ok(text)
    }

    pub(super) fn not_strings(&self) -> Failure {
        let problem = self.about_arguments("the JSON array must hold strings only");
        Box::new(problem.hint("put each item in double quotes"))
    }
}

/// A duration as Go writes them (`1h2m3.5s`, `300ms`), in nanoseconds.
fn duration(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let mut total = 0f64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let units = [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 6e10), ("h", 3.6e12)];
        let (unit, scale) = units.into_iter().find(|(unit, _)| {
            rest.strip_prefix(unit).is_some_and(|after| !after.starts_with(|c: char| c.is_alphabetic()))
        })?;
        rest = &rest[unit.len()..];
        total += number * scale;
    }
    (!text.is_empty() && total < i64::MAX as f64).then_some(total.round() as i64)
}
