//! Variable expansion: the first byte says how, the rest is the text.

use builder::buildfile::expand::Expander;

pub fn run(bytes: &[u8]) {
    let Some((how, text)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let expander = Expander {
        escape: if how & 1 == 0 { '\\' } else { '`' },
        keep_quotes: how & 2 != 0,
        keep_escapes: how & 4 != 0,
        ignore_quotes: how & 8 != 0,
        keep_unset: how & 16 != 0,
    };
    let lookup = |name: &str| match name {
        "empty" => Some(String::new()),
        "a" => Some("value/with.dots and blanks".to_owned()),
        name if name.len() > 2 => Some(name.repeat(3)),
        _ => None,
    };
    let _ = expander.expand(text, &lookup);
}
