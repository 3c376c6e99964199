//! One line of the log: written and read, in each of the forms that there are.
//!
//! Text that is not UTF-8 is replaced sign by sign in JSON, as Docker does, and stands beside it byte by byte (`"hex"`), which
//! Docker loses; the form of Kubernetes takes any bytes.

use std::io::Write as _;

use serde::Deserialize;

use super::{Entry, LineForm, Stream};

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

#[derive(Deserialize)]
struct Line {
    log: String,
    #[serde(default)]
    hex: Option<String>,
    stream: Stream,
    time: String,
}

impl LineForm {
    /// Appends a line to `out`; without a newline at its end `text` is a part of one.
    pub(super) fn write(self, out: &mut Vec<u8>, stream: Stream, text: &[u8], time: &str) {
        match self {
            Self::Json => write_json(out, stream, text, time),
            Self::Kubernetes => {
                let (whole, text) = text.strip_suffix(b"\n").map_or(("P", text), |text| ("F", text));
                let _ = write!(out, "{time} {} {whole} ", stream.name());
                out.extend_from_slice(text);
                out.push(b'\n');
            }
        }
    }

    /// Reads a line; `None` if it is none of ours.
    pub(super) fn read(self, line: &[u8]) -> Option<Entry> {
        match self {
            Self::Json => {
                let Line { log, hex, stream, time } = serde_json::from_slice(line).ok()?;
                let raw = hex.as_deref().and_then(bytes_of);
                Some(Entry { text: log, raw, stream, time })
            }
            Self::Kubernetes => read_kubernetes(line),
        }
    }
}

fn write_json(out: &mut Vec<u8>, stream: Stream, text: &[u8], time: &str) {
    out.extend_from_slice(b"{\"log\":");
    escape(out, &String::from_utf8_lossy(text));
    if std::str::from_utf8(text).is_err() {
        out.extend_from_slice(b",\"hex\":\"");
        for byte in text {
            let _ = write!(out, "{byte:02x}");
        }
        out.push(b'"');
    }
    let _ = writeln!(out, ",\"stream\":\"{}\",\"time\":\"{time}\"}}", stream.name());
}

fn read_kubernetes(line: &[u8]) -> Option<Entry> {
    let mut parts = line.strip_suffix(b"\n")?.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?.to_owned();
    let stream = match parts.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    // Tags may follow after a colon.
    let whole = match parts.next()?.split(|byte| *byte == b':').next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    let mut bytes = parts.next()?.to_vec();
    if whole {
        bytes.push(b'\n');
    }
    Some(match String::from_utf8(bytes) {
        Ok(text) => Entry { text, raw: None, stream, time },
        Err(error) => {
            let bytes = error.into_bytes();
            Entry { text: String::from_utf8_lossy(&bytes).into_owned(), raw: Some(bytes), stream, time }
        }
    })
}

/// The bytes of hexadecimal digits; `None` if they are none.
fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = hex.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    digits.chunks(2).map(|pair| u8::try_from(pair.first()? * 16 + pair.get(1)?).ok()).collect()
}

/// A JSON string (RFC 8259), control characters escaped.
fn escape(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            c if (c as u32) < 0x20 || c == '\u{2028}' || c == '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// Nanoseconds since 1970 as RFC 3339 in UTC.
pub(super) fn timestamp(nanos: u64) -> String {
    let (seconds, nanos) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Civil date from days since 1970-01-01, counting years from March so that the leap day comes last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{nanos:09}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(form: LineForm, text: &[u8]) -> (Vec<u8>, Entry) {
        let mut line = Vec::new();
        form.write(&mut line, Stream::Stderr, text, "2026-01-02T03:04:05.000000006Z");
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "{line:?}");
        let entry = form.read(&line).expect("a line of ours");
        assert_eq!((entry.stream, entry.time.as_str()), (Stream::Stderr, "2026-01-02T03:04:05.000000006Z"));
        (line, entry)
    }

    #[test]
    fn each_form_brings_back_what_was_written() {
        for form in [LineForm::Json, LineForm::Kubernetes] {
            for text in ["a\n", "no end", " two  spaces \n", "\t\"\\\r\n", "\n", "é\u{2028}\n"] {
                assert_eq!(there_and_back(form, text.as_bytes()).1.bytes(), text.as_bytes(), "{form:?}");
            }
            assert_eq!(there_and_back(form, b"\0\xff\n").1.bytes(), b"\0\xff\n");
            assert!(form.read(b"{cut\n").is_none() && form.read(b"\n").is_none());
        }
    }

    #[test]
    fn the_form_of_kubernetes() {
        let (line, _) = there_and_back(LineForm::Kubernetes, b"whole\n");
        assert_eq!(line, b"2026-01-02T03:04:05.000000006Z stderr F whole\n");
        let (line, _) = there_and_back(LineForm::Kubernetes, b"part");
        assert_eq!(line, b"2026-01-02T03:04:05.000000006Z stderr P part\n");
        let tagged = LineForm::Kubernetes.read(b"2026-01-02T03:04:05+00:00 stdout P:x:y part\n").unwrap();
        assert_eq!(tagged.text, "part");
    }

    #[test]
    fn dates() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(timestamp(951_782_400_000_000_001), "2000-02-29T00:00:00.000000001Z");
        assert_eq!(timestamp(1_735_689_599_999_999_999), "2024-12-31T23:59:59.999999999Z");
    }
}
