//! Flags of `img build` that say what is done with the image.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;

use crate::engine::build::Built;
use crate::engine::build::output::{Delivery, Output};
use crate::error::{CommandError, Context as _, Result};

/// `-o` and what belongs to it.
#[derive(Args)]
pub struct OutputFlags {
    /// What to give beside the image in the store: DIR for its files, - for them as a tar, or type=local|tar|oci|docker|
    /// image|registry|cacheonly,dest=PATH,name=NAME,push=true,compression=gzip|zstd|uncompressed,compression-level=N,
    /// force-compression=true,oci-mediatypes=false,annotation.KEY=VALUE; may be given several times
    #[arg(long, short, value_name = "OUTPUT")]
    output: Vec<String>,
    /// Push the image by its names: the same as -o type=registry
    #[arg(long)]
    push: bool,
    /// Keep the image in the store, beside what -o asks for; without -o or with -t it is kept anyway
    #[arg(long)]
    load: bool,
    /// Note KEY=VALUE on the manifest that a push or archive of this image has; or at LEVEL, which is manifest,
    /// manifest-descriptor, index or index-descriptor
    #[arg(long, value_name = "[LEVEL:]KEY=VALUE")]
    annotation: Vec<String>,
    /// Write the build's facts (digests, names) to this file, as JSON
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
    /// Set the times of files that are newer back to SOURCE_DATE_EPOCH, in layers of this build only; with that variable
    /// it happens anyway, without it this is an error
    #[arg(long)]
    rewrite_timestamp: bool,
}

impl OutputFlags {
    /// What the engine is asked for; `epoch` is SOURCE_DATE_EPOCH.
    ///
    /// # Errors
    /// An output that makes no sense, or that is not for a terminal.
    pub fn delivery(&self, epoch: Option<i64>) -> Result<Delivery> {
        let mut delivery = Delivery::default();
        for text in &self.output {
            delivery.outputs.push(Output::parse(text)?);
        }
        if self.push {
            if self.load {
                return Err(CommandError::usage("--push and --load are two different wishes")
                    .hint("--push alone leaves the image in the store too"));
            }
            delivery.outputs.push(Output::push());
        }
        if self.load {
            delivery.outputs.push(Output::load());
        }
        for text in &self.annotation {
            delivery.annotations.add(text)?;
        }
        let rewrite = self.rewrite_timestamp || self.output.iter().any(|text| wants_rewrite(text));
        if rewrite && epoch.is_none() {
            return Err(CommandError::usage("--rewrite-timestamp needs a time to set back to")
                .hint("set SOURCE_DATE_EPOCH, say to `git log -1 --format=%ct`"));
        }
        if delivery.uses_stdout() && std::io::stdout().is_terminal() {
            return Err(CommandError::usage("an archive is not for a terminal")
                .hint("name a file with dest=, or send standard output to a file or pipe"));
        }
        Ok(delivery)
    }

    /// Whether metadata are to be written.
    pub fn has_metadata(&self) -> bool {
        self.metadata_file.is_some()
    }

    /// Writes what is to be written once the build is done.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn finish(&self, built: &Built) -> Result<()> {
        let Some(path) = &self.metadata_file else { return Ok(()) };
        let text = format!("{:#}\n", built.metadata());
        std::fs::write(path, text).with_context(|| format!("cannot write the metadata to {}", path.display()))
    }
}

fn wants_rewrite(output: &str) -> bool {
    output.split(',').any(|field| matches!(field.trim(), "rewrite-timestamp=true" | "rewrite-timestamp=1"))
}
