//! What our agent says (draft-miller-ssh-agent): which keys it has, and signatures by them. Everything else that an
//! agent may be asked, to take or drop keys or to be locked, it refuses: the keys are the user's, not the step's.

use std::io::{self, Read, Write};

use super::key::PrivateKey;
use super::wire::{Wire, put};

/// Longest message; OpenSSH's agent has the same limit.
const MESSAGE_MAX: u32 = 256 << 10;

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

/// Answers requests until the other side ends.
///
/// # Errors
/// A connection that breaks, a message that is too long.
pub fn serve(mut stream: impl Read + Write, keys: &[PrivateKey]) -> io::Result<()> {
    loop {
        let mut length = [0; 4];
        match stream.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            result => result?,
        }
        let length = u32::from_be_bytes(length);
        if length > MESSAGE_MAX {
            return Err(io::Error::other("a message that is too long"));
        }
        let mut request = vec![0; length as usize];
        stream.read_exact(&mut request)?;
        let mut message = Vec::new();
        put(&mut message, &answer(&request, keys));
        stream.write_all(&message)?;
    }
}

/// The answer to one request.
fn answer(request: &[u8], keys: &[PrivateKey]) -> Vec<u8> {
    let found = match request.split_first() {
        Some((&REQUEST_IDENTITIES, _)) => Some(identities(keys)),
        Some((&SIGN_REQUEST, rest)) => signature(Wire(rest), keys),
        _ => None,
    };
    found.unwrap_or_else(|| vec![FAILURE])
}

fn identities(keys: &[PrivateKey]) -> Vec<u8> {
    let mut out = vec![IDENTITIES_ANSWER];
    out.extend(u32::try_from(keys.len()).unwrap_or(0).to_be_bytes());
    for key in keys {
        put(&mut out, key.public());
        put(&mut out, key.comment().as_bytes());
    }
    out
}

fn signature(mut request: Wire<'_>, keys: &[PrivateKey]) -> Option<Vec<u8>> {
    let (public, data, flags) = (request.string()?, request.string()?, request.number()?);
    let signature = keys.iter().find(|key| key.public() == public)?.sign(data, flags)?;
    let mut out = vec![SIGN_RESPONSE];
    put(&mut out, &signature);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_question_for_keys_is_refused() {
        // Remove all identities, lock, add a key, an extension, cut and empty messages, a signature by no key of ours.
        for request in [&[19][..], &[22, 0, 0, 0, 0], &[17], &[27, 0, 0, 0, 1, b'x'], &[13, 0, 0, 0, 9], &[], &[255]] {
            assert_eq!(answer(request, &[]), [FAILURE], "{request:?}");
        }
        let mut sign = vec![SIGN_REQUEST];
        put(&mut sign, b"key");
        put(&mut sign, b"data");
        sign.extend([0; 4]);
        assert_eq!(answer(&sign, &[]), [FAILURE]);
        assert_eq!(answer(&[REQUEST_IDENTITIES], &[]), [IDENTITIES_ANSWER, 0, 0, 0, 0]);
    }

    #[test]
    fn messages_have_their_length_before_them() {
        struct Both(io::Cursor<Vec<u8>>, Vec<u8>);
        impl Read for Both {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0.read(buffer)
            }
        }
        impl Write for Both {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.1.write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let asked = |bytes: &[u8]| {
            let mut both = Both(io::Cursor::new(bytes.to_vec()), Vec::new());
            let result = serve(&mut both, &[]);
            (result.is_ok(), both.1)
        };
        assert_eq!(asked(&[0, 0, 0, 1, 11]), (true, vec![0, 0, 0, 5, 12, 0, 0, 0, 0]));
        assert_eq!(asked(&[0, 0, 0, 1, 19, 0, 0, 0, 0]), (true, vec![0, 0, 0, 1, 5, 0, 0, 0, 1, 5]));
        assert_eq!(asked(&[0, 16, 0, 0, 1]), (false, Vec::new()));
    }
}
