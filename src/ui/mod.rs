//! Words, tables and bars. Data goes to stdout and everything else to stderr; nothing that came from outside reaches
//! a terminal unescaped.

pub mod build_progress;
pub mod build_rawjson;
pub mod denied;
pub mod explain;
pub mod format;
pub mod human;
pub mod progress;
pub mod table;
pub mod template;
pub mod timing;

use std::fmt;
use std::io::{self, IsTerminal, Write};

use crate::error::{CommandError, Result};

/// Writes `text` to stdout. A reader that went away is no error: whoever pipes into `head` got what they wanted.
pub fn out(text: impl fmt::Display) -> Result<()> {
    out_bytes(text.to_string().as_bytes())
}

/// Writes `text` and a line feed to stdout.
pub fn outln(text: impl fmt::Display) -> Result<()> {
    out(format_args!("{text}\n"))
}

/// Writes a value to stdout as JSON, over several lines if `pretty`.
pub fn outln_json(value: &impl serde::Serialize, pretty: bool) -> Result<()> {
    let text = if pretty { serde_json::to_string_pretty(value)? } else { serde_json::to_string(value)? };
    outln(escape_json(&text))
}

/// JSON with nothing in it that a terminal obeys: what JSON leaves as it is (the control characters above ASCII, those that turn
/// the direction of text) is written as JSON's own escapes, so that it means the same.
pub fn escape_json(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if (character.is_control() && character != '\n') || is_bidi(character) {
            safe.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            safe.push(character);
        }
    }
    safe
}

/// Writes raw bytes to stdout.
pub fn out_bytes(bytes: &[u8]) -> Result<()> {
    match io::stdout().lock().write_all(bytes) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|error| {
            let error: CommandError = error.into();
            CommandError { message: "cannot write to standard output".into(), ..error }
        }),
    }
}

/// Whether anybody reads our standard output still.
pub fn is_read() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stdout = io::stdout();
    let mut entry = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut entry, Some(&now)).is_err() || !entry[0].revents().contains(PollFlags::ERR)
}

/// Writes a line to stderr. Nobody can be told when that fails.
pub fn note(text: impl fmt::Display) {
    // One write: standard error has no buffer, and a line must not be mixed with others' in the middle.
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Writes part of a line to stderr, as a prompt is.
pub fn note_part(text: impl fmt::Display) {
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{text}");
    let _ = stderr.flush();
}

/// Writes a warning to stderr.
pub fn warn(text: impl fmt::Display) {
    note(format_args!("{}: {text}", paint("warning", "33")));
}

/// Writes an error and its hints to stderr.
pub fn error(error: &CommandError) {
    note(format_args!("{}: {}", paint("error", "31"), Escaped(&error.text())));
    for hint in &error.hints {
        note(format_args!("{}: {}", paint("hint", "36"), Escaped(hint)));
    }
}

/// `text` in an ANSI colour when stderr is a terminal that wants colours (<https://no-color.org>).
fn paint(text: &str, colour: &str) -> String {
    if io::stderr().is_terminal() && crate::config::colours_wanted() {
        format!("\x1b[1;{colour}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// Text from outside, made safe for a terminal: control characters but line feeds and tabs are shown, not obeyed.
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\n' | '\t' => write!(f, "{character}")?,
                _ if character.is_control() || is_bidi(character) => {
                    write!(f, "{}", character.escape_unicode())?;
                }
                _ => write!(f, "{character}")?,
            }
        }
        Ok(())
    }
}

/// Characters that turn the direction of the text around them, by which a listing can be made to lie.
fn is_bidi(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_a_terminal_would_obey() {
        assert_eq!(Escaped("a\x1b[31mb\r\n").to_string(), "a\\u{1b}[31mb\\u{d}\n");
        assert_eq!(Escaped("x\u{202e}y").to_string(), "x\\u{202e}y");
        assert_eq!(Escaped("ünï").to_string(), "ünï");
    }

    #[test]
    fn json_means_the_same_and_is_not_obeyed() {
        let value = serde_json::json!({"x": "\u{1b}[31m\u{9b}2J\u{202e}ü"});
        let text = escape_json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{202e}']) && text.contains("\\u009b2J\\u202eü"), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
