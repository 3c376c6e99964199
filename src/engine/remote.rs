//! What a registry has, without pulling it: tags, what refers to a manifest, and deletion.
//!
//! Nothing here touches the store. Deleting is by what the user named and nothing less: a name without tag and digest is
//! refused, since `latest` would be a costly guess.

use registry_client::{Descriptor, Digest, Reference};
use serde::Serialize;

use super::Engine;
use super::pull::names_one;
use super::transport::Access;
use crate::error::{CommandError, Context as _, Result};

/// The tags of a repository, as skopeo prints them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RemoteTags {
    /// `registry/repository`
    pub repository: String,
    /// In the registry's order.
    pub tags: Vec<String>,
}

/// What is deleted of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// The manifest, and with it all tags that it has.
    Manifest,
    /// The tag alone.
    Tag,
}

impl Engine {
    /// The tags of a repository at its registry.
    ///
    /// # Errors
    /// A name that says which tag, a registry that cannot be reached or does not list.
    pub fn list_remote_tags(&self, repository: &str, access: &Access) -> Result<RemoteTags> {
        let repository = bare(repository);
        let reference = self.remote_reference(repository)?;
        if names_one(repository, &reference) {
            return Err(CommandError::usage(format!("{repository} names one image already"))
                .hint("all tags are those of a repository: leave tag and digest out"));
        }
        let tags = self.client_for(access, &reference, None)?.tags(&reference);
        let tags = tags.with_context(|| format!("cannot list the tags of {repository}"))?;
        Ok(RemoteTags { repository: format!("{}/{}", reference.registry(), reference.repository()), tags })
    }

    /// The manifests that are about the one that `name` stands for at its registry.
    ///
    /// # Errors
    /// No such manifest, a registry that cannot be reached.
    pub fn referrers(&self, name: &str, artifact_type: Option<&str>, access: &Access) -> Result<Vec<Descriptor>> {
        let reference = self.remote_reference(bare(name))?;
        let client = self.client_for(access, &reference, None)?;
        let find = || {
            let digest = match reference.digest() {
                Some(digest) => *digest,
                None => client.manifest(&reference, &[])?.digest,
            };
            client.referrers(&reference.with_digest(digest), artifact_type)
        };
        find().with_context(|| format!("cannot list what refers to {}", reference.familiar()))
    }

    /// Deletes what `name` stands for at its registry, and gives the digest of the manifest, if that went.
    ///
    /// # Errors
    /// A name without tag and digest, no such manifest, a registry that allows no deletion.
    pub fn delete_remote(&self, name: &str, what: Deletion, access: &Access) -> Result<Option<Digest>> {
        let name = bare(name);
        let reference = self.remote_reference(name)?;
        if !names_one(name, &reference) {
            return Err(CommandError::usage(format!("{name} says neither a tag nor a digest"))
                .hint("nothing is deleted by guess: write the tag, also if it is latest"));
        }
        let client = self.client_for(access, &reference, None)?;
        let delete = || match what {
            Deletion::Tag => client.delete_tag(&reference).map(|()| None),
            Deletion::Manifest => {
                let digest = match reference.digest() {
                    Some(digest) => *digest,
                    None => client.manifest(&reference, &[])?.digest,
                };
                client.delete_manifest(&reference.with_digest(digest)).map(|()| Some(digest))
            }
        };
        delete().map_err(|error| explain(error, &reference, what))
    }

    /// Deletes a blob of a repository at its registry.
    ///
    /// # Errors
    /// No such blob, a registry that allows no deletion.
    pub fn delete_remote_blob(&self, repository: &str, digest: &str, access: &Access) -> Result<()> {
        let reference = self.remote_reference(bare(repository))?;
        let digest: Digest = digest.parse()?;
        let done = self.client_for(access, &reference, None)?.delete_blob(&reference, &digest);
        done.map_err(|error| explain(error, &reference, Deletion::Manifest))
    }
}

/// skopeo's word for a registry may stand before the name.
fn bare(name: &str) -> &str {
    name.strip_prefix("docker://").unwrap_or(name)
}

fn explain(error: registry_client::Error, reference: &Reference, what: Deletion) -> CommandError {
    let unable = matches!(error, registry_client::Error::Status { status: 400 | 405 | 501, .. });
    let error = CommandError::from(error).within(format!("cannot delete {}", reference.familiar()));
    match what {
        _ if !unable => error,
        Deletion::Tag => error.hint("without --tag-only the manifest goes, with all tags that it has"),
        Deletion::Manifest => error.hint("this registry allows no deletion; whoever runs it can"),
    }
}
