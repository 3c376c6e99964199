//! Cutting one logical line into keyword, flags and words. Nothing here knows an instruction's meaning; offsets are
//! bytes of the text passed in, so that callers can point at what they complain of.

/// A word and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Its text, quotes and escapes included.
    pub text: String,
    /// Offset of its first byte.
    pub start: usize,
    /// Offset behind its last byte.
    pub end: usize,
}

/// A `--name` or `--name=value` between keyword and arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Name without the dashes.
    pub name: String,
    /// Value, quotes removed; none without `=`.
    pub value: Option<String>,
    /// Offset of the first dash.
    pub start: usize,
    /// Offset behind the last byte.
    pub end: usize,
}

/// Splits off the first word: the keyword and the rest without leading blanks.
#[must_use]
pub fn keyword(text: &str) -> (&str, &str) {
    match text.split_once(char::is_whitespace) {
        Some((keyword, rest)) => (keyword, rest.trim_start()),
        None => (text, ""),
    }
}

/// The flags at `start` of `text`, and the offset of the arguments behind them. `--` alone ends the flags. Quotes in
/// a flag are removed, a backslash takes the next character as it is.
#[must_use]
pub fn flags(text: &str, start: usize) -> (Vec<Flag>, usize) {
    let mut found = Vec::new();
    let mut at = start;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        if !text[at..].starts_with("--") {
            return (found, at);
        }
        let (word, end) = flag_word(text, at);
        if word == "--" {
            return (found, end + (text[end..].len() - text[end..].trim_start().len()));
        }
        let (name, value) = match word[2..].split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word[2..].to_owned(), None),
        };
        found.push(Flag { name, value, start: at, end });
        at = end;
    }
}

fn flag_word(text: &str, start: usize) -> (String, usize) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text[start..].char_indices();
    while let Some((offset, c)) = chars.next() {
        match (quote, c) {
            (_, '\\') => word.extend(chars.next().map(|(_, escaped)| escaped)),
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.push(c),
            (None, '\'' | '"') => quote = Some(c),
            (None, c) if c.is_whitespace() => return (word, start + offset),
            (None, c) => word.push(c),
        }
    }
    (word, text.len())
}

/// Words separated by blanks; quotes have no meaning.
#[must_use]
pub fn fields(text: &str, start: usize) -> Vec<Word> {
    let mut found = Vec::new();
    let mut begin = None;
    for (offset, c) in text[start..].char_indices() {
        match (begin, c.is_whitespace()) {
            (None, false) => begin = Some(start + offset),
            (Some(from), true) => {
                found.push(Word { text: text[from..start + offset].to_owned(), start: from, end: start + offset });
                begin = None;
            }
            _ => {}
        }
    }
    if let Some(from) = begin {
        found.push(Word { text: text[from..].to_owned(), start: from, end: text.len() });
    }
    found
}

/// Words separated by blanks that are neither quoted nor escaped; quotes and escapes stay.
#[must_use]
pub fn quoted(text: &str, start: usize, escape: char) -> Vec<Word> {
    let mut found = Vec::new();
    let mut begin = None;
    let mut quote = None;
    let mut chars = text[start..].char_indices();
    while let Some((offset, c)) = chars.next() {
        let at = start + offset;
        if begin.is_none() {
            if c.is_whitespace() {
                continue;
            }
            begin = Some(at);
        }
        match (quote, c) {
            // Single quotes know no escapes.
            (open, c) if c == escape && open != Some('\'') => {
                chars.next();
            }
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, c) if c.is_whitespace() => {
                if let Some(from) = begin.take() {
                    found.push(Word { text: text[from..at].to_owned(), start: from, end: at });
                }
            }
            _ => {}
        }
    }
    if let Some(from) = begin {
        found.push(Word { text: text[from..].to_owned(), start: from, end: text.len() });
    }
    found
}

/// What a text is as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    /// Not an array at all.
    No,
    /// Starts like an array but does not parse as one.
    Broken,
    /// An array of strings.
    Strings(Vec<String>),
    /// An array with something else in it.
    Others,
}

/// Reads `text` as an array of strings (the exec form).
#[must_use]
pub fn json_array(text: &str) -> Json {
    if !text.trim_start().starts_with('[') {
        return Json::No;
    }
    match serde_json::from_str::<Vec<serde_json::Value>>(text) {
        Err(_) => Json::Broken,
        Ok(items) => {
            let strings: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            strings.map_or(Json::Others, Json::Strings)
        }
    }
}

/// Fields of one comma separated record (a `--mount` value); a field in double quotes may contain commas.
///
/// # Errors
/// A message for a quote that is never closed.
pub fn comma_separated(text: &str) -> Result<Vec<String>, String> {
    let mut found = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => found.push(String::new()),
            c => {
                if let Some(last) = found.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    if quoted { Err(format!("a quote in {text:?} is never closed")) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_end_at_the_first_word_without_dashes() {
        let text = "COPY --from=a --x  --y=\"1 2\" --z=a\\ b src --not";
        let (flags, rest) = flags(text, 4);
        let brief: Vec<_> = flags.iter().map(|flag| (flag.name.as_str(), flag.value.as_deref())).collect();
        assert_eq!(brief, [("from", Some("a")), ("x", None), ("y", Some("1 2")), ("z", Some("a b"))]);
        assert_eq!(&text[rest..], "src --not");
        assert_eq!(&text[flags[0].start..flags[0].end], "--from=a");
        assert_eq!(super::flags("-- --a b", 0), (Vec::new(), 3));
        assert_eq!(super::flags("", 0), (Vec::new(), 0));
    }

    #[test]
    fn words_with_and_without_quotes() {
        let texts = |words: Vec<Word>| words.into_iter().map(|word| word.text).collect::<Vec<_>>();
        assert_eq!(texts(fields("  a 'b c' ", 0)), ["a", "'b", "c'"]);
        assert_eq!(
            texts(quoted("a='b c' d=\"e \\\" f\" g=h\\ i 'j\\'", 0, '\\')),
            ["a='b c'", "d=\"e \\\" f\"", "g=h\\ i", "'j\\'"]
        );
        assert_eq!(texts(quoted("open='x y", 0, '\\')), ["open='x y"]);
    }

    #[test]
    fn exec_form_is_an_array_of_strings() {
        assert_eq!(json_array(" [\"a\", \"b\\n\"] "), Json::Strings(vec!["a".into(), "b\n".into()]));
        assert_eq!(json_array("[]"), Json::Strings(Vec::new()));
        assert_eq!(json_array("['a']"), Json::Broken);
        assert_eq!(json_array("[ \"$x\" = \"y\" ] && z"), Json::Broken);
        assert_eq!(json_array("[1]"), Json::Others);
        assert_eq!(json_array("echo []"), Json::No);
    }

    #[test]
    fn comma_separated_fields() {
        assert_eq!(comma_separated("a,\"b,c\",d").unwrap(), ["a", "b,c", "d"]);
        assert!(comma_separated("\"a").is_err());
    }
}
