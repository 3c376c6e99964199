//! The text of a Buildfile and positions in it. Lines and columns count from one, columns in characters, as editors
//! show them. Everything that can be wrong with a Buildfile is reported against a [`Span`] of this text.

use super::diagnostic::Diagnostic;

/// Largest Buildfile accepted, in bytes.
pub const SIZE_MAX: usize = 4 << 20;

/// A place in a Buildfile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// A stretch of a Buildfile; `end` is the first place behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// First character.
    pub start: Position,
    /// Just behind the last character.
    pub end: Position,
}

impl Span {
    /// The whole of `line`, for messages that are about a line as such.
    #[must_use]
    pub fn line(line: u32) -> Self {
        Self { start: Position { line, column: 1 }, end: Position { line, column: 1 } }
    }
}

/// The text of a Buildfile under the name it is reported by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
}

impl Source {
    /// Takes the bytes of a Buildfile called `name`. A byte order mark is dropped.
    ///
    /// # Errors
    /// A [`Diagnostic`] if it is larger than [`SIZE_MAX`], is not UTF-8 or contains NUL.
    pub fn new(name: &str, bytes: &[u8]) -> Result<Self, Box<Diagnostic>> {
        let bad = |line: usize, message: String| {
            Box::new(Diagnostic {
                file: name.to_owned(),
                span: Span::line(u32::try_from(line).unwrap_or(u32::MAX)),
                message,
                hint: None,
                excerpt: Vec::new(),
            })
        };
        if bytes.len() > SIZE_MAX {
            return Err(bad(1, format!("the file has {} bytes, the limit is {SIZE_MAX}", bytes.len())));
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let line_of = |offset: usize| 1 + bytes[..offset].iter().filter(|&&byte| byte == b'\n').count();
        let text = std::str::from_utf8(bytes)
            .map_err(|error| bad(line_of(error.valid_up_to()), "the file is not valid UTF-8".to_owned()))?;
        if let Some(offset) = text.find('\0') {
            return Err(bad(line_of(offset), "the file contains a NUL character".to_owned()));
        }
        Ok(Self { name: name.to_owned(), text: text.to_owned() })
    }

    /// The name it is reported by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All of it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The lines, without their line ends (`\n` or `\r\n`).
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.lines()
    }

    /// The lines with their line ends, as heredocs keep them.
    pub fn raw_lines(&self) -> impl Iterator<Item = &str> {
        self.text.split_inclusive('\n')
    }

    /// A message about `span`, with the lines it covers as its excerpt.
    #[must_use]
    pub fn diagnostic(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        let first = span.start.line.max(1) as usize;
        let count = (span.end.line.max(span.start.line) as usize - first).min(3) + 1;
        let excerpt = (span.start.line.max(1)..)
            .zip(self.lines().skip(first - 1).take(count))
            .map(|(number, line)| (number, line.to_owned()))
            .collect();
        Diagnostic { file: self.name.clone(), span, message: message.into(), hint: None, excerpt }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_not_text() {
        assert_eq!(Source::new("f", b"\xef\xbb\xbfFROM a").unwrap().lines().next(), Some("FROM a"));
        assert_eq!(Source::new("f", b"a\nb\xff").unwrap_err().span.start.line, 2);
        assert_eq!(Source::new("f", b"a\n\nb\0").unwrap_err().span.start.line, 3);
        assert!(Source::new("f", &vec![b'a'; SIZE_MAX + 1]).is_err());
    }
}
