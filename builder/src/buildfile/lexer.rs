//! From text to logical lines: parser directives, comments, continuation lines and heredocs. A [`Line`] is one
//! instruction as it is read, with a map from its characters back to where they stand in the file, so that a message
//! can point at a word on the third continued line.

use super::diagnostic::Diagnostic;
use super::expand::Expander;
use super::instruction::Heredoc;
use super::rule::Rule;
use super::source::{Position, Source, Span};
use super::warning::Warning;
use super::words;

/// Most instructions and most heredoc documents accepted in one Buildfile.
const LINES_MAX: usize = 100_000;

/// Parser directives, the `# key=value` comments at the very top.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// `syntax`: the front end image that should read the file.
    pub syntax: Option<(String, Span)>,
    /// `escape`: the escape character if it is not `\`.
    pub escape: Option<char>,
    /// `check`: rules to skip, and whether warnings are errors.
    pub check: Option<String>,
}

/// One logical line.
#[derive(Clone, Debug)]
pub struct Line {
    /// The joined text without comments, continuation characters and surrounding blanks.
    pub text: String,
    /// Byte offset in `text` where a piece of a source line begins, and its place in the file.
    pieces: Vec<(usize, Position)>,
    /// Documents that follow it.
    pub heredocs: Vec<Heredoc>,
    /// Comments right above it, without `#` and the blanks around them.
    pub comments: Vec<String>,
    /// Last line it takes up, heredocs included.
    last: u32,
}

impl Line {
    /// Where the byte at `offset` of the text stands in the file.
    #[must_use]
    pub fn position(&self, offset: usize) -> Position {
        let offset = offset.min(self.text.len());
        let Some((begin, place)) = self.pieces.iter().rev().find(|(begin, _)| *begin <= offset) else {
            return Position { line: self.last, column: 1 };
        };
        let chars = self.text.get(*begin..offset).map_or(0, |text| text.chars().count());
        Position { line: place.line, column: place.column.saturating_add(u32::try_from(chars).unwrap_or(0)) }
    }

    /// The span of the bytes `from..to` of the text.
    #[must_use]
    pub fn span(&self, from: usize, to: usize) -> Span {
        let start = self.position(from);
        // A word never crosses lines of interest to a caret: the end is measured from its last character.
        let last = self.text[..to.min(self.text.len())].char_indices().next_back().map_or(0, |(at, _)| at).max(from);
        let mut end = self.position(last);
        end.column += 1;
        Span { start, end }
    }

    /// The span of the whole line without its heredocs.
    #[must_use]
    pub fn whole(&self) -> Span {
        self.span(0, self.text.len())
    }
}

/// What the lexer found.
#[derive(Debug)]
pub struct Lexed {
    /// Directives.
    pub directives: Directives,
    /// Logical lines in order.
    pub lines: Vec<Line>,
    /// Things that are allowed but doubtful.
    pub warnings: Vec<Warning>,
    /// Comments between instructions: line and text behind the `#`.
    pub comments: Vec<(u32, String)>,
}

/// Cuts `source` into logical lines.
///
/// # Errors
/// A diagnostic for a repeated or invalid directive, a heredoc without its end, or too many lines.
pub fn lex(source: &Source) -> Result<Lexed, Box<Diagnostic>> {
    let raw: Vec<&str> = source.raw_lines().collect();
    let (directives, first) = directives(source, &raw)?;
    let escape = directives.escape.unwrap_or('\\');
    let mut lexed = Lexed { directives, lines: Vec::new(), warnings: Vec::new(), comments: Vec::new() };
    let mut at = first;
    let mut comments = Vec::new();
    while at < raw.len() {
        if let Some(comment) = raw[at].trim_start().strip_prefix('#') {
            lexed.comments.push((number(at), comment.to_owned()));
        }
        let (line, next, blank_inside) = join(&raw, at, escape);
        let Some(mut line) = line else {
            match raw[at].trim().strip_prefix('#') {
                Some(comment) => comments.push(comment.trim().to_owned()),
                None => comments.clear(),
            }
            at = next;
            continue;
        };
        at = next;
        line.comments = std::mem::take(&mut comments);
        if let Some(number) = blank_inside {
            lexed.warnings.push(Warning::new(
                Rule::NoEmptyContinuation,
                Span::line(number),
                "Empty continuation line".to_owned(),
            ));
        }
        for mut heredoc in heredocs_of(&line, escape) {
            at = read_heredoc(source, &raw, at, &line, &mut heredoc)?;
            line.last = number(at - 1);
            line.heredocs.push(heredoc);
        }
        if lexed.lines.len() >= LINES_MAX {
            return Err(Box::new(
                source.diagnostic(line.whole(), format!("the file has more than {LINES_MAX} instructions")),
            ));
        }
        lexed.lines.push(line);
    }
    Ok(lexed)
}

/// The number of the line at `index`.
fn number(index: usize) -> u32 {
    u32::try_from(index).map_or(u32::MAX, |index| index.saturating_add(1))
}

fn directives(source: &Source, raw: &[&str]) -> Result<(Directives, usize), Box<Diagnostic>> {
    let mut found = Directives::default();
    for (index, line) in raw.iter().enumerate() {
        let span = Span::line(number(index));
        let repeated =
            |name: &str| Box::new(source.diagnostic(span, format!("the parser directive {name} is given twice")));
        let Some(rest) = line.trim_start().strip_prefix('#') else { return Ok((found, index)) };
        let Some((key, value)) = rest.split_once('=') else { return Ok((found, index)) };
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        if value.is_empty() {
            return Ok((found, index));
        }
        match key.as_str() {
            "syntax" if found.syntax.is_some() => return Err(repeated("syntax")),
            "syntax" => found.syntax = Some((value.to_owned(), span)),
            "escape" if found.escape.is_some() => return Err(repeated("escape")),
            "escape" => match value {
                "\\" | "`" => found.escape = value.chars().next(),
                _ => {
                    let message = format!("invalid escape character {value:?}");
                    return Err(Box::new(source.diagnostic(span, message).hint("use \\ or `")));
                }
            },
            "check" if found.check.is_some() => return Err(repeated("check")),
            "check" => found.check = Some(value.to_owned()),
            // Anything else is an ordinary comment, and no directive is looked for behind one.
            _ => return Ok((found, index)),
        }
    }
    Ok((found, raw.len()))
}

/// Joins the physical lines of one instruction. Gives the line (none if there was nothing), the index behind it, and
/// the number of a blank line inside it.
fn join(raw: &[&str], first: usize, escape: char) -> (Option<Line>, usize, Option<u32>) {
    let mut text = String::new();
    let mut pieces = Vec::new();
    let mut blank_inside = None;
    let mut last = first;
    let mut at = first;
    while at < raw.len() {
        let line = raw[at].trim_end_matches('\n').trim_end_matches('\r');
        let stripped = line.trim_start();
        let index = at;
        at += 1;
        if stripped.starts_with('#') {
            if index == first {
                return (None, at, None);
            }
            continue;
        }
        if stripped.is_empty() {
            if index == first {
                return (None, at, None);
            }
            blank_inside.get_or_insert(number(index));
            continue;
        }
        last = index;
        // Leading blanks of the first line only are dropped; a continued line keeps its own.
        let from = if text.is_empty() { stripped } else { line };
        let column = u32::try_from(line[..line.len() - from.len()].chars().count()).unwrap_or(0) + 1;
        let (piece, continues) = continuation(from, escape);
        if !piece.is_empty() {
            pieces.push((text.len(), Position { line: number(index), column }));
            text.push_str(piece);
        }
        if !continues {
            break;
        }
    }
    text.truncate(text.trim_end().len());
    let line = (!text.is_empty()).then(|| Line {
        text,
        pieces,
        heredocs: Vec::new(),
        comments: Vec::new(),
        last: number(last),
    });
    (line, at, blank_inside)
}

/// The line without its continuation character, and whether it had one. A doubled escape character is none.
fn continuation(line: &str, escape: char) -> (&str, bool) {
    let trimmed = line.trim_end_matches([' ', '\t']);
    match trimmed.strip_suffix(escape) {
        Some(rest) if !rest.ends_with(escape) => (rest, true),
        _ => (line, false),
    }
}

/// The heredocs that `line` announces, without their contents.
fn heredocs_of(line: &Line, escape: char) -> Vec<Heredoc> {
    let (keyword, mut rest) = words::keyword(&line.text);
    let mut keyword = keyword.to_ascii_lowercase();
    if keyword == "onbuild" {
        let inner = words::keyword(rest);
        keyword = inner.0.to_ascii_lowercase();
        rest = inner.1;
    }
    if !matches!(keyword.as_str(), "run" | "copy" | "add") || !rest.contains("<<") {
        return Vec::new();
    }
    let (_, arguments) = words::flags(rest, 0);
    if matches!(words::json_array(&rest[arguments..]), words::Json::Strings(_)) {
        return Vec::new();
    }
    let raw = Expander { keep_quotes: true, keep_escapes: true, keep_unset: true, ..Expander::new(escape) };
    // A line that cannot be split (an open quote) announces nothing: its shell will say what is wrong with it.
    let Ok(split) = raw.expand(rest, &|_| None) else { return Vec::new() };
    split.words.iter().filter_map(|word| Heredoc::announced_by(word)).collect()
}

/// Reads the contents of `heredoc` from the line at `at` on; gives the index behind its end.
fn read_heredoc(
    source: &Source,
    raw: &[&str],
    mut at: usize,
    line: &Line,
    heredoc: &mut Heredoc,
) -> Result<usize, Box<Diagnostic>> {
    while let Some(text) = raw.get(at) {
        at += 1;
        let bare = text.trim_end_matches('\n').trim_end_matches('\r');
        let bare = if heredoc.strip_tabs { bare.trim_start_matches('\t') } else { bare };
        if bare == heredoc.name {
            return Ok(at);
        }
        heredoc.content.push_str(text);
    }
    let found = line.text.find("<<").unwrap_or(0);
    let span = line.span(found, line.text.len());
    let message = format!("the heredoc {} never ends", heredoc.name);
    let hint = format!("put {} alone on a line behind its content", heredoc.name);
    Err(Box::new(source.diagnostic(span, message).hint(hint)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lexed(text: &str) -> Lexed {
        lex(&Source::new("f", text.as_bytes()).unwrap()).unwrap()
    }

    fn texts(text: &str) -> Vec<String> {
        lexed(text).lines.into_iter().map(|line| line.text).collect()
    }

    fn error(text: &str) -> String {
        lex(&Source::new("f", text.as_bytes()).unwrap()).unwrap_err().message
    }

    #[test]
    fn joins_continued_lines_and_drops_comments() {
        assert_eq!(texts("FROM a\n# c\n  RUN x \\\n  # inner\n  y\n\nRUN z"), ["FROM a", "RUN x   y", "RUN z"]);
        assert_eq!(texts("RUN a \\  \n b"), ["RUN a  b"], "blanks may follow the continuation character");
        assert_eq!(texts("RUN a\\\\\nRUN b"), ["RUN a\\\\", "RUN b"], "a doubled escape continues nothing");
        assert_eq!(texts("RUN a \\\r\n b\r\n"), ["RUN a  b"]);
        assert_eq!(texts("RUN a \\"), ["RUN a"]);
        assert_eq!(texts("\\\nRUN a"), ["RUN a"]);
        assert_eq!(texts("\\\n\\\n"), [""; 0]);
        let lexed = lexed("RUN a \\\n\n b");
        assert_eq!((lexed.lines[0].text.as_str(), lexed.warnings[0].span.start.line), ("RUN a  b", 2));
    }

    #[test]
    fn knows_where_every_character_stands() {
        let lexed = lexed("FROM a\n  RUN x \\\n    yé \\\n# c\n zz\n");
        let line = &lexed.lines[1];
        assert_eq!(line.text, "RUN x     yé  zz");
        let place = |needle: &str| line.position(line.text.find(needle).unwrap());
        assert_eq!(place("RUN"), Position { line: 2, column: 3 });
        assert_eq!(place("x"), Position { line: 2, column: 7 });
        assert_eq!(place("yé"), Position { line: 3, column: 5 });
        assert_eq!(place("zz"), Position { line: 5, column: 2 });
        assert_eq!(line.whole().end, Position { line: 5, column: 4 });
    }

    #[test]
    fn directives_only_at_the_top_and_once() {
        let found = lexed("#syntax = docker/dockerfile:1\n# Escape=`\n# check=skip=all\nRUN a `\n b\n");
        assert_eq!(found.directives.escape, Some('`'));
        assert_eq!(found.directives.syntax.unwrap().0, "docker/dockerfile:1");
        assert_eq!(found.directives.check.as_deref(), Some("skip=all"));
        assert_eq!(found.lines[0].text, "RUN a  b");
        assert_eq!(lexed("# plain\n# escape=`\nRUN a").directives, Directives::default());
        assert_eq!(lexed("# unknown=x\n# escape=`\nRUN a").directives, Directives::default());
        assert_eq!(lexed("\n# escape=`\nRUN a").directives, Directives::default());
        assert!(error("# escape=`\n# escape=`\n").contains("twice"));
        assert!(error("# escape=x\n").contains("invalid escape character"));
    }

    #[test]
    fn heredocs_keep_their_lines() {
        let lexed = lexed("RUN <<A cat 3<<-\"B\" <<'C D'\n a\n# not a comment\nA\n\tb $x \\\n\t\tB\nc\r\nC D\nRUN x\n");
        let docs = &lexed.lines[0].heredocs;
        let brief: Vec<_> =
            docs.iter().map(|d| (d.name.as_str(), d.content.as_str(), d.expand, d.strip_tabs)).collect();
        assert_eq!(
            brief,
            [
                ("A", " a\n# not a comment\n", true, false),
                ("B", "\tb $x \\\n", false, true),
                ("C D", "c\r\n", false, false)
            ]
        );
        assert_eq!(lexed.lines[0].last, 8);
        assert_eq!(lexed.lines[1].text, "RUN x");
    }

    #[test]
    fn what_is_no_heredoc() {
        for text in [
            "RUN cat<<EOF",
            "RUN echo \"<<EOF\"",
            "RUN [\"cat\", \"<<EOF\"]",
            "RUN cat <<<word",
            "ENV a=<<EOF",
            "RUN cat << EOF",
            "RUN echo '<<EOF",
        ] {
            assert!(lexed(text).lines[0].heredocs.is_empty(), "{text}");
        }
        assert!(error("FROM a\nCOPY <<EOF /x\nabc\n").contains("never ends"));
        assert_eq!(lexed("ONBUILD COPY <<EOF /x\nabc\nEOF").lines[0].heredocs.len(), 1);
        assert_eq!(lexed("COPY --chmod=1 <<EOF /x\nEOF\n").lines[0].heredocs[0].content, "");
    }
}
