//! Logging in to and out of registries.

use std::path::{Path, PathBuf};

use registry_client::auth::store::{Kept, add, remove};

use super::Engine;
use crate::error::{CommandError, Result};

impl Engine {
    /// Asks `registry` whether user and password are right, then keeps them. Gives the file, if they
    /// are kept in one, where they are encoded but not encrypted.
    ///
    /// # Errors
    /// A registry that cannot be reached or refuses them, a file that cannot be written.
    pub fn login(&self, registry: &str, user: &str, password: &str) -> Result<Option<PathBuf>> {
        let file = self.login_file()?;
        let outcome = self.client()?.ping_login(registry, user, password).map_err(|error| match error {
            registry_client::Error::Unauthorized { said, .. } => CommandError::new(format!(
                "cannot log in to {registry}: unauthorized: it does not accept this user name and password{said}"
            ))
            .hint("some registries want an access token in place of the account's password"),
            other => other.into(),
        })?;
        let kept = add(file, &self.settings.helper_directories, &outcome.registry, &outcome.credential)?;
        Ok(match kept {
            Kept::InFile => Some(file.to_path_buf()),
            Kept::InHelper(_) => None,
        })
    }

    /// Forgets the credentials of `registry`; says whether there were any.
    ///
    /// # Errors
    /// A file that cannot be written, a helper that fails.
    pub fn logout(&self, registry: &str) -> Result<bool> {
        let file = self.login_file()?;
        Ok(file.exists() && remove(file, &self.settings.helper_directories, registry)?)
    }

    fn login_file(&self) -> Result<&Path> {
        self.settings.login_file.as_deref().ok_or_else(|| {
            CommandError::new("there is no place for credentials").hint("set HOME, or DOCKER_CONFIG to a directory")
        })
    }
}
