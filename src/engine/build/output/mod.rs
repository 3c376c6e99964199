//! What a build gives beside the image in the store: `-o/--output`. `spec` reads what the user wrote, in the words of
//! BuildKit; here it is done, in the order in which it was asked for, once the image is there.

mod metadata;
mod spec;

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use registry_client::Reference;
use store::image::Image;
use store::layer::LayerPath;
use store::refs::Expect;

use crate::engine::Engine;
use crate::engine::archive::{ArchiveFormat, Member, write_file};
use crate::engine::copy::sink::Sink;
use crate::engine::export::{each_entry, write_tree};
use crate::engine::form::{Annotations, Form, Manifest};
use crate::engine::progress::Progress;
use crate::engine::tree::Merged;
use crate::error::{CommandError, Context as _, Result};

pub(super) use metadata::descriptor;
pub use spec::Output;
pub(super) use spec::fields;

/// Where an archive goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// A file.
    File(PathBuf),
}

/// All that is asked of a finished build.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// `-o`, and what `--push` stands for.
    pub outputs: Vec<Output>,
    /// `--annotation`
    pub annotations: Annotations,
}

/// What was delivered.
#[derive(Clone, Debug, Default)]
pub struct Delivered {
    /// The manifest that was pushed or written, if one was; the last of several.
    pub manifest: Option<Manifest>,
    /// Names that were pushed, as docker shows them, with their digests.
    pub pushed: Vec<(String, store::Digest)>,
    /// The annotations that it was delivered with.
    pub annotations: Annotations,
}

impl Delivery {
    /// Whether something goes to standard output, so that nothing else may.
    #[must_use]
    pub fn uses_stdout(&self) -> bool {
        self.outputs.iter().any(Output::uses_stdout)
    }

    /// Whether the image is wanted in the store: nothing else is, or an output says so.
    #[must_use]
    pub fn keeps_image(&self) -> bool {
        self.outputs.is_empty() || self.outputs.iter().any(|output| matches!(output, Output::Image { .. }))
    }

    /// Looks for what cannot work before anything is built; `tags` are the canonical names of the image.
    ///
    /// # Errors
    /// Destinations that cannot be written, two that exclude each other, a push of what has no name.
    pub fn check(&self, tags: &[String]) -> Result<()> {
        if self.outputs.iter().filter(|output| output.uses_stdout()).count() > 1 {
            return Err(CommandError::usage("only one output can go to standard output"));
        }
        for output in &self.outputs {
            match output {
                Output::Local { path, .. } => match std::fs::metadata(path) {
                    Ok(about) if !about.is_dir() => {
                        return Err(CommandError::usage(format!("the destination {} is a file", path.display()))
                            .hint("type=local writes a directory; type=tar writes a file"));
                    }
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(error).with_context(|| format!("cannot use the destination {}", path.display()));
                    }
                    _ => {}
                },
                Output::Tar(Destination::File(path)) | Output::Archive { to: Destination::File(path), .. } => {
                    if path.is_dir() {
                        return Err(CommandError::usage(format!("the destination {} is a directory", path.display()))
                            .hint("name a file in it, or use type=local for a directory of files"));
                    }
                    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
                        return Err(CommandError::usage(format!("the folder {} does not exist", folder.display())));
                    }
                }
                Output::Image { names, push: true, .. } if names.is_empty() && tags.is_empty() => {
                    return Err(CommandError::usage("an image that is to be pushed needs a name")
                        .hint("name it with -t REGISTRY/REPOSITORY:TAG, or with name= in the output"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Engine {
    /// Canonical names that outputs give the image beside its tags.
    pub(super) fn output_names(&self, delivery: &Delivery) -> Result<Vec<String>> {
        let images = delivery.outputs.iter().filter_map(|output| match output {
            Output::Image { names, .. } => Some(names),
            _ => None,
        });
        images.flatten().map(|name| self.tag_reference(name)).collect()
    }

    /// Delivers a finished image whose canonical tags are `tags`.
    ///
    /// # Errors
    /// A destination that cannot be written, a registry that refuses. What was delivered before stays.
    pub(super) fn deliver(
        &self,
        image: &Image,
        tags: &[String],
        delivery: &Delivery,
        progress: &dyn Progress,
    ) -> Result<Delivered> {
        let mut delivered = Delivered::default();
        let noted = &image.record.annotations;
        let (manifest, descriptor) = (&delivery.annotations.manifest, &delivery.annotations.descriptor);
        if (&noted.0, &noted.1) != (manifest, descriptor) {
            // Later pushes and saves of the image write them too, as they would with a manifest that is kept.
            self.store.images().annotate(&image.id, manifest, descriptor)?;
        }
        for output in &delivery.outputs {
            match output {
                Output::Local { path, delete } => {
                    self.write_local(image, path, *delete)
                        .with_context(|| format!("cannot write to {}", path.display()))?;
                }
                Output::Tar(to) => {
                    let merged = Merged::new(&self.store, image.layers())?;
                    match to {
                        Destination::Stdout => write_tree(&merged, io::stdout().lock())?,
                        Destination::File(path) => write_file(path, |file| write_tree(&merged, file))?,
                    }
                }
                Output::Archive { to, names, form } => {
                    let names = names.iter().map(|name| self.tag_reference(name)).collect::<Result<Vec<_>>>()?;
                    let names = if names.is_empty() { tags.to_vec() } else { names };
                    let form = with_annotations(form, delivery);
                    delivered.annotations.clone_from(&form.annotations);
                    let member = [Member { image, names, manifest: None, form, whole: None }];
                    let written = match to {
                        Destination::Stdout => self.write_archive(&member, ArchiveFormat::Oci, io::stdout().lock())?,
                        Destination::File(path) => {
                            let mut written = Vec::new();
                            write_file(path, |file| {
                                written = self.write_archive(&member, ArchiveFormat::Oci, file)?;
                                Ok(())
                            })?;
                            written
                        }
                    };
                    delivered.manifest = written.into_iter().next_back().or(delivered.manifest);
                }
                Output::Image { names, push, form } => {
                    let names = names.iter().map(|name| self.tag_reference(name)).collect::<Result<Vec<_>>>()?;
                    let names = if names.is_empty() { tags } else { &names };
                    for name in names.iter().filter(|_| *push) {
                        let target = Reference::parse(name)?;
                        let form = with_annotations(form, delivery);
                        delivered.annotations.clone_from(&form.annotations);
                        // Read anew: what was pushed just now is known in its compressed form.
                        let image = self.store.images().get(&image.id)?;
                        let manifest = self.push_as(&image, &target, &form, progress)?;
                        delivered.pushed.push((target.familiar(), store::Digest::of(&manifest.bytes)));
                        delivered.manifest = Some(manifest);
                    }
                }
                Output::CacheOnly => {}
            }
        }
        Ok(delivered)
    }

    /// Writes the files of an image below a directory, over what is there: they belong to whoever runs the build, and
    /// have the modes, times, links and extended attributes they have in the image. With `delete` nothing else stays.
    fn write_local(&self, image: &Image, path: &Path, delete: bool) -> Result<()> {
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700).create(path)?;
        let top = File::open(path)?;
        let merged = Merged::new(&self.store, image.layers())?;
        if delete {
            remove_others(path, &LayerPath::root(), &merged)?;
        }
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let mut sink = Sink::exporting(top.into(), path.display().to_string(), owner);
        each_entry(&merged, &mut |entry, data| sink.put(entry, data))?;
        sink.finish()
    }

    /// Forgets images that were made on the way to something else, unless somebody wants them by now. Their layers stay
    /// as long as the build cache wants them.
    pub(in crate::engine) fn forget_images(&self, images: &[store::ImageId]) -> Result<()> {
        for image in images {
            match self.store.images().remove(image) {
                Err(error) if !error.is_not_found() && !matches!(error, store::Error::Conflict(_)) => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Gives names to an image.
    pub(super) fn tag_all(&self, names: &[String], image: &store::ImageId) -> Result<()> {
        for name in names {
            // A build that found everything in the cache has nothing to sync.
            if self.store.refs().get(name)?.is_none_or(|tag| tag.image != *image) {
                self.store.refs().set(name, image, None, Expect::Any)?;
                self.image_event("tag", image, Some(name));
            }
        }
        Ok(())
    }
}

/// Removes what is below `directory`, which stands for `at` in the image, and not there or something else there. Links
/// are not followed.
fn remove_others(directory: &Path, at: &LayerPath, image: &Merged) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let (path, is_directory) = (entry.path(), entry.file_type()?.is_dir());
        let inside = at.join(entry.file_name().as_bytes())?;
        let removed = match image.tree.get(&inside) {
            Some(node) if node.is_directory() == is_directory => {
                if is_directory {
                    remove_others(&path, &inside, image)?;
                }
                Ok(())
            }
            _ if is_directory => std::fs::remove_dir_all(&path),
            _ => std::fs::remove_file(&path),
        };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

/// The form of an output with the annotations of the whole build below its own.
fn with_annotations(form: &Form, delivery: &Delivery) -> Form {
    let mut annotations = delivery.annotations.clone();
    annotations.extend(&form.annotations);
    Form { annotations, exact: true, ..form.clone() }
}
