//! Variables and quotes in the arguments of instructions: the shell-like language that a Buildfile's own words are
//! written in (Dockerfile reference, "Environment replacement"). It never runs anything: what RUN, CMD and ENTRYPOINT
//! say belongs to the container's shell. Output is bounded, so that `ENV a=$a$a` cannot grow without end.

use super::pattern::Pattern;

/// Longest result of one expansion, in bytes.
pub const EXPANDED_MAX: usize = 1 << 20;
/// Deepest nesting of `${a:-${b:-…}}`.
const DEPTH_MAX: usize = 64;

/// How a word is read.
#[derive(Clone, Copy, Debug)]
pub struct Expander {
    /// The escape character: `\` or, by parser directive, a backtick.
    pub escape: char,
    /// Quotes stay in the result.
    pub keep_quotes: bool,
    /// Escape characters stay in the result.
    pub keep_escapes: bool,
    /// Quotes are ordinary characters (contents of a heredoc).
    pub ignore_quotes: bool,
    /// `$name` of a variable that is not set stays as it is, instead of becoming nothing.
    pub keep_unset: bool,
}

/// The outcome of an expansion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The whole as one word.
    pub text: String,
    /// The same split at blanks that were neither quoted nor escaped.
    pub words: Vec<String>,
    /// Names that were asked for and are not set.
    pub unset: Vec<String>,
}

/// Where the values come from.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Expander {
    /// The usual reading: quotes and escapes are removed, unset variables are empty.
    #[must_use]
    pub fn new(escape: char) -> Self {
        Self { escape, keep_quotes: false, keep_escapes: false, ignore_quotes: false, keep_unset: false }
    }

    /// Reads `input`.
    ///
    /// # Errors
    /// A message for an unterminated quote or brace, an unknown modifier, `${name:?message}` of a name that is not
    /// set, or a result over [`EXPANDED_MAX`].
    pub fn expand(&self, input: &str, lookup: Lookup<'_>) -> Result<Expanded, String> {
        let mut reader = Reader {
            how: *self,
            input: input.chars().collect(),
            at: 0,
            lookup,
            unset: Vec::new(),
            depth: 0,
            budget: EXPANDED_MAX,
        };
        let (text, words) = reader.until(None, self.keep_escapes)?;
        Ok(Expanded { text, words, unset: reader.unset })
    }

    /// [`Expander::expand`] as one word.
    ///
    /// # Errors
    /// As [`Expander::expand`].
    pub fn word(&self, input: &str, lookup: Lookup<'_>) -> Result<String, String> {
        self.expand(input, lookup).map(|expanded| expanded.text)
    }
}

struct Reader<'a> {
    how: Expander,
    input: Vec<char>,
    at: usize,
    lookup: Lookup<'a>,
    unset: Vec<String>,
    depth: usize,
    budget: usize,
}

/// Collects the words beside the text.
#[derive(Default)]
struct Words {
    words: Vec<String>,
    word: String,
}

impl Words {
    /// A character that ends a word if it is blank.
    fn split(&mut self, c: char) {
        if c.is_whitespace() {
            self.end();
        } else {
            self.word.push(c);
        }
    }

    fn end(&mut self) {
        if !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
        }
    }
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.input.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), String> {
        self.budget = self
            .budget
            .checked_sub(bytes)
            .ok_or_else(|| format!("the expanded text is longer than {EXPANDED_MAX} bytes"))?;
        Ok(())
    }

    /// Reads until `stop` (consumed, not part of the result) or the end of the input.
    fn until(&mut self, stop: Option<char>, keep_escapes: bool) -> Result<(String, Vec<String>), String> {
        let mut text = String::new();
        let mut words = Words::default();
        while let Some(c) = self.peek() {
            if Some(c) == stop {
                self.at += 1;
                words.end();
                return Ok((text, words.words));
            }
            match c {
                '$' => {
                    let value = self.dollar()?;
                    self.spend(value.len())?;
                    value.chars().for_each(|c| words.split(c));
                    text.push_str(&value);
                }
                '\'' | '"' if !self.how.ignore_quotes => {
                    let quoted = if c == '\'' { self.single()? } else { self.double(keep_escapes)? };
                    words.word.push_str(&quoted);
                    text.push_str(&quoted);
                }
                _ if c == self.how.escape => {
                    self.at += 1;
                    if keep_escapes {
                        words.word.push(c);
                        text.push(c);
                    }
                    // A lone escape character at the very end escapes nothing and is dropped.
                    if let Some(escaped) = self.next() {
                        words.word.push(escaped);
                        text.push(escaped);
                    }
                }
                _ => {
                    self.at += 1;
                    words.split(c);
                    text.push(c);
                }
            }
        }
        if let Some(stop) = stop {
            return Err(format!("the closing {stop} of a substitution is missing"));
        }
        words.end();
        Ok((text, words.words))
    }

    fn single(&mut self) -> Result<String, String> {
        let mut text = String::new();
        self.at += 1;
        if self.how.keep_quotes {
            text.push('\'');
        }
        loop {
            match self.next() {
                None => return Err("a single quote is never closed".to_owned()),
                Some('\'') => break,
                Some(c) => text.push(c),
            }
        }
        if self.how.keep_quotes {
            text.push('\'');
        }
        Ok(text)
    }

    fn double(&mut self, keep_escapes: bool) -> Result<String, String> {
        let mut text = String::new();
        self.at += 1;
        if self.how.keep_quotes {
            text.push('"');
        }
        loop {
            match self.peek() {
                None => return Err("a double quote is never closed".to_owned()),
                Some('"') => {
                    self.at += 1;
                    break;
                }
                Some('$') => {
                    let value = self.dollar()?;
                    self.spend(value.len())?;
                    text.push_str(&value);
                }
                Some(c) => {
                    self.at += 1;
                    if c == self.how.escape {
                        if keep_escapes {
                            text.push(c);
                        }
                        match self.peek() {
                            None => continue,
                            // Inside double quotes only these can be escaped; elsewhere the character stays.
                            Some(next) if next == '"' || next == '$' || next == self.how.escape => {
                                self.at += 1;
                                text.push(next);
                            }
                            Some(_) if keep_escapes => {}
                            Some(_) => text.push(c),
                        }
                    } else {
                        text.push(c);
                    }
                }
            }
        }
        if self.how.keep_quotes {
            text.push('"');
        }
        Ok(text)
    }

    fn get(&mut self, name: &str) -> Option<String> {
        let value = (self.lookup)(name);
        if value.is_none() && !self.unset.iter().any(|unset| unset == name) {
            self.unset.push(name.to_owned());
        }
        value
    }

    /// A `$` and what belongs to it.
    fn dollar(&mut self) -> Result<String, String> {
        self.at += 1;
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.get(&name) {
                None if self.how.keep_unset => format!("${name}"),
                value => value.unwrap_or_default(),
            });
        }
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("substitutions are nested deeper than {DEPTH_MAX}"));
        }
        let value = self.braced();
        self.depth -= 1;
        value
    }

    fn braced(&mut self) -> Result<String, String> {
        let name = self.name();
        if name.is_empty() {
            return Err(match self.peek() {
                None => "the closing } of a substitution is missing".to_owned(),
                Some(_) => "bad substitution: a name must follow ${".to_owned(),
            });
        }
        let begin = self.at;
        let operator = self.next().ok_or_else(|| format!("the closing }} of ${{{name} is missing"))?;
        let set = self.get(&name);
        let value = match operator {
            '}' => set.clone().unwrap_or_default(),
            '/' => self.replaced(set.as_deref().unwrap_or_default())?,
            '#' | '%' => self.trimmed(operator, set.as_deref().unwrap_or_default())?,
            ':' | '-' | '+' | '?' => {
                let (operator, empty_is_unset) = match operator {
                    ':' => (self.next().unwrap_or(':'), true),
                    _ => (operator, false),
                };
                if !matches!(operator, '-' | '+' | '?') {
                    return Err(format!("unsupported modifier :{operator} in ${{{name}…}}"));
                }
                let (word, _) = self.until(Some('}'), false)?;
                if set.is_none() && self.how.keep_unset {
                    return Ok(self.unchanged(&name, begin));
                }
                let counts = set.clone().filter(|value| !(empty_is_unset && value.is_empty()));
                match (operator, counts) {
                    ('-', None) => return Ok(word),
                    ('+', Some(_)) => return Ok(word),
                    ('?', None) => {
                        let what =
                            if set.is_none() { "is not allowed to be unset" } else { "is not allowed to be empty" };
                        return Err(format!("{name}: {}", if word.is_empty() { what } else { &word }));
                    }
                    (_, value) => value.filter(|_| operator != '+').unwrap_or_default(),
                }
            }
            other => return Err(format!("unsupported modifier {other} in ${{{name}…}}")),
        };
        if set.is_none() && self.how.keep_unset {
            return Ok(self.unchanged(&name, begin));
        }
        Ok(value)
    }

    /// A substitution as it was written; `begin` is the place behind its name.
    fn unchanged(&self, name: &str, begin: usize) -> String {
        let rest: String = self.input[begin..self.at].iter().collect();
        format!("${{{name}{rest}")
    }

    /// `${name#p}`, `##`, `%`, `%%`: the pattern cut off at the front or the end, shortest or longest.
    fn trimmed(&mut self, operator: char, value: &str) -> Result<String, String> {
        let longest = self.peek() == Some(operator);
        if longest {
            self.at += 1;
        }
        let (pattern, _) = self.until(Some('}'), true)?;
        let pattern = Pattern::parse(&pattern)?;
        Ok(if operator == '#' { pattern.trim_start(value, longest) } else { pattern.trim_end(value, longest) })
    }

    /// `${name/p/r}` and `${name//p/r}`.
    fn replaced(&mut self, value: &str) -> Result<String, String> {
        let all = self.peek() == Some('/');
        if all {
            self.at += 1;
        }
        let (pattern, _) = self.until(Some('/'), true)?;
        let (replacement, _) = self.until(Some('}'), false)?;
        let replaced = Pattern::parse(&pattern)?.replace(value, &replacement, all, self.budget);
        replaced.ok_or_else(|| format!("the expanded text is longer than {EXPANDED_MAX} bytes"))
    }

    /// Letters, digits and `_`; or a number; or one of the shell's special parameters.
    fn name(&mut self) -> String {
        let Some(first) = self.peek() else { return String::new() };
        if matches!(first, '@' | '*' | '#' | '?' | '-' | '$' | '!') {
            self.at += 1;
            return first.to_string();
        }
        let number = first.is_ascii_digit();
        let begin = self.at;
        while self.peek().is_some_and(|c| if number { c.is_ascii_digit() } else { c.is_alphanumeric() || c == '_' }) {
            self.at += 1;
        }
        self.input[begin..self.at].iter().collect()
    }
}

#[cfg(test)]
#[path = "expand_tests.rs"]
mod tests;
