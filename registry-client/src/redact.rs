//! Makes text from outside fit to be shown: no secrets, no control characters, no endless lines.
//!
//! URLs lose user, password and query (signed storage URLs carry their secret there); what a server says loses
//! everything that a terminal might obey.

use reqwest::Url;

/// The longest text of a server that is repeated in an error.
const SAID: usize = 300;

/// `url` without user, password, query and fragment.
pub(crate) fn url(url: &Url) -> String {
    let mut clean = url.clone();
    // Neither can fail for the http and https URLs we deal in; a URL that has no host has no user either.
    let _ = clean.set_username("");
    let _ = clean.set_password(None);
    clean.set_query(None);
    clean.set_fragment(None);
    clean.to_string()
}

/// `text` on one line, without control and direction characters, cut to a few hundred characters.
pub(crate) fn text(text: &str) -> String {
    let mut clean = String::new();
    for (count, character) in text.trim().chars().enumerate() {
        if count == SAID {
            clean.push('…');
            break;
        }
        let harmful = character.is_control()
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
        clean.push(if harmful { ' ' } else { character });
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_their_secrets() {
        let signed = Url::parse("https://user:pw@cdn.example/x/y?X-Signature=secret#frag").unwrap();
        assert_eq!(url(&signed), "https://cdn.example/x/y");
    }

    #[test]
    fn text_cannot_drive_a_terminal() {
        assert_eq!(text("a\x1b[31mb\r\nc\u{202e}d\u{9b}e"), "a [31mb  c d e");
        assert_eq!(text(&"x".repeat(1000)).chars().count(), SAID + 1);
    }
}
