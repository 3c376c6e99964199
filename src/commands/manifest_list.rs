//! `img manifest create`, `add`, `annotate`, `remove`, `rm`, `push` and `exists`: lists of images for several platforms, made
//! here and sent whole.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Args};

use super::Run;
use super::flags::registry::RegistryFlags;
use crate::config::Context;
use crate::engine::lists::EntryOptions;
use crate::engine::transport::{Access, CopyOptions, Place};
use crate::error::{CommandError, Context as _, Result};
use crate::ui::{self, progress::Bars};

/// Make a list of images for several platforms
///
/// A list is an index that is kept whole in this store, under a name. Its images are images of this store; what is elsewhere
/// (docker://NAME, oci:DIRECTORY[:NAME] and the other places of `img copy`, or a name that is not here) is fetched first. Prints
/// the digest of the list.
#[derive(Args)]
pub struct Create {
    /// The list's name
    list: String,
    /// Images to list, by name, id or place
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
    /// Add to a list of this name, if there is one
    #[arg(long, short)]
    amend: bool,
    /// Of an image that is a list itself, add everything that it lists
    #[arg(long)]
    all: bool,
    /// Note something on the list
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    #[command(flatten)]
    registry: RegistryFlags,
}

impl Run for Create {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let (engine, bars) = (context.engine()?, Bars::new(false));
        let (how, annotations) = ((self.amend, self.all), annotations(&self.annotation)?);
        let access = Access::from(self.registry);
        let digest = engine.create_list(&self.list, &self.images, how, &annotations, &access, &bars)?;
        drop(bars);
        ui::outln(digest)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What is said of an entry.
#[derive(Args)]
struct EntryFlags {
    /// The architecture that the list says, in place of the image's
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,
    /// The operating system
    #[arg(long, value_name = "OS")]
    os: Option<String>,
    /// The variant of the architecture, such as v7
    #[arg(long, value_name = "VARIANT")]
    variant: Option<String>,
    /// The version of the operating system
    #[arg(long, value_name = "VERSION")]
    os_version: Option<String>,
    /// What the operating system must have
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    os_features: Vec<String>,
    /// What the processor must have
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    features: Vec<String>,
    /// Note something on the entry
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
}

impl EntryFlags {
    fn options(self) -> Result<EntryOptions> {
        Ok(EntryOptions {
            annotations: annotations(&self.annotation)?,
            os: self.os,
            architecture: self.arch,
            variant: self.variant,
            os_version: self.os_version,
            os_features: self.os_features,
            features: self.features,
        })
    }
}

/// Add an image to a list
///
/// The image is named as for `img manifest create`. The list says of it the platform that its config says, unless --os, --arch or
/// --variant say another; of a multi-platform image, these choose which one is added.
#[derive(Args)]
pub struct Add {
    /// The list
    list: String,
    /// The image, by name, id or place
    image: String,
    /// Of an image that is a list itself, add everything that it lists
    #[arg(long, conflicts_with_all = ["arch", "os", "variant", "os_version", "os_features", "features"])]
    all: bool,
    #[command(flatten)]
    entry: EntryFlags,
    #[command(flatten)]
    registry: RegistryFlags,
}

impl Run for Add {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let (engine, bars) = (context.engine()?, Bars::new(false));
        let (options, access) = (self.entry.options()?, Access::from(self.registry));
        let digest = engine.add_to_list(&self.list, &self.image, &options, self.all, &access, &bars)?;
        drop(bars);
        ui::outln(digest)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Say something else of an image in a list
///
/// What is not said stays as it is. Prints the digest of the list, which is another one now.
#[derive(Args)]
pub struct Annotate {
    /// The list
    list: String,
    /// The image in it, by the digest of its manifest or by its name
    #[arg(value_name = "DIGEST|IMAGE", required_unless_present = "index")]
    image: Option<String>,
    /// Note --annotation on the list itself
    #[arg(long, conflicts_with_all = ["image", "arch", "os", "variant", "os_version", "os_features", "features"])]
    index: bool,
    #[command(flatten)]
    entry: EntryFlags,
}

impl Run for Annotate {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let options = self.entry.options()?;
        ui::outln(context.engine()?.annotate_list(&self.list, self.image.as_deref(), &options)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Take an image out of a list
///
/// The image itself stays if it has a name of its own. Prints the digest of the list, which is another one now.
#[derive(Args)]
pub struct Drop {
    /// The list
    list: String,
    /// The image in it, by the digest of its manifest or by its name
    #[arg(value_name = "DIGEST|IMAGE")]
    image: String,
}

impl Run for Drop {
    fn run(self, context: &Context) -> Result<ExitCode> {
        ui::outln(context.engine()?.remove_from_list(&self.list, &self.image)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Remove lists
///
/// Their images go with them, unless these have names of their own or containers. A name that stands for one image is not removed:
/// that is what `img rmi` does. Prints what went.
#[derive(Args)]
pub struct Remove {
    /// The lists
    #[arg(value_name = "LIST", required = true)]
    lists: Vec<String>,
    /// Say nothing of a list that is not there
    #[arg(long, short)]
    ignore: bool,
}

impl Run for Remove {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        for list in &self.lists {
            let said = engine.remove_list(list, self.ignore)?;
            said.iter().try_for_each(ui::outln)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Send a list and the images that it lists
///
/// The destination is a registry's name, or a place as `img copy` names them; without one, the name of the list. The digest of the
/// list stays. Prints it.
#[derive(Args)]
pub struct Push {
    /// The list
    list: String,
    /// Where it goes
    destination: Option<String>,
    /// Send the images too, which is always done
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value_t = true, hide_default_value = true)]
    all: bool,
    /// Remove the list when it was sent
    #[arg(long, short = 'p', visible_alias = "purge")]
    rm: bool,
    /// Give the manifests these media types: oci or v2s2
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<String>,
    /// Write the digest of the list to this file
    #[arg(long, value_name = "FILE")]
    digestfile: Option<PathBuf>,
    /// Print nothing but the digest
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    registry: RegistryFlags,
}

impl Run for Push {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let (engine, list) = (context.engine()?, self.list);
        if !self.all {
            return Err(CommandError::usage("a list is not sent without its images")
                .hint("what the destination has of them is not sent again"));
        }
        if !engine.is_list(&list)? {
            return Err(CommandError::new(format!("no such list: {list}")).hint("`img push` sends an image"));
        }
        let to = match self.destination.as_deref().unwrap_or(&list).parse()? {
            // A bare name is a registry's: nothing is pushed to where it is.
            Place::Store(name) => Place::Registry(name),
            place => place,
        };
        let options =
            CopyOptions { all: true, format: self.format, target: self.registry.into(), ..CopyOptions::default() };
        let bars = Bars::new(self.quiet);
        let digest = engine
            .copy_image(&Place::Store(list.clone()), &to, &options, &bars)
            .with_context(|| format!("cannot push the list {list}"))?;
        drop(bars);
        if let Some(digest) = digest {
            if let Some(file) = &self.digestfile {
                std::fs::write(file, digest.to_string()).with_context(|| format!("cannot write {}", file.display()))?;
            }
            ui::outln(digest)?;
        }
        if self.rm {
            engine.remove_list(&list, true)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Say by the exit status whether a list is there
///
/// 0 if it is, 1 if not. An image that is no list does not count, and nothing is asked of a registry: what counts is what is here,
/// made by `img manifest create` or kept whole by `img pull --all-platforms`.
#[derive(Args)]
pub struct Exists {
    /// The list
    list: String,
}

impl Run for Exists {
    fn run(self, context: &Context) -> Result<ExitCode> {
        Ok(ExitCode::from(u8::from(!context.engine()?.is_list(&self.list)?)))
    }
}

fn annotations(texts: &[String]) -> Result<BTreeMap<String, String>> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(CommandError::usage(format!("an annotation is KEY=VALUE, not {text:?}"))),
    };
    texts.iter().map(pair).collect()
}
