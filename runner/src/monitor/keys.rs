//! The keys that detach a client from a terminal, ctrl-p ctrl-q unless said otherwise. Pure.
//!
//! [`DetachKeys`] watches what is typed: a started sequence is held back, and passed on in full as soon as it turns out to
//! be something else, so nothing typed is ever lost.

use crate::error::{Error, Result};

/// Watches typed bytes for the sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKeys {
    sequence: Vec<u8>,
    matched: usize,
}

impl Default for DetachKeys {
    fn default() -> Self {
        Self { sequence: vec![16, 17], matched: 0 }
    }
}

impl DetachKeys {
    /// Reads a sequence as Docker writes it: `ctrl-p,ctrl-q`, `a`, `ctrl-@`, `ctrl-[`, `ctrl-\`, `ctrl-]`, `ctrl-^`, `ctrl-_`, with commas between. An
    /// empty text means that no key detaches.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the key that is none.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self { sequence: Vec::new(), matched: 0 });
        }
        let key = |word: &str| {
            let lower = word.to_ascii_lowercase();
            match (word.as_bytes(), lower.strip_prefix("ctrl-").map(str::as_bytes)) {
                ([byte @ b' '..=b'~'], _) => Some(*byte),
                (_, Some([b'@'])) => Some(0),
                (_, Some([letter @ b'a'..=b'z'])) => Some(letter - b'a' + 1),
                (_, Some([sign @ (b'[' | b'\\' | b']' | b'^' | b'_')])) => Some(sign - b'@'),
                _ => None,
            }
        };
        let sequence = text
            .split(',')
            .map(|word| key(word).ok_or_else(|| Error::invalid(format!("`{word}` is not a key for detaching"))))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { sequence, matched: 0 })
    }

    /// Takes what was typed and gives what is to be passed on, and whether the sequence was completed: then the rest is dropped.
    pub fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        if self.sequence.is_empty() {
            return (typed.to_vec(), false);
        }
        let mut passed = Vec::with_capacity(typed.len());
        for byte in typed {
            while self.matched > 0 && self.sequence[self.matched] != *byte {
                self.fall_back(&mut passed);
            }
            if self.sequence[self.matched] == *byte {
                self.matched += 1;
                if self.matched == self.sequence.len() {
                    self.matched = 0;
                    return (passed, true);
                }
            } else {
                passed.push(*byte);
            }
        }
        (passed, false)
    }

    /// Passes on what is held back, for when nothing more will be typed.
    pub fn finish(&mut self) -> Vec<u8> {
        let held = self.sequence[..self.matched].to_vec();
        self.matched = 0;
        held
    }

    /// The held bytes do not go on as hoped: passes on the first ones, keeps the longest end that still may.
    fn fall_back(&mut self, passed: &mut Vec<u8>) {
        let held = &self.sequence[..self.matched];
        let keep = (1..held.len()).find(|drop| self.sequence.starts_with(&held[*drop..])).unwrap_or(held.len());
        passed.extend_from_slice(&held[..keep]);
        self.matched -= keep;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_read() {
        assert_eq!(DetachKeys::parse("ctrl-p,ctrl-q").unwrap(), DetachKeys::default());
        assert_eq!(DetachKeys::parse("ctrl-@,x,ctrl-[,ctrl-_").unwrap().sequence, [0, b'x', 27, 31]);
        for bad in ["ctrl-", "ctrl-1", "xy", "a,,b", "é"] {
            assert!(DetachKeys::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_typed_is_lost() {
        let mut keys = DetachKeys::default();
        assert_eq!(keys.filter(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(keys.filter(b"\x10c"), (b"\x10\x10c".to_vec(), false));
        assert_eq!(keys.filter(b"\x10"), (vec![], false));
        assert_eq!(keys.filter(b"\x11rest"), (vec![], true));
        assert_eq!(keys.filter(b"\x10"), (vec![], false));
        assert_eq!(keys.finish(), b"\x10");
        let mut keys = DetachKeys::parse("a,a,b").unwrap();
        assert_eq!(keys.filter(b"aaab"), (b"a".to_vec(), true));
        let mut none = DetachKeys::parse("").unwrap();
        assert_eq!(none.filter(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
        assert!(none.finish().is_empty());
    }
}
