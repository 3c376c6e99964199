//! Private keys as they lie in files: OpenSSH's own form (PROTOCOL.key), and the older ones that OpenSSL writes, PKCS #1
//! for RSA, SEC 1 for elliptic curves and PKCS #8 for all. Encrypted ones are told apart and refused: a build has nobody
//! who types a passphrase.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::wire::{Wire, trim};

/// The numbers that a key consists of.
pub enum Material {
    /// An Ed25519 key is the 32 bytes that all else follows from.
    Ed25519 { seed: Vec<u8> },
    /// An elliptic curve, named as SSH does, the secret number, and the point as its two coordinates after a 4.
    Ecdsa { curve: Curve, private: Vec<u8>, public: Vec<u8> },
    /// RSA as PKCS #1 has it; OpenSSH leaves out the two exponents.
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
        d: Vec<u8>,
        p: Vec<u8>,
        q: Vec<u8>,
        exponents: Option<[Vec<u8>; 2]>,
        inverse: Vec<u8>,
    },
}

/// The curves that signatures can be made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// `nistp256`
    P256,
    /// `nistp384`
    P384,
}

/// Why a file is not used as a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// It has a passphrase.
    Encrypted,
    /// It is a key of a kind that is not signed with.
    Kind(String),
    /// It is no private key, or a broken one.
    NoKey,
}

/// The key in a file, and its comment.
///
/// # Errors
/// See [`Refused`].
pub fn read(text: &[u8]) -> Result<(Material, String), Refused> {
    let text = std::str::from_utf8(text).map_err(|_| Refused::NoKey)?;
    let (label, encrypted, bytes) = frame(text).ok_or(Refused::NoKey)?;
    let der = |found: Option<Material>| found.map(|material| (material, String::new())).ok_or(Refused::NoKey);
    match label {
        "ENCRYPTED PRIVATE KEY" => Err(Refused::Encrypted),
        _ if encrypted => Err(Refused::Encrypted),
        "OPENSSH PRIVATE KEY" => openssh(&bytes),
        "RSA PRIVATE KEY" => der(pkcs1(&bytes)),
        "EC PRIVATE KEY" => sec1(&bytes, None).and_then(|material| der(Some(material))),
        "PRIVATE KEY" => pkcs8(&bytes).and_then(|material| der(Some(material))),
        "DSA PRIVATE KEY" => Err(Refused::Kind("DSA".to_owned())),
        _ => Err(Refused::NoKey),
    }
}

/// The first armoured text: its label, whether its headers say that it is encrypted (RFC 1421), and its bytes.
fn frame(text: &str) -> Option<(&str, bool, Vec<u8>)> {
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    // Base64 has no colons.
    let (headers, body): (Vec<&str>, Vec<&str>) = body.lines().partition(|line| line.contains(':'));
    let encrypted = headers.iter().any(|header| header.contains("ENCRYPTED"));
    let packed: String = body.into_iter().map(str::trim).collect();
    Some((label, encrypted, STANDARD.decode(packed).ok()?))
}

/// OpenSSH's PROTOCOL.key.
fn openssh(bytes: &[u8]) -> Result<(Material, String), Refused> {
    let mut outer = Wire(bytes.strip_prefix(b"openssh-key-v1\0").ok_or(Refused::NoKey)?);
    let cipher = outer.string().ok_or(Refused::NoKey)?;
    if cipher != b"none" {
        return Err(Refused::Encrypted);
    }
    let mut private = || {
        let (_kdf, _options) = (outer.string()?, outer.string()?);
        let (1, _public) = (outer.number()?, outer.string()?) else { return None };
        let mut private = Wire(outer.string()?);
        // Two equal numbers show that the passphrase was right.
        (private.number()? == private.number()?).then_some(private)
    };
    let mut private = private().ok_or(Refused::NoKey)?;
    let kind = private.string().ok_or(Refused::NoKey)?;
    let material = match kind {
        b"ssh-ed25519" => openssh_ed25519(&mut private),
        b"ssh-rsa" => openssh_rsa(&mut private),
        b"ecdsa-sha2-nistp256" => openssh_ecdsa(&mut private, Curve::P256),
        b"ecdsa-sha2-nistp384" => openssh_ecdsa(&mut private, Curve::P384),
        other => return Err(Refused::Kind(String::from_utf8_lossy(other).into_owned())),
    };
    let comment = private.string().map(|text| String::from_utf8_lossy(text).into_owned());
    Ok((material.ok_or(Refused::NoKey)?, comment.ok_or(Refused::NoKey)?))
}

fn openssh_ed25519(private: &mut Wire<'_>) -> Option<Material> {
    let _public = private.string()?;
    // The seed, and the public key once more.
    let seed = private.string()?.get(..32)?.to_vec();
    Some(Material::Ed25519 { seed })
}

fn openssh_ecdsa(private: &mut Wire<'_>, curve: Curve) -> Option<Material> {
    let (_name, public) = (private.string()?, private.string()?.to_vec());
    Some(Material::Ecdsa { curve, private: private.integer()?.to_vec(), public })
}

fn openssh_rsa(private: &mut Wire<'_>) -> Option<Material> {
    let mut next = || private.integer().map(<[u8]>::to_vec);
    let [n, e, d, inverse, p, q] = [next()?, next()?, next()?, next()?, next()?, next()?];
    Some(Material::Rsa { n, e, d, p, q, exponents: None, inverse })
}

/// One value of DER: its tag and its content. None where it ends too soon or is written as DER does not allow.
fn der<'a>(wire: &mut Wire<'a>) -> Option<(u8, &'a [u8])> {
    let &[tag, first] = wire.take(2)? else { return None };
    let length = match first {
        0..=0x7f => usize::from(first),
        0x81..=0x83 => {
            let bytes = wire.take(usize::from(first & 0x7f))?;
            bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
        }
        _ => return None,
    };
    Some((tag, wire.take(length)?))
}

const INTEGER: u8 = 2;
const BIT_STRING: u8 = 3;
const OCTET_STRING: u8 = 4;
const OID: u8 = 6;
const SEQUENCE: u8 = 0x30;

/// The content of the next value, if it has this tag.
fn tagged<'a>(wire: &mut Wire<'a>, tag: u8) -> Option<&'a [u8]> {
    der(wire).filter(|(found, _)| *found == tag).map(|(_, content)| content)
}

/// RFC 8017, A.1.2.
fn pkcs1(bytes: &[u8]) -> Option<Material> {
    let mut wire = Wire(tagged(&mut Wire(bytes), SEQUENCE)?);
    let mut next = || tagged(&mut wire, INTEGER).map(|number| trim(number).to_vec());
    // The version, 0: two primes.
    if !next()?.is_empty() {
        return None;
    }
    let [n, e, d, p, q, dp, dq, inverse] = [next()?, next()?, next()?, next()?, next()?, next()?, next()?, next()?];
    Some(Material::Rsa { n, e, d, p, q, exponents: Some([dp, dq]), inverse })
}

/// A curve by its object identifier (RFC 5480).
fn curve(oid: &[u8]) -> Result<Curve, Refused> {
    match oid {
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7] => Ok(Curve::P256),
        [0x2b, 0x81, 4, 0, 0x22] => Ok(Curve::P384),
        _ => Err(Refused::Kind("an elliptic curve other than P-256 and P-384".to_owned())),
    }
}

/// RFC 5915; the curve may be named outside.
fn sec1(bytes: &[u8], named: Option<&[u8]>) -> Result<Material, Refused> {
    let parts = || {
        let mut wire = Wire(tagged(&mut Wire(bytes), SEQUENCE)?);
        let (_version, private) = (tagged(&mut wire, INTEGER)?, tagged(&mut wire, OCTET_STRING)?);
        let (mut oid, mut public) = (named, None);
        while let Some((tag, content)) = der(&mut wire) {
            match tag {
                0xa0 => oid = tagged(&mut Wire(content), OID),
                // A count of unused bits comes first, none.
                0xa1 => public = tagged(&mut Wire(content), BIT_STRING)?.strip_prefix(&[0]),
                _ => return None,
            }
        }
        Some((oid?, private, public?))
    };
    let (oid, private, public) = parts().ok_or(Refused::NoKey)?;
    Ok(Material::Ecdsa { curve: curve(oid)?, private: trim(private).to_vec(), public: public.to_vec() })
}

/// RFC 5958.
fn pkcs8(bytes: &[u8]) -> Result<Material, Refused> {
    let parts = || {
        let mut wire = Wire(tagged(&mut Wire(bytes), SEQUENCE)?);
        let _version = tagged(&mut wire, INTEGER)?;
        let mut algorithm = Wire(tagged(&mut wire, SEQUENCE)?);
        Some((tagged(&mut algorithm, OID)?, algorithm, tagged(&mut wire, OCTET_STRING)?))
    };
    let (kind, mut parameters, key) = parts().ok_or(Refused::NoKey)?;
    match kind {
        // rsaEncryption, id-ecPublicKey, id-Ed25519
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1] => pkcs1(key).ok_or(Refused::NoKey),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1] => sec1(key, tagged(&mut parameters, OID)),
        [0x2b, 0x65, 0x70] => match tagged(&mut Wire(key), OCTET_STRING) {
            Some(seed) if seed.len() == 32 => Ok(Material::Ed25519 { seed: seed.to_vec() }),
            _ => Err(Refused::NoKey),
        },
        _ => Err(Refused::Kind("a PKCS #8 key of another algorithm than RSA, ECDSA and Ed25519".to_owned())),
    }
}
