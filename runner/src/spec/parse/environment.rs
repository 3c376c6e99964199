//! Environment variables and labels: `-e`, `--env-file`, `key=value`.

use super::{Error, Result};

/// The largest environment file that is read.
const MAX_FILE: usize = 1 << 20;

/// `-e`: `NAME=value`, `NAME` (the value the caller has, nothing if it has none) or `NAME*` (all the caller has that begin so).
/// `host` is the caller's environment.
pub fn environment(text: &str, host: &[(String, String)]) -> Result<Vec<(String, String)>> {
    entry("environment variable", text, text, host)
}

fn entry(what: &'static str, whole: &str, text: &str, host: &[(String, String)]) -> Result<Vec<(String, String)>> {
    let error = |reason: &str| Error::invalid(what, whole, reason);
    if text.contains('\0') {
        return Err(error("it holds a zero byte"));
    }
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    if name.is_empty() {
        return Err(error("it has no name").with_hint("the form is NAME=value"));
    }
    Ok(match (value, name.strip_suffix('*')) {
        (Some(value), _) => vec![(name.to_owned(), value.to_owned())],
        (None, Some(prefix)) => host.iter().filter(|(name, _)| name.starts_with(prefix)).cloned().collect(),
        (None, None) => host.iter().filter(|(known, _)| known == name).cloned().collect(),
    })
}

/// `--env-file` by Docker's rules: one variable a line, taken as it is (quotes are part of the value); lines that are empty or begin
/// with `#` are skipped; a name alone takes the caller's value.
pub fn environment_file(path: &str, content: &[u8], host: &[(String, String)]) -> Result<Vec<(String, String)>> {
    const WHAT: &str = "environment file";
    let error = |reason: String| Error::invalid(WHAT, path, reason);
    if content.len() > MAX_FILE {
        return Err(error(format!("it has more than {MAX_FILE} bytes")));
    }
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let mut all = Vec::new();
    for (index, line) in content.split(|&byte| byte == b'\n').enumerate() {
        let number = index + 1;
        let line = std::str::from_utf8(line).map_err(|_| error(format!("line {number} is not UTF-8")))?;
        let line = line.strip_suffix('\r').unwrap_or(line).trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or_default();
        if name.contains(char::is_whitespace) {
            let hint = "quotes and `export` are not understood here, as with docker";
            return Err(error(format!("line {number}: the name `{name}` holds a blank")).with_hint(hint));
        }
        if name.is_empty() {
            return Err(error(format!("line {number} has no name")));
        }
        all.extend(entry(WHAT, path, line, host)?);
    }
    Ok(all)
}

/// `key=value`, for labels, annotations, sysctls and driver options; the value may be empty or missing.
pub fn key_value(what: &'static str, text: &str) -> Result<(String, String)> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.trim().is_empty() {
        return Err(Error::invalid(what, text, "it has no key").with_hint("the form is key=value"));
    }
    if text.contains('\0') {
        return Err(Error::invalid(what, text, "it holds a zero byte"));
    }
    Ok((key.to_owned(), value.to_owned()))
}
