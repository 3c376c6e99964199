//! `img manifest inspect`.

use std::process::ExitCode;

use clap::{ArgAction, Args};

use super::Run;
use crate::config::Context;
use crate::engine::transport::{Access, Place};
use crate::error::{Context as _, Result};
use crate::ui;

/// Print a manifest or index as it is
///
/// A name of this store gives what the image was pulled, pushed or loaded as, and any other name what the registry has;
/// docker://NAME, oci:DIRECTORY[:NAME], oci-archive:FILE[:NAME] and dir:DIRECTORY are places as `img copy` names them. Nothing
/// is fetched but the document itself.
#[derive(Args)]
pub struct Inspect {
    /// The image, by name or place
    image: String,
    /// Print the very bytes, whose sha256 is the digest
    #[arg(long)]
    raw: bool,
    /// Want HTTPS and a certificate of the registry; `=false` does without
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value_t = true, hide_default_value = true)]
    tls_verify: bool,
    /// User and password for the registry; `img login` keeps them out of the process list
    #[arg(long, value_name = "USER:PASSWORD")]
    creds: Option<String>,
}

impl Run for Inspect {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let place: Place = self.image.parse()?;
        let access = Access { credentials: self.creds, insecure: !self.tls_verify, ..Access::default() };
        let bytes = context
            .engine()?
            .manifest_at(&place, &access)
            .with_context(|| format!("cannot read the manifest of {}", self.image))?;
        if self.raw {
            ui::out_bytes(&bytes)?;
        } else {
            ui::outln_json(&serde_json::from_slice::<serde_json::Value>(&bytes)?, true)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
