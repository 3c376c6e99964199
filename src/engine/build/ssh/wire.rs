//! The data types of SSH (RFC 4251, section 5): numbers of four bytes, strings with their length before them, and
//! integers of any length. Keys, signatures and the messages of agents are made of them.

/// Reads from the front of some bytes; None where they end too soon.
pub struct Wire<'a>(pub &'a [u8]);

impl<'a> Wire<'a> {
    /// So many bytes.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A `uint32`.
    pub fn number(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// A `string`.
    pub fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(usize::try_from(length).ok()?)
    }

    /// An `mpint` that is not negative, without the zeros in front.
    pub fn integer(&mut self) -> Option<&'a [u8]> {
        let bytes = self.string()?;
        if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { None } else { Some(trim(bytes)) }
    }
}

/// Writes a `string`. Longer ones than its length can say do not come up: all are of keys and of messages.
pub fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(bytes);
}

/// Writes an `mpint`, which is not negative.
pub fn put_integer(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut bytes = trim(bytes).to_vec();
    if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
        bytes.insert(0, 0);
    }
    put(out, &bytes);
}

/// A number without the zeros in front.
pub fn trim(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_as_in_the_examples_of_the_rfc() {
        for (number, written) in [
            (&[][..], &[0, 0, 0, 0][..]),
            (
                &[9, 0xa3, 0x78, 0xf9, 0xb2, 0xe3, 0x32, 0xa7],
                &[0, 0, 0, 8, 9, 0xa3, 0x78, 0xf9, 0xb2, 0xe3, 0x32, 0xa7],
            ),
            (&[0x80], &[0, 0, 0, 2, 0, 0x80]),
        ] {
            let mut out = Vec::new();
            put_integer(&mut out, number);
            assert_eq!(out, written);
            assert_eq!(Wire(&out).integer().unwrap(), number);
        }
        assert!(Wire(&[0, 0, 0, 2, 0xed, 0xcc]).integer().is_none(), "a negative one");
        assert!(Wire(&[0, 0, 0, 5, 1, 2]).string().is_none() && Wire(&[0, 0]).number().is_none());
    }
}
