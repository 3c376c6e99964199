//! Path patterns: those of COPY and ADD (`*`, `?`, `[a-z]`, none crosses a slash; Go's `path/filepath.Match`) and those
//! of ignore files, `--exclude` and `--parents`, which also know `**`. Matching walks sets of positions, so its time is
//! the product of the lengths whatever the pattern.

/// A pattern that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid pattern {pattern:?}: {reason}")]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
    /// Why.
    pub reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// This character.
    Just(u32),
    /// One character but a slash.
    One,
    /// Any characters but slashes.
    Star,
    /// One character of (or not of) these ranges, never a slash.
    Class(bool, Vec<(u32, u32)>),
    /// `**/`: nothing, or anything up to and with a slash. Always followed by `DirectoriesInside`.
    Directories,
    /// Inside of what `Directories` takes.
    DirectoriesInside,
    /// `**` at the end: anything.
    Rest,
}

const SLASH: u32 = b'/' as u32;

/// A parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    tokens: Vec<Token>,
}

/// Characters of a path; bytes that are not UTF-8 become numbers no character has.
fn characters(mut bytes: &[u8]) -> Vec<u32> {
    let mut found = Vec::with_capacity(bytes.len());
    while !bytes.is_empty() {
        let valid = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
        };
        found.extend(valid.chars().map(u32::from));
        bytes = &bytes[valid.len()..];
        if let Some((&first, rest)) = bytes.split_first() {
            found.push(0x11_0000 + u32::from(first));
            bytes = rest;
        }
    }
    found
}

impl Glob {
    /// Reads a pattern of COPY or ADD: no `**`.
    ///
    /// # Errors
    /// [`PatternError`] for an open bracket or a lone backslash at the end.
    pub fn path(pattern: &[u8]) -> Result<Self, PatternError> {
        Self::parse(pattern, false)
    }

    /// Reads a pattern of an ignore file, without `!`, already clean (no `.`, `..`, doubled or outer slashes).
    ///
    /// # Errors
    /// As [`Glob::path`].
    pub fn ignore(pattern: &[u8]) -> Result<Self, PatternError> {
        Self::parse(pattern, true)
    }

    fn parse(pattern: &[u8], directories: bool) -> Result<Self, PatternError> {
        let bad = |reason| PatternError { pattern: String::from_utf8_lossy(pattern).into_owned(), reason };
        let chars = characters(pattern);
        let is = |at: usize, c: char| chars.get(at) == Some(&u32::from(c));
        let mut tokens = Vec::new();
        let mut at = 0;
        while at < chars.len() {
            if is(at, '*') && is(at + 1, '*') && directories {
                while is(at, '*') {
                    at += 1;
                }
                if is(at, '/') {
                    at += 1;
                }
                // Several in a row mean what one means.
                if at == chars.len() {
                    tokens.push(Token::Rest);
                } else if tokens.last() != Some(&Token::DirectoriesInside) {
                    tokens.extend([Token::Directories, Token::DirectoriesInside]);
                }
                continue;
            }
            if is(at, '*') {
                if tokens.last() != Some(&Token::Star) {
                    tokens.push(Token::Star);
                }
            } else if is(at, '?') {
                tokens.push(Token::One);
            } else if is(at, '[') {
                let (class, end) = class(&chars, at + 1).ok_or_else(|| bad("a bracket is never closed"))?;
                tokens.push(class);
                at = end;
                continue;
            } else if is(at, '\\') {
                at += 1;
                tokens.push(Token::Just(*chars.get(at).ok_or_else(|| bad("it ends in a backslash"))?));
            } else {
                tokens.push(Token::Just(chars[at]));
            }
            at += 1;
        }
        Ok(Self { tokens })
    }

    /// Whether the whole of `path` matches.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        self.run(path).is_some_and(|states| states[self.tokens.len()])
    }

    /// Whether something below the directory `path` could match.
    #[must_use]
    pub fn may_match_below(&self, path: &[u8]) -> bool {
        if path.is_empty() {
            return true;
        }
        let below = [path, b"/"].concat();
        self.run(&below).is_some_and(|states| states[..self.tokens.len()].contains(&true))
    }

    /// The positions in the pattern that `path` leads to; none if no continuation can match.
    fn run(&self, path: &[u8]) -> Option<Vec<bool>> {
        let mut states = vec![false; self.tokens.len() + 1];
        self.enter(&mut states, 0);
        for c in characters(path) {
            let mut next = vec![false; self.tokens.len() + 1];
            let mut alive = false;
            for (at, token) in self.tokens.iter().enumerate().filter(|(at, _)| states[*at]) {
                let to = match token {
                    Token::Just(just) if *just == c => at + 1,
                    Token::One if c != SLASH => at + 1,
                    Token::Star if c != SLASH => at,
                    Token::Class(negated, ranges) if c != SLASH => {
                        if ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) == *negated {
                            continue;
                        }
                        at + 1
                    }
                    Token::Rest => at,
                    Token::Directories | Token::DirectoriesInside => {
                        let inside = at + usize::from(*token == Token::Directories);
                        if c == SLASH {
                            self.enter(&mut next, inside + 1);
                        }
                        next[inside] = true;
                        alive = true;
                        continue;
                    }
                    _ => continue,
                };
                self.enter(&mut next, to);
                alive = true;
            }
            if !alive {
                return None;
            }
            states = next;
        }
        Some(states)
    }

    /// Marks `state` and all that follow without taking a character.
    fn enter(&self, states: &mut [bool], mut state: usize) {
        // What is entered already was entered with all that follows from it: many `**` in a row cost no more than one.
        while !std::mem::replace(&mut states[state], true) {
            match self.tokens.get(state) {
                Some(Token::Star | Token::Rest) => state += 1,
                Some(Token::Directories) => state += 2,
                _ => return,
            }
        }
    }

    /// Whether a text has characters that make it a pattern.
    #[must_use]
    pub fn is_pattern(text: &[u8]) -> bool {
        let mut bytes = text.iter();
        while let Some(byte) = bytes.next() {
            match byte {
                b'*' | b'?' | b'[' => return true,
                b'\\' => {
                    bytes.next();
                }
                _ => {}
            }
        }
        false
    }

    /// The text without its escapes, for one that is no pattern.
    #[must_use]
    pub fn unescape(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        let mut bytes = text.iter();
        while let Some(&byte) = bytes.next() {
            match byte {
                b'\\' => out.extend(bytes.next()),
                _ => out.push(byte),
            }
        }
        out
    }
}

/// Reads a bracket expression whose `[` is before `at`; gives the place behind its `]`.
fn class(chars: &[u32], mut at: usize) -> Option<(Token, usize)> {
    let negated = chars.get(at) == Some(&u32::from('^'));
    at += usize::from(negated);
    let mut ranges = Vec::new();
    loop {
        let single = |at: &mut usize| {
            if chars.get(*at) == Some(&u32::from('\\')) {
                *at += 1;
            }
            let c = *chars.get(*at)?;
            *at += 1;
            Some(c)
        };
        if chars.get(at) == Some(&u32::from(']')) && !ranges.is_empty() {
            return Some((Token::Class(negated, ranges), at + 1));
        }
        let low = single(&mut at)?;
        let mut high = low;
        if chars.get(at) == Some(&u32::from('-')) && chars.get(at + 1) != Some(&u32::from(']')) {
            at += 1;
            high = single(&mut at)?;
        }
        ranges.push((low, high));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_patterns_stay_within_a_name() {
        for (pattern, path, expected) in [
            ("hom*", "home.txt", true),
            ("hom?.txt", "home.txt", true),
            ("*", "a/b", false),
            ("a/*/c", "a/b/c", true),
            ("a/*/c", "a/b/b/c", false),
            ("**", "a", true),
            ("**", "a/b", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("a[^x]b", "a/b", false),
            ("arr[[]0].txt", "arr[0].txt", true),
            ("[]a]", "]", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("?", "é", true),
            ("??", "é", false),
            ("*.go", ".go", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(Glob::path(pattern.as_bytes()).unwrap().matches(path.as_bytes()), expected, "{pattern} {path}");
        }
        assert!(Glob::path(b"?").unwrap().matches(b"\xff"));
        assert!(Glob::path(b"[a").is_err() && Glob::path(b"a\\").is_err() && Glob::path(b"[").is_err());
    }

    #[test]
    fn ignore_patterns_cross_directories() {
        for (pattern, path, expected) in [
            ("**", "a/b", true),
            ("**/x", "x", true),
            ("**/**/**/x", "x", true),
            ("**/**/x", "a/b/x", true),
            ("a/**/**", "a/b/c", true),
            ("**/x", "a/b/x", true),
            ("**/x", "a/bx", false),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a**/b", "ax/b", true),
            ("**/*.go", "a/b.go", true),
            ("**/*.go", "b.go", true),
            ("**/a/**", "x/a/y", true),
            ("a/*/b", "a/b", false),
            ("***/x", "q/x", true),
        ] {
            assert_eq!(
                Glob::ignore(pattern.as_bytes()).unwrap().matches(path.as_bytes()),
                expected,
                "{pattern} {path}"
            );
        }
    }

    #[test]
    fn below_is_decided_without_looking() {
        let below =
            |pattern: &str, path: &str| Glob::ignore(pattern.as_bytes()).unwrap().may_match_below(path.as_bytes());
        assert!(below("a/b/c", "a") && below("a/b/c", "a/b") && !below("a/b/c", "a/b/c") && !below("a/b/c", "x"));
        assert!(below("**/x", "any/where") && below("a/*/c", "a/q") && !below("*", "a") && below("x", ""));
    }

    #[test]
    fn escapes_are_no_patterns() {
        assert!(Glob::is_pattern(b"a*") && Glob::is_pattern(b"[x") && !Glob::is_pattern(b"a\\*b"));
        assert_eq!(Glob::unescape(b"a\\*b\\\\"), b"a*b\\");
    }
}
