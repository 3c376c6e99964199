//! A private key that signs: read from a file, checked, with its public half and its signatures as SSH writes them
//! (RFC 4253, 5656, 8332 and 8709). The arithmetic is ring's, which TLS to registries uses as well.

use ring::rand::SystemRandom;
use ring::rsa::{KeyPairComponents, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaKeyPair,
};

use super::pem::{self, Curve, Material, Refused};
use super::wire::{put, put_integer};

/// Flags of a request to sign: which hash an RSA key is to use. Without either it would be SHA-1, which is refused.
const RSA_SHA256: u32 = 2;
const RSA_SHA512: u32 = 4;

/// A private key.
pub struct PrivateKey {
    pair: Pair,
    public: Vec<u8>,
    comment: String,
    /// The number that must not become known.
    secret: Vec<u8>,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair, Curve),
    Rsa(Box<RsaKeyPair>),
}

impl Curve {
    /// As it is called in the names of SSH.
    fn name(self) -> &'static str {
        match self {
            Self::P256 => "nistp256",
            Self::P384 => "nistp384",
        }
    }

    /// Bytes of a coordinate.
    fn size(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }
}

impl PrivateKey {
    /// The key in a file.
    ///
    /// # Errors
    /// See [`Refused`]; numbers that make no key are none.
    pub fn read(text: &[u8]) -> Result<Self, Refused> {
        let (material, comment) = pem::read(text)?;
        let mut public = Vec::new();
        let (pair, secret) = match material {
            Material::Ed25519 { seed } => {
                let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| Refused::NoKey)?;
                put(&mut public, b"ssh-ed25519");
                put(&mut public, pair.public_key().as_ref());
                (Pair::Ed25519(pair), seed)
            }
            Material::Ecdsa { curve, private, public: point } => {
                let algorithm = match curve {
                    Curve::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
                    Curve::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
                };
                let private = padded(&private, curve.size()).ok_or(Refused::NoKey)?;
                let random = SystemRandom::new();
                let pair = EcdsaKeyPair::from_private_key_and_public_key(algorithm, &private, &point, &random);
                put(&mut public, format!("ecdsa-sha2-{}", curve.name()).as_bytes());
                put(&mut public, curve.name().as_bytes());
                put(&mut public, &point);
                (Pair::Ecdsa(pair.map_err(|_| Refused::NoKey)?, curve), private)
            }
            Material::Rsa { n, e, d, p, q, exponents, inverse } => {
                put(&mut public, b"ssh-rsa");
                put_integer(&mut public, &e);
                put_integer(&mut public, &n);
                let bits = n.len() * 8;
                let [dp, dq] = match exponents {
                    Some(both) => both,
                    None => [exponent(&d, &p).ok_or(Refused::NoKey)?, exponent(&d, &q).ok_or(Refused::NoKey)?],
                };
                let components = KeyPairComponents {
                    public_key: PublicKeyComponents { n, e },
                    d: d.clone(),
                    p,
                    q,
                    dP: dp,
                    dQ: dq,
                    qInv: inverse,
                };
                let pair = match RsaKeyPair::from_components(&components) {
                    Ok(pair) => pair,
                    Err(_) if (2048..=4096).contains(&bits) => return Err(Refused::NoKey),
                    Err(_) => return Err(Refused::Kind(format!("RSA with {bits} bits"))),
                };
                (Pair::Rsa(Box::new(pair)), d)
            }
        };
        Ok(Self { pair, public, comment, secret })
    }

    /// The public key, by which it is asked for.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// What the file calls it.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// The bytes that must not be in an image.
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// The signature of `data`, with the name of its kind before it. None if the flags want one that is not made.
    pub fn sign(&self, data: &[u8], flags: u32) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        let (name, signature) = match &self.pair {
            Pair::Ed25519(pair) => ("ssh-ed25519".to_owned(), pair.sign(data).as_ref().to_vec()),
            Pair::Ecdsa(pair, curve) => {
                let fixed = pair.sign(&random, data).ok()?;
                let (r, s) = fixed.as_ref().split_at_checked(curve.size())?;
                let mut both = Vec::new();
                put_integer(&mut both, r);
                put_integer(&mut both, s);
                (format!("ecdsa-sha2-{}", curve.name()), both)
            }
            Pair::Rsa(pair) => {
                let (name, padding): (_, &dyn ring::signature::RsaEncoding) = match flags {
                    flags if flags & RSA_SHA512 != 0 => ("rsa-sha2-512", &RSA_PKCS1_SHA512),
                    flags if flags & RSA_SHA256 != 0 => ("rsa-sha2-256", &RSA_PKCS1_SHA256),
                    _ => return None,
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, data, &mut signature).ok()?;
                (name.to_owned(), signature)
            }
        };
        let mut out = Vec::new();
        put(&mut out, name.as_bytes());
        put(&mut out, &signature);
        Some(out)
    }
}

/// A number with so many bytes, zeros in front.
fn padded(number: &[u8], size: usize) -> Option<Vec<u8>> {
    let zeros = size.checked_sub(number.len())?;
    Some([vec![0; zeros], number.to_vec()].concat())
}

/// `d` modulo `prime - 1`, by long division in binary: OpenSSH's files leave it out and ring asks for it.
fn exponent(d: &[u8], prime: &[u8]) -> Option<Vec<u8>> {
    // A prime is odd, so that nothing is carried.
    let mut modulus = prime.to_vec();
    *modulus.last_mut().filter(|byte| **byte & 1 == 1)? -= 1;
    let size = modulus.len() + 1;
    let modulus = padded(&modulus, size)?;
    if modulus.iter().all(|byte| *byte == 0) {
        return None;
    }
    let mut rest = vec![0_u8; size];
    for bit in d.iter().flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1)) {
        let mut carried = bit;
        for byte in rest.iter_mut().rev() {
            (*byte, carried) = (*byte << 1 | carried, *byte >> 7);
        }
        if rest >= modulus {
            let mut borrowed = false;
            for (byte, less) in rest.iter_mut().zip(&modulus).rev() {
                let (one, under) = byte.overflowing_sub(*less);
                let (two, again) = one.overflowing_sub(u8::from(borrowed));
                (*byte, borrowed) = (two, under || again);
            }
        }
    }
    Some(super::wire::trim(&rest).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_by_small_numbers() {
        for (d, prime) in [(1_000_003_u64, 251_u64), (5, 7), (6, 7), (12, 7), (u64::MAX, 65_521), (0, 3)] {
            let bytes = |number: u64| super::super::wire::trim(&number.to_be_bytes()).to_vec();
            assert_eq!(exponent(&bytes(d), &bytes(prime)).unwrap(), bytes(d % (prime - 1)), "{d} {prime}");
        }
        assert!(exponent(&[1], &[]).is_none() && exponent(&[1], &[4]).is_none() && exponent(&[1], &[1]).is_none());
    }
}
