//! `pull`: resolve, fetch what is missing side by side, then the image, then its tag.
//!
//! ```text
//! reference → manifest, config (verified) → for each layer that is not here, one stream:
//!    network → kept prefix (resumable) → digest of the compressed bytes → inflate → DiffId → tar + table of contents
//! all layers in place → image record → tag
//! ```
//! The compressed bytes are hashed once, on their way into the layer: the client and the partial file leave that to it.
//! The tag comes last, so a half pull is invisible; what a killed pull had fetched of a layer is where the next one
//! continues. Only bytes that a broken connection or a kill left are kept for that: a beginning that may be wrong is
//! thrown away, and one that turns out to be wrong is fetched anew.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use registry_client::{Client, Descriptor, Observer, Platform, RateLimit, Reference, ResolvedImage};
use store::digest::VerifiedReader;
use store::image::{CompressedLayer, ImageConfig, ImageRecord, Provenance};
use store::refs::Expect;
use store::{DiffId, Digest, ImageId};

use super::Engine;
use super::names::{canonical_by_digest, retried};
use super::originals::KeepCompressed;
use super::progress::{Event, Progress};
use super::transport::Access;
use crate::error::{CommandError, Context as _, Result};

/// Layers fetched at one time.
const STREAMS: usize = 4;
/// How long to wait for another process that fetches the same layer.
pub const PATIENCE: Duration = Duration::from_secs(3600);
/// Blobs smaller than this are not worth resuming, bytes.
const RESUMABLE: u64 = 1 << 20;

/// What the user chose.
#[derive(Clone, Debug, Default)]
pub struct PullOptions {
    /// `--platform`
    pub platform: Option<String>,
    /// `--all-platforms`
    pub all_platforms: bool,
    /// `--keep-compressed`
    pub keep: Option<KeepCompressed>,
    /// `--creds`, `--authfile`, `--tls-verify`
    pub access: Access,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The image.
    pub image: ImageId,
    /// Its canonical name.
    pub name: String,
    /// Its name as docker shows it.
    pub familiar: String,
    /// The digest the name stands for at the registry.
    pub digest: Digest,
    /// Whether anything was fetched or the tag changed.
    pub fetched: bool,
}

/// Whether the text itself has a tag or a digest.
pub fn names_one(text: &str, reference: &Reference) -> bool {
    reference.digest().is_some() || text.rsplit('/').next().unwrap_or_default().contains(':')
}

/// The client's digest as the store's.
pub fn to_store(digest: &registry_client::Digest) -> Digest {
    Digest::from_bytes(*digest.as_bytes())
}

/// The store's digest as the client's.
pub fn to_client(digest: &Digest) -> registry_client::Digest {
    registry_client::Digest::from_bytes(*digest.as_bytes())
}

impl Engine {
    /// The platform the user named, or this machine's.
    ///
    /// # Errors
    /// Text that is no platform.
    pub fn platform(&self, text: Option<&str>) -> Result<Platform> {
        Ok(text.map_or_else(|| Ok(Platform::host()), str::parse)?)
    }

    /// Fetches the image `name` stands for.
    ///
    /// # Errors
    /// A name that is none, a registry that has it not or cannot be reached, content that is not what it was announced
    /// as, a full disk.
    pub fn pull(&self, name: &str, options: &PullOptions, progress: &dyn Progress) -> Result<Pulled> {
        let reference = self.remote_reference(name)?;
        self.pull_reference(&reference, options, progress)
            .with_context(|| format!("cannot pull {}", reference.familiar()))
    }

    fn pull_reference(&self, reference: &Reference, options: &PullOptions, progress: &dyn Progress) -> Result<Pulled> {
        let platform = self.platform(options.platform.as_deref())?;
        let mirrors = MirrorFailures::default();
        let client = self.client_for(&options.access, reference, Some(mirrors.observer()))?;
        let fetched = match options.all_platforms {
            true => self.pull_whole(&client, reference, options, progress),
            false => self.pull_with(&client, reference, &platform, options, progress),
        };
        drop(client);
        fetched.map_err(|error| mirrors.explain(error))
    }

    pub(super) fn pull_with(
        &self,
        client: &Client,
        reference: &Reference,
        platform: &Platform,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Pulled> {
        let resolved = client.resolve(reference, platform)?;
        if let Some(left) = &resolved.manifest.origin.rate_limit {
            progress.event(Event::Note(&allowance(&resolved.manifest.origin.endpoint.registry, left)));
        }
        if options.platform.is_some() {
            check_platform(&ImageConfig::parse(&resolved.config_bytes)?, platform)?;
        }
        let fetched = self.fetch_resolved(client, reference, &resolved, options, progress)?;

        let name = canonical_by_digest(reference);
        let (image, digest, same) = retried(|| {
            let (image, digest) = self.record_image(reference, &resolved)?;
            let before = self.store.refs().get(&name)?;
            let same = before.is_some_and(|tag| tag.image == image && tag.manifest == Some(digest));
            if !same {
                self.store.refs().set(&name, &image, Some(digest), Expect::Any)?;
            }
            Ok((image, digest, same))
        })?;
        self.image_event("pull", &image, Some(&name));
        Ok(Pulled { image, name, familiar: reference.familiar(), digest, fetched: fetched || !same })
    }

    /// Fetches the layers of an image that are not here; says whether there were any.
    pub(super) fn fetch_resolved(
        &self,
        client: &Client,
        reference: &Reference,
        resolved: &ResolvedImage,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<bool> {
        let config = ImageConfig::parse(&resolved.config_bytes)?;
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != resolved.layers.len() {
            return Err(CommandError::new(format!(
                "the manifest has {} layers and the config {}",
                resolved.layers.len(),
                diff_ids.len()
            )));
        }
        let mut named: Vec<Digest> = diff_ids.iter().map(|layer| layer.0).collect();
        named.push(Digest::of(&resolved.config_bytes));
        self.store.protect(&named)?;
        let keep = options.keep.unwrap_or(self.settings.keep_compressed) == KeepCompressed::Always;
        self.fetch_layers(client, reference, &resolved.layers, diff_ids, keep, progress)
    }

    /// Keeps manifest, index and config, and what is known of the layers. Gives the image and the digest its name
    /// stands for.
    pub(super) fn record_image(
        &self,
        reference: &Reference,
        resolved: &ResolvedImage,
    ) -> store::Result<(ImageId, Digest)> {
        let mut manifests = vec![self.store.blobs().put(&resolved.manifest.bytes)?];
        if let Some(index) = &resolved.index {
            manifests.push(self.store.blobs().put(&index.bytes)?);
        }
        let digest = manifests[manifests.len() - 1];
        let origin = format!("{}/{}", reference.registry(), reference.repository());
        let compressed = resolved.layers.iter().map(|layer| {
            let form = CompressedLayer::new(layer.media_type.as_str(), to_store(&layer.digest), layer.size);
            vec![CompressedLayer { origin: Some(origin.clone()), ..form }]
        });
        let provenance = Provenance { source: Some(reference.canonical()), ..Provenance::default() };
        let record = ImageRecord {
            stored: None,
            provenance: vec![provenance; resolved.layers.len()],
            compressed: compressed.collect(),
            manifests,
            ..ImageRecord::default()
        };
        Ok((self.store.images().put(&resolved.config_bytes, &record)?, digest))
    }

    /// Fetches the layers that are not here; says whether there were any.
    pub(in crate::engine) fn fetch_layers(
        &self,
        client: &Client,
        reference: &Reference,
        descriptors: &[Descriptor],
        diff_ids: &[DiffId],
        keep: bool,
        progress: &dyn Progress,
    ) -> Result<bool> {
        // A layer that is here may still miss the compressed bytes that are to be kept.
        let complete = |descriptor: &Descriptor, diff_id: &DiffId| {
            let bytes = to_store(&descriptor.digest);
            self.store.layers().has(diff_id) && (!keep || bytes == diff_id.0 || self.store.blobs().has(&bytes))
        };
        let mut missing: Vec<(&Descriptor, &DiffId)> = Vec::new();
        for (descriptor, diff_id) in descriptors.iter().zip(diff_ids) {
            if complete(descriptor, diff_id) {
                // One that was killed after its last byte was taken in may have left its download.
                self.store.blobs().discard_partial(&to_store(&descriptor.digest))?;
                progress.event(Event::Done(&short(descriptor), "Already exists"));
            } else if !missing.iter().any(|(_, other)| *other == diff_id) {
                missing.push((descriptor, diff_id));
            }
        }
        progress.event(Event::Total(missing.iter().map(|(descriptor, _)| descriptor.size).sum()));
        let next = AtomicUsize::new(0);
        let failure: Mutex<Option<CommandError>> = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..STREAMS.min(missing.len()) {
                scope.spawn(|| {
                    while let Some((descriptor, diff_id)) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Err(error) = self.fetch_layer(client, reference, descriptor, diff_id, keep, progress) {
                            // One failure ends the pull: no further layer is begun.
                            next.store(missing.len(), Ordering::Relaxed);
                            if let Ok(mut failure) = failure.lock() {
                                failure.get_or_insert(error);
                            }
                        }
                    }
                });
            }
        });
        match failure.into_inner() {
            Ok(None) => Ok(!missing.is_empty()),
            Ok(Some(error)) => Err(error),
            Err(_) => Err(CommandError::new("a worker of the pull ended unexpectedly")),
        }
    }

    /// Fetches one layer; its compressed bytes stay if they are to be kept.
    pub(super) fn fetch_layer(
        &self,
        client: &Client,
        reference: &Reference,
        descriptor: &Descriptor,
        diff_id: &DiffId,
        keep: bool,
        progress: &dyn Progress,
    ) -> Result<()> {
        let id = short(descriptor);
        let digest = to_store(&descriptor.digest);
        progress.event(Event::Started(&id, descriptor.size));
        let announced = Some((digest, descriptor.size));
        let keep = keep && digest != diff_id.0;
        if descriptor.size < RESUMABLE && !keep {
            let network = client.blob_unverified(reference, descriptor, 0)?;
            let broken = AtomicBool::new(false);
            let reader = Counted { inner: network, id: &id, progress, broken: &broken };
            self.store.layers().ingest(reader, Some(diff_id), announced).with_context(|| format!("layer {id}"))?;
        } else {
            // Twice at most: the second time from the first byte on.
            while !self.fetch_resumable(client, reference, descriptor, diff_id, keep, progress)? {
                progress.event(Event::Note(&format!("{id}: what was kept of it is wrong, fetching it anew")));
            }
        }
        progress.event(Event::Done(&id, "Pull complete"));
        Ok(())
    }

    /// Fetches a layer, from where an earlier pull was cut. `false` if the bytes that one left turned out to be wrong;
    /// they are gone then.
    fn fetch_resumable(
        &self,
        client: &Client,
        reference: &Reference,
        descriptor: &Descriptor,
        diff_id: &DiffId,
        keep: bool,
        progress: &dyn Progress,
    ) -> Result<bool> {
        let (id, digest) = (short(descriptor), to_store(&descriptor.digest));
        let kept = self.store.blobs().ingest(&digest, descriptor.size, PATIENCE)?;
        // Whoever held the partial download before us may have finished the layer.
        let here = self.store.layers().has(diff_id);
        if here && (!keep || kept.is_none()) {
            return Ok(true);
        }
        let announced = Some((digest, descriptor.size));
        let broken = AtomicBool::new(false);
        let Some(kept) = kept else {
            // The compressed blob itself is in the store already.
            let reader = self.store.blobs().open(&digest)?;
            self.store.layers().ingest(reader, Some(diff_id), announced).with_context(|| format!("layer {id}"))?;
            return Ok(true);
        };
        let offset = kept.offset();
        if offset > 0 {
            progress.event(Event::Note(&format!("{id}: continuing after {}", crate::ui::human::size(offset))));
            progress.event(Event::Advanced(&id, offset));
        }
        let network = client.blob_unverified(reference, descriptor, offset)?;
        let mut tee = kept.tee(Counted { inner: network, id: &id, progress, broken: &broken })?;
        let ingested = match here {
            false => self.store.layers().ingest(&mut tee, Some(diff_id), announced).map(drop),
            true => read_whole(&mut tee, digest, descriptor.size),
        };
        let kept = tee.into_ingest();
        match ingested {
            Ok(()) => {
                // Both digests were right, or somebody else finished the layer before our bytes had all come.
                if keep && kept.offset() == kept.size() {
                    kept.commit()?;
                } else if !keep {
                    kept.throw_away()?;
                }
                Ok(true)
            }
            // The beginning that came is good as far as anybody knows: the next pull goes on from there.
            Err(error) if broken.load(Ordering::Relaxed) => Err(error).context(format!("layer {id}")),
            Err(error) => {
                kept.throw_away()?;
                if offset > 0 { Ok(false) } else { Err(error).context(format!("layer {id}")) }
            }
        }
    }
}

/// Reads a blob to its verified end.
fn read_whole(reader: impl Read, digest: Digest, size: u64) -> store::Result<()> {
    let what = format!("blob {digest}");
    let mut verified = VerifiedReader::new(reader, what.clone(), digest, size);
    io::copy(&mut verified, &mut io::sink()).map_err(|source| store::Error::Read { what, source })?;
    Ok(())
}

/// A platform that the user named must be the image's, also where the registry offers no choice.
fn check_platform(config: &ImageConfig, wanted: &Platform) -> Result<()> {
    let variant = wanted.variant.is_none() || config.variant.is_none() || wanted.variant == config.variant;
    if config.os == wanted.os && config.architecture == wanted.architecture && variant {
        return Ok(());
    }
    let found = format!("{}/{}", config.os, config.architecture);
    Err(CommandError::new(format!("the image is for {found}, not for {wanted}"))
        .hint("the registry offers this one platform only; leave --platform out to take it"))
}

/// What mirrors could not serve, to be told when in the end nobody could.
#[derive(Clone, Default)]
struct MirrorFailures(Arc<Mutex<Vec<String>>>);

impl MirrorFailures {
    fn observer(&self) -> Observer {
        let failures = Arc::clone(&self.0);
        Arc::new(move |event| {
            if let registry_client::Event::MirrorFailed { mirror, cause, .. } = event
                && let Ok(mut failures) = failures.lock()
            {
                let line = format!("the mirror {mirror} was asked first: {cause}");
                if !failures.contains(&line) {
                    failures.push(line);
                }
            }
        })
    }

    fn explain(&self, mut error: CommandError) -> CommandError {
        if let Ok(failures) = self.0.lock() {
            error.hints.extend(failures.iter().cloned());
        }
        error
    }
}

/// What a registry said about the pulls that are left.
fn allowance(registry: &str, left: &RateLimit) -> String {
    let of = left.limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
    let within = left.window.map(|seconds| format!(" within {} min", seconds.div_ceil(60))).unwrap_or_default();
    format!("{registry} allows {} more pulls{of}{within}", left.remaining)
}

/// How listings show a blob.
fn short(descriptor: &Descriptor) -> String {
    descriptor.digest.hex().chars().take(12).collect()
}

/// Tells the progress how many bytes went through, and remembers whether it was the network that failed.
struct Counted<'a, R> {
    inner: R,
    id: &'a str,
    progress: &'a dyn Progress,
    broken: &'a AtomicBool,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer).inspect_err(|error| {
            // The client verifies too: bytes that it finds wrong are no beginning to go on from.
            let wrong = error.get_ref().and_then(|inner| inner.downcast_ref::<registry_client::Error>());
            let wrong = matches!(
                wrong,
                Some(registry_client::Error::DigestMismatch { .. } | registry_client::Error::SizeMismatch { .. })
            );
            self.broken.store(!wrong, Ordering::Relaxed);
        })?;
        self.progress.event(Event::Advanced(self.id, got as u64));
        Ok(got)
    }
}
