//! Ignore files (`.dockerignore`, `.containerignore`, `NAME.dockerignore`) and the pattern lists of `--exclude` and
//! `--parents`, which mean the same: patterns are relative to the root, `**` crosses directories, `!` takes back, the
//! last pattern that matches a path or one of its parents decides (Docker: "Build context", ".dockerignore files").

use crate::glob::{Glob, PatternError};
use crate::mutation::broken;

/// Largest ignore file, in bytes.
pub const IGNORE_MAX: u64 = 1 << 20;
/// Most patterns in one list.
const PATTERNS_MAX: usize = 10_000;

#[derive(Clone, Debug)]
struct Rule {
    glob: Glob,
    exception: bool,
}

/// A list of patterns.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
}

/// What each pattern said of a directory; what is in it starts from there.
#[derive(Clone, Debug, Default)]
pub struct Matched {
    rules: Vec<bool>,
    /// The path as such is on the list.
    pub ignored: bool,
}

impl Ignore {
    /// Reads an ignore file: one pattern a line, `#` comments, blanks around a pattern and a leading slash dropped.
    ///
    /// # Errors
    /// [`PatternError`] for a pattern that cannot be read or too many of them.
    pub fn parse(bytes: &[u8]) -> Result<Self, PatternError> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.starts_with(b"#"));
        Self::of(lines)
    }

    /// Reads a list of patterns.
    ///
    /// # Errors
    /// As [`Ignore::parse`].
    pub fn of<'a>(patterns: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, PatternError> {
        let mut rules = Vec::new();
        for line in patterns {
            let text = line.trim_ascii();
            let (exception, text) = match text.strip_prefix(b"!") {
                Some(rest) => (true, rest.trim_ascii()),
                None => (false, text),
            };
            let bad = |reason| PatternError { pattern: String::from_utf8_lossy(line).into_owned(), reason };
            if text.is_empty() {
                if exception {
                    return Err(bad("there is nothing behind the !"));
                }
                continue;
            }
            let clean = clean(text);
            if clean.is_empty() {
                // The root itself: nothing is ever matched by its name.
                continue;
            }
            if rules.len() >= PATTERNS_MAX {
                return Err(bad("there are more than 10000 patterns"));
            }
            rules.push(Rule { glob: Glob::ignore(&clean)?, exception });
        }
        Ok(Self { rules })
    }

    /// Whether there are no patterns.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether some pattern takes back what others hide.
    #[must_use]
    pub fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|rule| rule.exception)
    }

    /// What is known of the root: nothing matched.
    #[must_use]
    pub fn root(&self) -> Matched {
        Matched { rules: vec![false; self.rules.len()], ignored: false }
    }

    /// Judges `path`, whose parent directory was judged as `parent`.
    #[must_use]
    pub fn enter(&self, parent: &Matched, path: &[u8]) -> Matched {
        let mut matched = Matched { rules: Vec::with_capacity(self.rules.len()), ignored: false };
        for (rule, parent) in self.rules.iter().zip(&parent.rules) {
            let hit = *parent || rule.glob.matches(path);
            let decided = broken("last-pattern-wins") && matched.ignored;
            if hit && !decided && !(rule.exception && broken("exceptions")) {
                matched.ignored = !rule.exception;
            }
            matched.rules.push(hit);
        }
        matched
    }

    /// Judges a path from the root down.
    #[must_use]
    pub fn judge(&self, path: &[u8]) -> Matched {
        let mut matched = self.root();
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([path.len()]);
        for end in ends.filter(|&end| end > 0) {
            matched = self.enter(&matched, &path[..end]);
        }
        matched
    }

    /// Whether an exception could take back something below the directory `path`.
    #[must_use]
    pub fn may_take_back_below(&self, path: &[u8]) -> bool {
        self.rules.iter().any(|rule| rule.exception && rule.glob.may_match_below(path))
    }

    /// Whether a pattern could match something below the directory `path`.
    #[must_use]
    pub fn may_match_below(&self, path: &[u8]) -> bool {
        self.rules.iter().any(|rule| !rule.exception && rule.glob.may_match_below(path))
    }
}

/// The path without `.`, doubled and outer slashes, and with `..` resolved against what is before it. Above the root is
/// the root, for a pattern that begins there; of others the `..` stays, and matches nothing.
fn clean(path: &[u8]) -> Vec<u8> {
    let absolute = path.starts_with(b"/");
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if !absolute && names.last().is_none_or(|name| *name == b"..") => names.push(name),
            b".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    names.join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(file: &str, path: &str) -> bool {
        Ignore::parse(file.as_bytes()).unwrap().judge(path.as_bytes()).ignored
    }

    #[test]
    fn the_documented_rules() {
        for (file, path, expected) in [
            ("*/temp*", "somedir/temporary.txt", true),
            ("*/temp*", "temp", false),
            ("*/temp*", "a/b/temp", false),
            ("*/*/temp*", "a/b/temp", true),
            ("temp?", "tempa", true),
            ("temp?", "temp", false),
            ("**/*.go", "a/b/c.go", true),
            ("*.md\n!README.md", "README.md", false),
            ("*.md\n!README.md", "CHANGES.md", true),
            ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true),
            ("*.md\n!README*.md\nREADME-secret.md", "README-x.md", false),
            ("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", false),
            ("/foo/bar", "foo/bar", true),
            ("/foo/bar/", "foo/bar", true),
            ("foo/bar", "foo/bar/baz", true),
            ("foo", "a/foo", false),
            ("./foo//bar/../x", "foo/x", true),
            ("  spaced  ", "spaced", true),
            ("# foo", "# foo", false),
            (" # foo", "# foo", true),
            ("foo\r\nbar\r\n", "foo", true),
            ("*\n!src", "src/main.c", false),
            ("*\n!src\nsrc/*.o", "src/a.o", true),
            ("src\n!src/keep", "src/keep/x", false),
            ("src\n!src/keep", "src/other", true),
            ("**\n!a/**/b", "a/x/b", false),
            ("", "x", false),
            (".", "x", false),
            ("..", "x", false),
            ("../**", "x", false),
            ("a/../../x", "x", false),
            ("/../x", "x", true),
            ("\u{feff}x", "x", true),
            ("[a-z]*", "b1", true),
            ("a\\ b", "a b", true),
        ] {
            assert_eq!(ignored(file, path), expected, "{file:?} {path}");
        }
        assert!(Ignore::parse(b"!").is_err() && Ignore::parse(b"[").is_err());
    }

    #[test]
    fn ignored_directories_are_entered_only_for_exceptions() {
        let ignore = Ignore::parse(b"node_modules\nsrc\n!src/a/*.c").unwrap();
        assert!(!ignore.may_take_back_below(b"node_modules"));
        assert!(ignore.may_take_back_below(b"src") && ignore.may_take_back_below(b"src/a"));
        assert!(!ignore.may_take_back_below(b"src/b"));
    }
}
