//! Credentials in the kernel's keyring of the user: on no disk, read by no other user, gone with a reboot.
//!
//! One key for each registry, of type `user`, named by the prefix and the registry (`img:reg.example`), for plain HTTP with that scheme
//! (`img:http://10.0.0.2:5000`). The keyring takes the place of the file when
//! no helper is configured; where the kernel has none (or forbids it, as in many containers) the file is used.

mod sys;

use std::ffi::{CStr, CString};
use std::io;

use serde::{Deserialize, Serialize};

use crate::auth::credentials::{Credential, PLAIN, normal_key};
use crate::auth::helper::CredentialHelper;
use crate::error::{Error, Result};

/// The kernel's own limit on a key of type `user`.
const PAYLOAD_MAX: usize = 32_767;

/// The kernel's keyring as a place of credentials. `prefix` keeps those of one user of this crate apart.
#[derive(Debug, Clone)]
pub struct Keyring {
    prefix: String,
}

#[derive(Serialize, Deserialize)]
enum Payload {
    Password { username: String, password: String },
    IdentityToken(String),
    RegistryToken(String),
}

impl Keyring {
    /// The user's keyring.
    ///
    /// # Errors
    /// The kernel has no keys for us, as in many containers.
    pub fn open(prefix: &str) -> io::Result<Self> {
        sys::possess()?;
        Ok(Self { prefix: prefix.to_owned() })
    }

    fn name(&self, server: &str) -> Result<CString> {
        // What was given over plain HTTP has a key of its own: the other's would be sent in clear.
        let plain = if server.starts_with(PLAIN) { PLAIN } else { "" };
        CString::new(format!("{}{plain}{}", self.prefix, normal_key(server)))
            .map_err(|_| self.wrong(server, "an illegal name"))
    }

    fn wrong(&self, server: &str, why: &str) -> Error {
        Error::Credentials { registry: server.to_owned(), why: why.to_owned(), source: None }
    }

    fn failed(&self, server: &str, why: &str, error: io::Error) -> Error {
        Error::Credentials { registry: server.to_owned(), why: why.to_owned(), source: Some(error.into()) }
    }

    /// The key, if there is one. Possession is a matter of the calling thread, so each call asks for it.
    fn find(&self, server: &str, name: &CStr) -> Result<Option<sys::Serial>> {
        match sys::possess().and_then(|()| sys::search(name)) {
            Ok(key) => Ok(Some(key)),
            // Revoked and expired keys are no keys.
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::ENOKEY | libc::EKEYREVOKED | libc::EKEYEXPIRED)) =>
            {
                Ok(None)
            }
            Err(error) => Err(self.failed(server, "the kernel's keyring cannot be searched", error)),
        }
    }
}

impl CredentialHelper for Keyring {
    fn get(&self, server: &str) -> Result<Option<Credential>> {
        let name = self.name(server)?;
        let Some(key) = self.find(server, &name)? else { return Ok(None) };
        let mut buffer = vec![0; PAYLOAD_MAX];
        let length = sys::read(key, &mut buffer);
        let length = length.map_err(|error| self.failed(server, "the key cannot be read", error))?;
        let bytes = buffer.get(..length).unwrap_or_default();
        // The parser's own error would quote the key.
        let payload = serde_json::from_slice(bytes).map_err(|_| self.wrong(server, "the key holds no credentials"))?;
        Ok(Some(match payload {
            Payload::Password { username, password } => Credential::Password { username, password },
            Payload::IdentityToken(token) => Credential::IdentityToken(token),
            Payload::RegistryToken(token) => Credential::RegistryToken(token),
        }))
    }

    fn store(&self, server: &str, credential: &Credential) -> Result<()> {
        let payload = match credential.clone() {
            Credential::Password { username, password } => Payload::Password { username, password },
            Credential::IdentityToken(token) => Payload::IdentityToken(token),
            Credential::RegistryToken(token) => Payload::RegistryToken(token),
        };
        let bytes = serde_json::to_vec(&payload).map_err(|_| self.wrong(server, "they cannot be written as JSON"))?;
        let name = self.name(server)?;
        sys::possess()
            .and_then(|()| sys::add(&name, &bytes))
            .map_err(|error| self.failed(server, "the kernel's keyring does not take them", error))
    }

    fn erase(&self, server: &str) -> Result<()> {
        let name = self.name(server)?;
        match self.find(server, &name)? {
            None => Ok(()),
            Some(key) => sys::unlink(key).map_err(|error| self.failed(server, "the key cannot be removed", error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_is_found_replaced_and_erased() {
        let prefix = format!("img-test-{}:", std::process::id());
        let Ok(keyring) = Keyring::open(&prefix) else {
            println!("skipped: there is no keyring of the kernel");
            return;
        };
        let password = |secret: &str| Credential::Password { username: "a".into(), password: secret.into() };
        assert_eq!(keyring.get("reg.example").unwrap(), None);
        keyring.store("reg.example", &password("one")).unwrap();
        keyring.store("reg.example", &password("two")).unwrap();
        // Possession is by thread: another one sees the same.
        let other = keyring.clone();
        let seen = std::thread::spawn(move || other.get("reg.example").unwrap()).join().unwrap();
        assert_eq!(seen, Some(password("two")));
        assert_eq!(keyring.get("https://reg.example/v1/").unwrap(), Some(password("two")), "one key for all its names");
        assert_eq!(keyring.get("other.example").unwrap(), None);
        assert_eq!(keyring.get("http://reg.example").unwrap(), None, "not for plain HTTP");
        keyring.store("reg.example", &Credential::IdentityToken("t".into())).unwrap();
        assert_eq!(keyring.get("reg.example").unwrap(), Some(Credential::IdentityToken("t".into())));
        keyring.erase("reg.example").unwrap();
        keyring.erase("reg.example").unwrap();
        assert_eq!(keyring.get("reg.example").unwrap(), None);
    }
}
