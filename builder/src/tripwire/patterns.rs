//! The forms in which a secret may turn up: as it is, and in base64 (which depends on what stands before it), hex and
//! URL encoding.
//!
//! Encoders break lines. A long secret is therefore looked for, in encoded form, by two windows from its middle that
//! are short enough for one of them to lie between two breaks; from its middle, since keys and certificates all begin
//! and end alike.

/// Shortest secret looked for, in bytes: shorter ones turn up by chance.
pub(super) const SECRET_MIN: usize = 6;
/// Bytes of one window.
const WINDOW: usize = 15;

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// One form: its bytes, and its name if it is an encoding.
pub(super) type Pattern = (Vec<u8>, Option<&'static str>);

/// All forms of a secret; none if it is too short. The line feed that files end with is no part of it.
pub(super) fn of(secret: &[u8]) -> Vec<Pattern> {
    let secret = secret.strip_suffix(b"\n").unwrap_or(secret);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    if secret.len() < SECRET_MIN {
        return Vec::new();
    }
    let mut found: Vec<Pattern> = vec![(secret.to_vec(), None)];
    for piece in pieces(secret) {
        for alphabet in [STANDARD, URL_SAFE] {
            found.extend((0..3).map(|before| (base64(piece, before, alphabet), Some("base64"))));
        }
        for digits in [b"0123456789abcdef", b"0123456789ABCDEF"] {
            let hex = piece.iter().flat_map(|byte| [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]);
            found.push((hex.collect(), Some("hex")));
            found.push((url(piece, digits, b"-_.~"), Some("URL-encoded")));
            // As JavaScript's encodeURI and shells' helpers leave more as it is, and forms write blanks as `+`.
            found.push((url(piece, digits, b"-_.~!*'()"), Some("URL-encoded")));
            found.push((url(piece, digits, b"-_.~/:@"), Some("URL-encoded")));
        }
    }
    // What an encoding leaves as it is has no form of its own.
    let mut seen = std::collections::HashSet::new();
    found.retain(|(bytes, _)| seen.insert(bytes.clone()));
    found
}

fn pieces(secret: &[u8]) -> Vec<&[u8]> {
    if secret.len() <= 2 * WINDOW {
        return vec![secret];
    }
    let middle = secret.len() / 2;
    vec![&secret[middle - WINDOW..middle], &secret[middle..middle + WINDOW]]
}

/// The characters of the base64 of `piece`, with `before` bytes of something else before it, that depend on nothing but
/// the piece.
fn base64(piece: &[u8], before: usize, alphabet: &[u8; 64]) -> Vec<u8> {
    let bits =
        |at: usize| -> u32 { at.checked_sub(before).and_then(|at| piece.get(at)).map_or(0, |byte| u32::from(*byte)) };
    // Character n covers the bits from 6n on; only those wholly inside the piece are known.
    let first = (before * 8).div_ceil(6);
    let last = (before + piece.len()) * 8 / 6;
    let character = |n: usize| {
        let (byte, shift) = (n * 6 / 8, n * 6 % 8);
        let two = bits(byte) << 8 | bits(byte + 1);
        alphabet[(two >> (10 - shift) & 63) as usize]
    };
    (first..last).map(character).collect()
}

fn url(piece: &[u8], digits: &[u8; 16], kept: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for &byte in piece {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            out.push(byte);
        } else {
            out.extend([b'%', digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_in_its_three_alignments() {
        // By base64(1): printf 'hunter2!' ; printf 'xhunter2!' ; printf 'xxhunter2!y'.
        assert_eq!(base64(b"hunter2!", 0, STANDARD), b"aHVudGVyMi");
        for (before, whole) in [(0, "aHVudGVyMiE="), (1, "eGh1bnRlcjIh"), (2, "eHhodW50ZXIyIXk=")] {
            let part = base64(b"hunter2!", before, STANDARD);
            assert!(part.len() >= 9 && whole.contains(std::str::from_utf8(&part).unwrap()), "{before}");
        }
    }

    #[test]
    fn short_ones_are_not_looked_for_and_long_ones_by_their_middle() {
        assert!(of(b"short\n").is_empty());
        let long: Vec<u8> = (0..200).collect();
        let patterns = of(&long);
        assert_eq!(patterns[0], (long, None));
        assert!(patterns[1..].iter().all(|(bytes, form)| bytes.len() <= WINDOW * 3 && form.is_some()));
        assert!(of(b"p@ss w/rd").iter().any(|(bytes, _)| bytes == b"p%40ss%20w%2Frd"));
        assert!(of(b"p@ss w/rd").iter().any(|(bytes, _)| bytes == b"p%40ss%20w%2frd"));
    }
}
