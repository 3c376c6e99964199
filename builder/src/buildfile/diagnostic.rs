//! What is wrong with a Buildfile, and where: one message with file, line, column, the lines concerned, a caret under
//! them and, where we can guess what was meant, a hint. The fields are public so that other fronts may draw them
//! differently; `Display` is the plain drawing and escapes control characters.

use std::fmt;

use super::source::Span;

/// A message about a stretch of a Buildfile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Diagnostic {
    /// Name of the Buildfile.
    pub file: String,
    /// What it is about.
    pub span: Span,
    /// What is wrong: lower case, one line.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The first lines of the span (at most four), each with its number.
    pub excerpt: Vec<(u32, String)>,
}

impl Diagnostic {
    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Span { start, end } = self.span;
        write!(f, "{}:{}:{}: {}", escape(&self.file), start.line, start.column, escape(&self.message))?;
        let width = self.excerpt.last().map_or(0, |(number, _)| number.to_string().len());
        for (number, line) in &self.excerpt {
            write!(f, "\n {number:>width$} | {}", escape(line))?;
            let length = u32::try_from(line.chars().count()).unwrap_or(u32::MAX);
            let from = if *number == start.line { start.column.max(1) } else { 1 + leading_space(line) };
            let to = if *number == end.line { end.column } else { length.saturating_add(1) };
            if *number == start.line || (*number <= end.line && to > from) {
                let carets = to.saturating_sub(from).clamp(1, length.saturating_add(2).saturating_sub(from).max(1));
                let blanks: String =
                    line.chars().take(from as usize - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
                write!(f, "\n {:>width$} | {blanks}{}", "", "^".repeat(carets as usize))?;
            }
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {}", escape(hint))?;
        }
        Ok(())
    }
}

fn leading_space(line: &str) -> u32 {
    u32::try_from(line.chars().take_while(|c| c.is_whitespace()).count()).unwrap_or(0)
}

/// The text with control characters escaped, so that a Buildfile cannot write to a terminal. Tabs stay.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\t' {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// The candidate that `word` was probably meant to be: at most a third of its letters (and at most three) differ.
#[must_use]
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = word.to_lowercase().chars().take(64).collect();
    let limit = (wanted.len() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (distance(&wanted, &candidate.to_lowercase().chars().take(64).collect::<Vec<_>>()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap of neighbours) that make `a` of `b`.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let mut cost = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + usize::from(a[i - 1] != b[j - 1]));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                cost = cost.min(before[j - 2] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::super::source::{Position, Source, Span};
    use super::*;

    #[test]
    fn draws_the_line_with_a_caret() {
        let source = Source::new("Buildfile", b"FROM a\n\tCOPI x y\n").unwrap();
        let span = Span { start: Position { line: 2, column: 2 }, end: Position { line: 2, column: 6 } };
        let drawn = source.diagnostic(span, "unknown instruction COPI").hint("did you mean COPY?").to_string();
        assert_eq!(
            drawn,
            "Buildfile:2:2: unknown instruction COPI\n 2 | \tCOPI x y\n   | \t^^^^\nhint: did you mean COPY?"
        );
    }

    #[test]
    fn nothing_reaches_a_terminal_unescaped() {
        let source = Source::new("f", b"RUN \x1b[31m").unwrap();
        let drawn = source.diagnostic(Span::line(1), "bad \x07").to_string();
        assert!(!drawn.contains('\x1b') && !drawn.contains('\x07'), "{drawn:?}");
    }

    #[test]
    fn guesses_near_words_only() {
        let words = ["COPY", "CMD", "RUN", "ENTRYPOINT"];
        assert_eq!(did_you_mean("COPI", words), Some("COPY"));
        assert_eq!(did_you_mean("entrypiont", words), Some("ENTRYPOINT"));
        assert_eq!(did_you_mean("FETCH", words), None);
    }
}
