//! Logging in to and out of registries.

use std::path::{Path, PathBuf};

use registry_client::auth::credentials::{Credential, bound};
use registry_client::auth::helper::CredentialHelper as _;
use registry_client::auth::keyring::Keyring;
use registry_client::auth::store::{Kept, add, helper, remove};

use super::Engine;
use crate::config::CredentialStore;
use crate::error::{CommandError, Context as _, Result};

/// What the names of our keys begin with.
const PREFIX: &str = "img:";

/// Where credentials were put.
pub enum Place {
    /// Encoded and not encrypted.
    File {
        /// The file.
        path: PathBuf,
        /// Why they are not in the keyring, if they were meant to be.
        why: Option<CommandError>,
    },
    /// With the helper that is configured.
    Helper,
    /// In the kernel, until the machine is started again.
    Keyring,
}

impl Engine {
    /// Asks `registry` whether user and password are right, then keeps them: with the helper that is configured, else in
    /// the kernel's keyring, else in `file` or docker's own.
    ///
    /// # Errors
    /// A registry that cannot be reached or refuses them, a file that cannot be written.
    pub fn login(&self, registry: &str, user: &str, password: &str, file: Option<&Path>) -> Result<Place> {
        let named = file.is_some();
        let file = self.login_file(file)?;
        let outcome = self.client()?.ping_login(registry, user, password).map_err(|error| match error {
            registry_client::Error::Unauthorized { said, .. } => CommandError::new(format!(
                "cannot log in to {registry}: unauthorized: it does not accept this user name and password{said}"
            ))
            .hint("some registries want an access token in place of the account's password"),
            other => other.into(),
        })?;
        // A namespace's are for it alone, which a key of the whole registry would not be.
        let mut why = None;
        if !named
            && !registry.contains('/')
            && self.settings.credential_store == CredentialStore::Keyring
            && helper(file, &outcome.registry)?.is_none()
        {
            match in_keyring(&bound(&outcome.registry, outcome.plain), &outcome.credential) {
                Ok(()) => {
                    // What an earlier login left in the file would be found first.
                    if file.exists() {
                        remove(file, &self.settings.helper_directories, &outcome.registry)?;
                    }
                    return Ok(Place::Keyring);
                }
                Err(error) => why = Some(error),
            }
        }
        let kept = add(file, &self.settings.helper_directories, &outcome.registry, &outcome.credential)?;
        Ok(match kept {
            Kept::InFile => Place::File { path: file.to_path_buf(), why },
            Kept::InHelper(_) => Place::Helper,
        })
    }

    /// Forgets the credentials of `registry`; says whether there were any.
    ///
    /// # Errors
    /// A file that cannot be written, a helper that fails.
    pub fn logout(&self, registry: &str, file: Option<&Path>) -> Result<bool> {
        let named = file.is_some();
        let file = self.login_file(file)?;
        let mut found = file.exists() && remove(file, &self.settings.helper_directories, registry)?;
        for server in [false, true].map(|plain| bound(registry, plain)) {
            if let Some(keyring) = self.keyring().filter(|_| !named)
                && keyring.get(&server)?.is_some()
            {
                keyring.erase(&server)?;
                found = true;
            }
        }
        Ok(found)
    }

    /// The kernel's keyring, if it is there and wanted.
    pub(super) fn keyring(&self) -> Option<Keyring> {
        match self.settings.credential_store {
            CredentialStore::Keyring => Keyring::open(PREFIX).ok(),
            CredentialStore::File => None,
        }
    }

    fn login_file<'a>(&'a self, named: Option<&'a Path>) -> Result<&'a Path> {
        named.or(self.settings.login_file.as_deref()).ok_or_else(|| {
            CommandError::new("there is no place for credentials").hint("set HOME, or DOCKER_CONFIG to a directory")
        })
    }
}

fn in_keyring(registry: &str, credential: &Credential) -> Result<()> {
    let keyring = Keyring::open(PREFIX).with_context(|| "the kernel has no keyring for us".to_owned())?;
    Ok(keyring.store(registry, credential)?)
}
