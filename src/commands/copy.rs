//! `img copy`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Args};

use super::Run;
use crate::config::Context;
use crate::engine::transport::{Access, CopyOptions, Place};
use crate::error::{Context as _, Result};
use crate::ui::{self, progress::Bars};

/// Copy an image from one place to another
///
/// Places are named as skopeo names them: docker://NAME is a registry, oci:DIRECTORY[:NAME] and oci-archive:FILE[:NAME] are
/// OCI layouts, dir:DIRECTORY has plain files, docker-archive:FILE[:NAME] is what docker loads; a NAME alone, or after
/// containers-storage:, is an image of this store. Blobs go from the one to the other as they are, and digests stay, unless
/// --format or a docker archive changes the manifest. What the target has is not sent.
#[derive(Args)]
pub struct Copy {
    /// Where the image is
    source: String,
    /// Where it goes
    destination: String,
    /// Copy an index with the images of all platforms
    #[arg(long, short)]
    all: bool,
    /// Of an index, take this platform; this machine's unless said
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Give the manifest these media types: oci or v2s2
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<String>,
    /// Fail rather than change a digest
    #[arg(long)]
    preserve_digests: bool,
    /// Compress anew the layers of this store whose original bytes are out of reach; the digest changes
    #[arg(long)]
    recompress: bool,
    /// User and password for the source; `img login` keeps them out of the process list
    #[arg(long, value_name = "USER:PASSWORD")]
    src_creds: Option<String>,
    /// User and password for the destination
    #[arg(long, value_name = "USER:PASSWORD")]
    dest_creds: Option<String>,
    /// Tell the source no name
    #[arg(long, conflicts_with = "src_creds")]
    src_no_creds: bool,
    /// Tell the destination no name
    #[arg(long, conflicts_with = "dest_creds")]
    dest_no_creds: bool,
    /// Want HTTPS and a certificate of the source; `=false` does without
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value_t = true, hide_default_value = true)]
    src_tls_verify: bool,
    /// Want HTTPS and a certificate of the destination; `=false` does without
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value_t = true, hide_default_value = true)]
    dest_tls_verify: bool,
    /// Take credentials from this file alone, for both
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// Write the digest of the copied manifest to this file
    #[arg(long, value_name = "FILE")]
    digestfile: Option<PathBuf>,
    /// Print nothing but the digest
    #[arg(long, short)]
    quiet: bool,
}

impl Run for Copy {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let (from, to): (Place, Place) = (self.source.parse()?, self.destination.parse()?);
        let access = |credentials, anonymous, verify: bool| Access {
            credentials,
            anonymous,
            insecure: !verify,
            auth_file: self.authfile.clone(),
        };
        let options = CopyOptions {
            all: self.all,
            platform: self.platform,
            format: self.format,
            preserve_digests: self.preserve_digests,
            recompress: self.recompress,
            source: access(self.src_creds, self.src_no_creds, self.src_tls_verify),
            target: access(self.dest_creds, self.dest_no_creds, self.dest_tls_verify),
        };
        let bars = Bars::new(self.quiet);
        let digest = context
            .engine()?
            .copy_image(&from, &to, &options, &bars)
            .with_context(|| format!("cannot copy {} to {}", self.source, self.destination))?;
        drop(bars);
        if let Some(digest) = digest {
            if let Some(file) = &self.digestfile {
                std::fs::write(file, digest.to_string()).with_context(|| format!("cannot write {}", file.display()))?;
            }
            ui::outln(digest)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
