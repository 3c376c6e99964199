//! The patterns inside `${name#pattern}` and its kin: `*` any text, `?` one character, `\` before `*`, `?`, `\`, `}`
//! or `/` takes them literally. No bracket expressions, as in BuildKit. Matching is by sets of positions, so its time
//! is the product of the lengths whatever the pattern.

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Any,
    One,
    Just(char),
}

/// A parsed pattern.
pub struct Pattern(Vec<Token>);

impl Pattern {
    /// Reads `text`.
    ///
    /// # Errors
    /// A message for an escape of anything else.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let token = match c {
                '*' if tokens.last() == Some(&Token::Any) => continue,
                '*' => Token::Any,
                '?' => Token::One,
                '\\' => match chars.next() {
                    Some(escaped @ ('*' | '?' | '\\' | '}' | '/')) => Token::Just(escaped),
                    other => {
                        let other = other.map(String::from).unwrap_or_default();
                        return Err(format!("invalid escape \\{other} in the pattern {text:?}"));
                    }
                },
                other => Token::Just(other),
            };
            tokens.push(token);
        }
        Ok(Self(tokens))
    }

    /// `value` without what the pattern matches at its start.
    pub fn trim_start(&self, value: &str, longest: bool) -> String {
        let chars: Vec<char> = value.chars().collect();
        let end = self.ends(&chars, longest).unwrap_or(0);
        chars[end..].iter().collect()
    }

    /// `value` without what the pattern matches at its end.
    pub fn trim_end(&self, value: &str, longest: bool) -> String {
        let mut chars: Vec<char> = value.chars().collect();
        chars.reverse();
        let reversed = Self(self.0.iter().rev().copied().collect());
        let end = reversed.ends(&chars, longest).unwrap_or(0);
        chars[end..].iter().rev().collect()
    }

    /// `value` with the first match (or all) replaced, the longest at each place; `None` if it gets longer than
    /// `limit` bytes. An empty match replaces nothing.
    pub fn replace(&self, value: &str, replacement: &str, all: bool, limit: usize) -> Option<String> {
        let chars: Vec<char> = value.chars().collect();
        let mut out = String::new();
        let mut at = 0;
        let mut done = false;
        while at < chars.len() {
            match self.ends(&chars[at..], true).filter(|&length| length > 0 && !done) {
                Some(length) => {
                    out.push_str(replacement);
                    at += length;
                    done = !all;
                }
                None => {
                    out.push(chars[at]);
                    at += 1;
                }
            }
            if out.len() > limit {
                return None;
            }
        }
        Some(out)
    }

    /// Length of the shortest or longest prefix of `chars` that the whole pattern matches.
    fn ends(&self, chars: &[char], longest: bool) -> Option<usize> {
        let mut states = vec![false; self.0.len() + 1];
        self.enter(&mut states, 0);
        let mut found = None;
        for at in 0..=chars.len() {
            if states[self.0.len()] {
                found = Some(at);
                if !longest {
                    break;
                }
            }
            let Some(&c) = chars.get(at) else { break };
            let mut next = vec![false; self.0.len() + 1];
            let mut alive = false;
            for (state, token) in self.0.iter().enumerate().filter(|(state, _)| states[*state]) {
                match token {
                    Token::Any => self.enter(&mut next, state),
                    Token::One => self.enter(&mut next, state + 1),
                    Token::Just(just) if *just == c => self.enter(&mut next, state + 1),
                    Token::Just(_) => continue,
                }
                alive = true;
            }
            if !alive {
                break;
            }
            states = next;
        }
        found
    }

    /// Marks `state`, and what follows if it is a star (which may match nothing).
    fn enter(&self, states: &mut [bool], mut state: usize) {
        states[state] = true;
        while self.0.get(state) == Some(&Token::Any) {
            state += 1;
            states[state] = true;
        }
    }
}
