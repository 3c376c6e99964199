//! From logical lines to typed instructions: the file as a whole, the flags of a line, and which instruction it is. What
//! stands behind the keyword is read in the files beside this one; each function there sees the line and the flags, and
//! answers with a kind or a diagnostic that points at the word at fault.

use super::assertion;
use super::diagnostic::{Diagnostic, did_you_mean};
use super::instruction::{Command, Instruction, Kind, Stage};
use super::lexer::{self, Line};
use super::lint;
use super::rule::Rule;
use super::source::{Source, Span};
use super::warning::{Check, Warning};
use super::words::{self, Flag, Json, Word};
use super::{Buildfile, parse_copy, parse_run};

const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

pub(super) type Failure = Box<Diagnostic>;

/// Parses a whole file.
pub(super) fn parse(source: Source, check: Option<Check>) -> Result<Buildfile, Failure> {
    let lexed = lexer::lex(&source)?;
    if let Some((syntax, span)) = &lexed.directives.syntax {
        known_syntax(&source, syntax, *span)?;
    }
    let check = match (check, &lexed.directives.check) {
        (Some(check), _) => check,
        (None, None) => Check::default(),
        (None, Some(text)) => Check::parse(text).map_err(|message| source.diagnostic(Span::line(1), message))?,
    };
    let escape = lexed.directives.escape.unwrap_or('\\');
    let mut file = Buildfile {
        source,
        escape,
        check,
        global_args: Vec::new(),
        stages: Vec::new(),
        assertions: Vec::new(),
        warnings: lexed.warnings,
    };
    lint::casing(&lexed.lines, &mut file.warnings);
    for line in &lexed.lines {
        let mut parser = Parser::new(&file.source, line, escape);
        if parser.keyword == "FROM" {
            let stage = parser.from()?;
            let warnings = parser.warnings;
            file.warnings.extend(warnings);
            lint::stage_name(&file.stages, &stage, &mut file.warnings);
            file.stages.push(stage);
            continue;
        }
        let instruction = parser.instruction()?;
        let warnings = parser.warnings;
        if let Kind::Arg(args) = &instruction.kind {
            let names: Vec<&str> = args.iter().map(|arg| arg.name.as_str()).collect();
            lint::description("ARG", &names, &instruction.comments, instruction.span, &mut file.warnings);
        }
        match (file.stages.last_mut(), &instruction.kind) {
            (Some(stage), _) => {
                lint::repeated(stage, &instruction, &mut file.warnings);
                stage.instructions.push(instruction);
            }
            (None, Kind::Arg(_)) => file.global_args.push(instruction),
            (None, kind) => {
                let message = format!("{} stands before the first FROM", kind.keyword());
                let problem = file.source.diagnostic(instruction.span, message);
                return Err(Box::new(problem.hint("a build begins with FROM; only ARG may come before it")));
            }
        }
        file.warnings.extend(warnings);
    }
    if file.stages.is_empty() {
        let problem = file.source.diagnostic(Span::line(1), "there is no FROM in the file");
        return Err(Box::new(problem.hint("a build begins with FROM image, or FROM scratch for an empty one")));
    }
    for (line, text) in &lexed.comments {
        if let Some(mut found) = assertion::read(&file.source, *line, text)? {
            found.stage = file.stages.iter().rposition(|stage| stage.span.start.line < *line);
            file.assertions.push(found);
        }
    }
    let check = file.check.clone();
    file.warnings.retain(|warning| check.wants(warning.rule));
    Ok(file)
}

/// Parses the single instruction of a trigger.
pub(super) fn trigger(source: Source) -> Result<Instruction, Failure> {
    let lexed = lexer::lex(&source)?;
    match lexed.lines.as_slice() {
        [line] => {
            let mut parser = Parser::new(&source, line, '\\');
            if matches!(parser.keyword.as_str(), "FROM" | "ONBUILD" | "MAINTAINER") {
                return Err(parser.whole(format!("{} is not allowed as a trigger of ONBUILD", parser.keyword)));
            }
            parser.instruction()
        }
        lines => {
            let message = format!("a trigger of ONBUILD holds {} instructions instead of one", lines.len());
            Err(Box::new(source.diagnostic(Span::line(1), message)))
        }
    }
}

/// Only Docker's own front end is what this parser is; another one would mean another language.
fn known_syntax(source: &Source, syntax: &str, span: Span) -> Result<(), Failure> {
    let image = syntax.strip_prefix("docker.io/").unwrap_or(syntax);
    let repository = image.split(['@', ':']).next().unwrap_or(image);
    if matches!(repository, "docker/dockerfile" | "docker/dockerfile-upstream") {
        return Ok(());
    }
    let message = format!("the front end {syntax} is not supported");
    Err(Box::new(source.diagnostic(span, message).hint("only docker/dockerfile is understood, natively")))
}

/// One line being parsed.
pub(super) struct Parser<'a> {
    pub(super) source: &'a Source,
    /// The line.
    pub(super) line: &'a Line,
    /// Upper case.
    pub(super) keyword: String,
    /// Escape character in force.
    pub(super) escape: char,
    /// Flags not yet taken.
    flags: Vec<Flag>,
    /// Offset of the arguments in the line's text.
    pub(super) arguments: usize,
    /// What was doubtful.
    pub(super) warnings: Vec<Warning>,
}

impl<'a> Parser<'a> {
    fn new(source: &'a Source, line: &'a Line, escape: char) -> Self {
        let (keyword, _) = words::keyword(&line.text);
        let (flags, arguments) = words::flags(&line.text, keyword.len());
        Self { source, line, keyword: keyword.to_ascii_uppercase(), escape, flags, arguments, warnings: Vec::new() }
    }

    /// The arguments as one text.
    pub(super) fn rest(&self) -> &'a str {
        &self.line.text[self.arguments..]
    }

    /// A diagnostic about the bytes `from..to` of the line.
    pub(super) fn at(&self, from: usize, to: usize, message: impl Into<String>) -> Failure {
        Box::new(self.source.diagnostic(self.line.span(from, to), message))
    }

    /// A diagnostic about the whole line.
    pub(super) fn whole(&self, message: impl Into<String>) -> Failure {
        Box::new(self.source.diagnostic(self.line.whole(), message))
    }

    /// A diagnostic about the keyword, or about the arguments if there are any.
    pub(super) fn about_arguments(&self, message: impl Into<String>) -> Failure {
        match self.rest() {
            "" => self.at(0, self.keyword.len(), message),
            _ => self.at(self.arguments, self.line.text.len(), message),
        }
    }

    /// Takes all flags called `name`.
    pub(super) fn take_flags(&mut self, name: &str) -> Vec<Flag> {
        let (taken, left) = std::mem::take(&mut self.flags).into_iter().partition(|flag| flag.name == name);
        self.flags = left;
        taken
    }

    /// Takes the flag `name`, which needs a value and may be given once.
    pub(super) fn take_value(&mut self, name: &str) -> Result<Option<(String, Flag)>, Failure> {
        let mut taken = self.take_flags(name).into_iter();
        let Some(flag) = taken.next() else { return Ok(None) };
        if let Some(second) = taken.next() {
            return Err(self.at(second.start, second.end, format!("--{name} is given twice")));
        }
        match flag.value.clone() {
            Some(value) => Ok(Some((value, flag))),
            None => Err(self.at(flag.start, flag.end, format!("--{name} needs a value: --{name}=…"))),
        }
    }

    /// Takes the switch `name`: `--name`, `--name=true` or `--name=false`.
    pub(super) fn take_switch(&mut self, name: &str) -> Result<Option<bool>, Failure> {
        let mut taken = self.take_flags(name).into_iter();
        let Some(flag) = taken.next() else { return Ok(None) };
        if let Some(second) = taken.next() {
            return Err(self.at(second.start, second.end, format!("--{name} is given twice")));
        }
        match flag.value.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(other) => Err(self.at(flag.start, flag.end, format!("--{name} is true or false, not {other:?}"))),
        }
    }

    /// Refuses the flags that nobody took; `known` are those the instruction has.
    pub(super) fn no_more_flags(&self, known: &[&'static str]) -> Result<(), Failure> {
        let Some(flag) = self.flags.first() else { return Ok(()) };
        let mut problem = self.at(flag.start, flag.end, format!("{} has no flag --{}", self.keyword, flag.name));
        if let Some(near) = did_you_mean(&flag.name, known.iter().copied()) {
            problem.hint = Some(format!("did you mean --{near}?"));
        } else if !known.is_empty() {
            problem.hint = Some(format!("it has --{}", known.join(", --")));
        }
        Err(problem)
    }

    fn from(&mut self) -> Result<Stage, Failure> {
        let platform = self.take_value("platform")?.map(|(value, _)| value);
        self.no_more_flags(&["platform"])?;
        let words = words::fields(&self.line.text, self.arguments);
        let name = match words.as_slice() {
            [_] => None,
            [_, keyword, name] if keyword.text.eq_ignore_ascii_case("as") => {
                self.stage_name(keyword, name)?;
                Some(name.text.to_lowercase())
            }
            _ => {
                return Err(Box::new(
                    self.about_arguments("FROM takes an image, or an image AS a name")
                        .hint("FROM [--platform=PLATFORM] IMAGE [AS NAME]"),
                ));
            }
        };
        Ok(Stage {
            name,
            base: words[0].text.clone(),
            platform,
            span: self.line.whole(),
            text: self.text(),
            comments: self.line.comments.clone(),
            instructions: Vec::new(),
        })
    }

    fn stage_name(&mut self, keyword: &Word, name: &Word) -> Result<(), Failure> {
        let lower = name.text.to_lowercase();
        let legal = lower.starts_with(|c: char| c.is_ascii_lowercase())
            && lower.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'));
        if !legal {
            let message = format!("{:?} is not a legal stage name", name.text);
            let hint = "it begins with a letter, and has letters, digits, `-`, `_` and `.` only";
            return Err(Box::new(self.at(name.start, name.end, message).hint(hint)));
        }
        if lower != name.text {
            let message = format!("Stage name '{}' should be lowercase", name.text);
            self.warnings.push(Warning::new(Rule::StageNameCasing, self.line.span(name.start, name.end), message));
        }
        // A FROM in mixed case is the matter of another rule.
        let written = &self.line.text[..4];
        let wanted = match written {
            "FROM" => "AS",
            "from" => "as",
            _ => return Ok(()),
        };
        if keyword.text != wanted {
            let span = self.line.span(keyword.start, keyword.end);
            let message = format!("'{}' and '{written}' keywords' casing do not match", keyword.text);
            self.warnings.push(Warning::new(Rule::FromAsCasing, span, message));
        }
        Ok(())
    }

    /// The line with its keyword in upper case.
    fn text(&self) -> String {
        format!("{}{}", self.keyword, &self.line.text[self.keyword.len()..])
    }

    fn instruction(&mut self) -> Result<Instruction, Failure> {
        let kind = self.kind()?;
        let comments = self.line.comments.clone();
        Ok(Instruction { kind, span: self.line.whole(), text: self.text(), comments })
    }

    fn kind(&mut self) -> Result<Kind, Failure> {
        let keyword = self.keyword.clone();
        Ok(match keyword.as_str() {
            "ADD" | "COPY" => Kind::Copy(Box::new(parse_copy::parse(self)?)),
            "RUN" => Kind::Run(Box::new(parse_run::parse(self)?)),
            "HEALTHCHECK" => Kind::Healthcheck(self.healthcheck()?),
            "ONBUILD" => Kind::Onbuild(self.onbuild()?),
            _ => {
                if !KEYWORDS.contains(&keyword.as_str()) {
                    return Err(self.unknown());
                }
                self.no_more_flags(&[])?;
                if self.rest().is_empty() {
                    return Err(self.about_arguments(format!("{keyword} needs at least one argument")));
                }
                self.plain(&keyword)?
            }
        })
    }

    /// The instructions without flags.
    fn plain(&mut self, keyword: &str) -> Result<Kind, Failure> {
        Ok(match keyword {
            "ARG" => Kind::Arg(self.args()?),
            "CMD" => Kind::Cmd(self.command()?),
            "ENTRYPOINT" => Kind::Entrypoint(self.command()?),
            "ENV" => Kind::Env(self.pairs()?),
            "LABEL" => Kind::Label(self.pairs()?),
            "EXPOSE" => Kind::Expose(self.texts()),
            "MAINTAINER" => {
                let message = "Maintainer instruction is deprecated in favor of using label".to_owned();
                self.warnings.push(Warning::new(Rule::MaintainerDeprecated, self.line.whole(), message));
                Kind::Maintainer(self.rest().to_owned())
            }
            "SHELL" => match self.command()? {
                Command::Exec(args) if !args.is_empty() => Kind::Shell(args),
                _ => {
                    let problem = self.about_arguments("SHELL takes a JSON array");
                    return Err(Box::new(problem.hint("for example SHELL [\"/bin/bash\", \"-c\"]")));
                }
            },
            "STOPSIGNAL" => Kind::Stopsignal(self.single()?),
            "USER" => Kind::User(self.rest().to_owned()),
            "WORKDIR" => Kind::Workdir(self.rest().to_owned()),
            _ => Kind::Volume(match words::json_array(self.rest()) {
                Json::Strings(paths) if paths.iter().all(|path| !path.trim().is_empty()) => paths,
                Json::Strings(_) => return Err(self.about_arguments("VOLUME takes no empty path")),
                Json::Others => return Err(self.not_strings()),
                Json::No | Json::Broken => self.texts(),
            }),
        })
    }

    fn unknown(&self) -> Failure {
        let message = format!("unknown instruction {}", self.keyword);
        let mut problem = self.at(0, self.keyword.len(), message);
        problem.hint = did_you_mean(&self.keyword, KEYWORDS).map(|near| format!("did you mean {near}?"));
        problem
    }
}

#[cfg(test)]
#[path = "parser_tests.rs"]
mod tests;
