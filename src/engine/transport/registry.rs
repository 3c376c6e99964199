//! `docker://`: a registry as a source and as a target. Blobs that the target registry has in the source's repository are
//! mounted; others go from connection to connection.

use std::borrow::Borrow;
use std::path::PathBuf;

use registry_client::{Client, Credential, CredentialSource, Descriptor, PushOutcome, Reference};

use super::{Document, Source, Target, as_io};
use crate::engine::originals::Opener;
use crate::engine::pull::to_client;
use crate::error::{CommandError, Result};

/// How one side of a copy is spoken to, beyond the configuration.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// `USER[:PASSWORD]`
    pub credentials: Option<String>,
    /// Nobody's name is used.
    pub anonymous: bool,
    /// Plain HTTP and certificates that cannot be verified are accepted.
    pub insecure: bool,
    /// Credentials in this file alone.
    pub auth_file: Option<PathBuf>,
}

impl Access {
    /// The user and password for `registry`, if they were given.
    ///
    /// # Errors
    /// A user without a password.
    pub(in crate::engine) fn source(&self, registry: &str) -> Result<Option<CredentialSource>> {
        let Some(text) = &self.credentials else { return Ok(None) };
        let Some((username, password)) = text.split_once(':') else {
            return Err(
                CommandError::usage("the credentials are USER:PASSWORD").hint("`img login` asks for a password")
            );
        };
        let credential = Credential::Password { username: username.to_owned(), password: password.to_owned() };
        Ok(Some(CredentialSource::Fixed { registry: registry.to_owned(), credential }))
    }
}

/// One image of a registry.
pub(in crate::engine) struct Registry<C = Client> {
    pub client: C,
    pub reference: Reference,
}

impl<C: Borrow<Client> + Sync> Source for Registry<C> {
    fn root(&self) -> Result<Document> {
        let raw = self.client.borrow().manifest(&self.reference, &[])?;
        Ok(Document { media_type: raw.media_type.as_str().to_owned(), bytes: raw.bytes })
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Document> {
        let raw = self.client.borrow().manifest(&self.reference.with_digest(descriptor.digest), &[])?;
        Ok(Document { media_type: raw.media_type.as_str().to_owned(), bytes: raw.bytes })
    }

    fn blob<'a>(&'a self, descriptor: &'a Descriptor) -> Result<Opener<'a>> {
        Ok(Box::new(move |offset| {
            let client = self.client.borrow();
            let reader = client.blob(&self.reference, descriptor, offset).map_err(std::io::Error::other)?;
            Ok(Box::new(reader))
        }))
    }

    fn registry(&self) -> Option<(&Client, &Reference)> {
        Some((self.client.borrow(), &self.reference))
    }
}

impl Target for Registry {
    fn blob(&self, source: &dyn Source, descriptor: &Descriptor) -> Result<&'static str> {
        let from = source.registry().filter(|(_, from)| from.registry() == self.reference.registry());
        let beside = from.map(|(_, from)| from.repository());
        // Opened when it is clear that the bytes are wanted, and not before.
        let open = |offset| source.blob(descriptor).map_err(as_io)?(offset);
        Ok(match self.client.push_blob(&self.reference, descriptor, &open, beside, None)? {
            PushOutcome::Existed => "Already exists",
            PushOutcome::Mounted => "Mounted",
            PushOutcome::Uploaded => "Copied",
        })
    }

    fn document(&self, document: &Document, root: bool) -> Result<()> {
        let digest = to_client(&document.digest());
        let place = if root { self.reference.clone() } else { self.reference.with_digest(digest) };
        let told = self.client.push_manifest(&place, &document.media_type, &document.bytes)?;
        if told != digest {
            return Err(CommandError::new(format!("the registry says the manifest is {told}, it is {digest}")));
        }
        Ok(())
    }

    fn streams(&self) -> usize {
        3
    }
}
