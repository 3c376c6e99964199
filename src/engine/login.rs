//! Logging in to and out of registries.

use std::path::Path;

use registry_client::auth::store::{add, remove};
use registry_client::{Credential, LoginOutcome};

use super::Engine;
use crate::error::{CommandError, Result};

impl Engine {
    /// Asks `registry` whether user and password are right, then keeps them.
    ///
    /// # Errors
    /// A registry that cannot be reached or refuses them, a file that cannot be written.
    pub fn login(&self, registry: &str, user: &str, password: &str) -> Result<()> {
        let file = self.login_file()?;
        let outcome = self.client()?.ping_login(registry, user, password)?;
        let credential = match outcome {
            LoginOutcome::IdentityToken(token) => Credential::IdentityToken(token),
            _ => Credential::Password { username: user.to_owned(), password: password.to_owned() },
        };
        add(file, &self.settings.helper_directories, registry, &credential)?;
        Ok(())
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
