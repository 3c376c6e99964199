//! The keys that detach a client from a terminal, ctrl-p ctrl-q unless said otherwise. Pure.
//!
//! [`DetachKeys`] watches what is typed: a started sequence is held back, and passed on in full as soon as it turns out to
//! be something else, so nothing typed is ever lost.

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
    /// The keys as the bytes a terminal sends for them ([`crate::spec::parse::detach_keys`]); none at all means that nothing detaches.
    pub fn new(sequence: Vec<u8>) -> Self {
        Self { sequence, matched: 0 }
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

    /// Whether something typed is held back.
    pub fn holds(&self) -> bool {
        self.matched > 0
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
    fn nothing_typed_is_lost() {
        let mut keys = DetachKeys::default();
        assert_eq!(keys.filter(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(keys.filter(b"\x10c"), (b"\x10\x10c".to_vec(), false));
        assert_eq!(keys.filter(b"\x10"), (vec![], false));
        assert_eq!(keys.filter(b"\x11rest"), (vec![], true));
        assert_eq!(keys.filter(b"\x10"), (vec![], false));
        assert_eq!(keys.finish(), b"\x10");
        let mut keys = DetachKeys::new(b"aab".to_vec());
        assert_eq!(keys.filter(b"aaab"), (b"a".to_vec(), true));
        let mut none = DetachKeys::new(Vec::new());
        assert_eq!(none.filter(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
        assert!(none.finish().is_empty());
    }
}
