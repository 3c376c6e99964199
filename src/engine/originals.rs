//! The compressed layers that an image came with, and where their bytes are to be had again: in the store, where they were
//! kept; as the layer itself, if it came uncompressed; by compressing once more what this program compressed before; or at
//! a registry that is known to have them. Push, save and copy write these and no others, so that the digest of the
//! image's manifest stays.

use std::io::{self, Read, Seek, SeekFrom};
use std::str::FromStr;
use std::sync::Mutex;

use registry_client::{Client, Descriptor, Reference};
use serde::Deserialize;
use store::image::{CompressedLayer, Image};
use store::layer::compression::compress;
use store::{DiffId, Digest};

use super::Engine;
use super::archive::MANIFEST_MAX;
use super::form::{Manifest, compression_of};
use super::pull::{PATIENCE, to_client};
use crate::error::{CommandError, Result};

/// Whether the compressed bytes of a layer stay in the store beside the layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeepCompressed {
    /// Unless they can be fetched again: those of an archive stay, those of a registry do not.
    #[default]
    Auto,
    /// Yes: the image can be pushed and saved under its digest with no registry at hand.
    Always,
    /// No.
    Never,
}

impl KeepCompressed {
    /// The words for them.
    pub const WORDS: [&str; 3] = ["auto", "always", "never"];
}

impl FromStr for KeepCompressed {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err(CommandError::usage(format!("keep-compressed is auto, always or never, not {text:?}"))),
        }
    }
}

/// A compressed form of a layer, and every place that is known to have it.
#[derive(Clone, Debug)]
pub struct Original {
    /// The form; its own origin says nothing.
    pub form: CompressedLayer,
    /// Registries with their repositories.
    pub origins: Vec<String>,
}

impl Original {
    /// How the registry client calls it.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(&self.form.media_type, to_client(&self.form.digest), self.form.size)
    }

    /// The repositories of `registry` that have it.
    pub fn repositories<'a>(&'a self, registry: &'a str) -> impl Iterator<Item = &'a str> {
        self.origins.iter().filter_map(move |origin| origin.strip_prefix(registry)?.strip_prefix('/'))
    }
}

/// The manifest whose digest is to stay, and the layers it names, lowest first.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The manifest's digest.
    pub digest: Digest,
    /// The layers.
    pub layers: Vec<Original>,
}

/// Opens bytes at an offset.
pub type Opener<'a> = Box<dyn Fn(u64) -> io::Result<Box<dyn Read + Send>> + Send + Sync + 'a>;

/// A client that is made when somebody is to be asked, and not before.
pub struct LazyClient<'a> {
    engine: &'a Engine,
    client: std::sync::OnceLock<Client>,
}

impl<'a> LazyClient<'a> {
    /// None yet.
    pub fn new(engine: &'a Engine) -> Self {
        Self { engine, client: std::sync::OnceLock::new() }
    }

    /// One that is there.
    pub fn of(engine: &'a Engine, client: Client) -> Self {
        Self { engine, client: std::sync::OnceLock::from(client) }
    }

    /// The client.
    ///
    /// # Errors
    /// As [`Engine::client`].
    pub fn get(&self) -> Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = self.engine.client()?;
        Ok(self.client.get_or_init(|| client))
    }
}

/// As much of a manifest as is read here.
#[derive(Deserialize)]
struct Document {
    config: Named,
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Named {
    digest: Digest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: Digest,
    size: u64,
}

/// As much of an index.
#[derive(Deserialize)]
struct Listing {
    manifests: Vec<Named>,
}

impl Engine {
    /// The compressed forms that are known of each layer.
    pub fn originals(image: &Image) -> Vec<Vec<Original>> {
        let mut all = vec![Vec::new(); image.layers().len()];
        for (forms, into) in image.record.compressed.iter().zip(&mut all) {
            for form in forms {
                add(into, form);
            }
        }
        all
    }

    /// The manifest that an image keeps when it leaves: the one that `named` is or lists, else the last one it came or
    /// left with. None for an image that never had one, or that came as plain tars in an archive: nobody knows that one.
    ///
    /// # Errors
    /// A damaged store.
    pub fn kept_manifest(&self, image: &Image, named: Option<&Digest>) -> Result<Option<Kept>> {
        let known = self.known_manifests(image)?;
        let listing = |manifest: &Manifest| serde_json::from_slice::<Listing>(&manifest.bytes).ok();
        let mut wanted: Vec<Digest> = named.copied().into_iter().collect();
        let mut index = known.iter().find(|manifest| Some(&Digest::of(&manifest.bytes)) == named).cloned();
        // An index that was made here is known to its name alone.
        if let (None, Some(digest)) = (&index, named.filter(|digest| self.store.blobs().has(digest))) {
            let bytes = self.store.blobs().get(digest, MANIFEST_MAX)?;
            index = Some(Manifest { media_type: String::new(), bytes });
        }
        let index = index.as_ref().and_then(listing);
        wanted.extend(index.into_iter().flat_map(|index| index.manifests).map(|manifest| manifest.digest));
        let mut candidates: Vec<(Digest, Document)> = Vec::new();
        for manifest in known.iter().rev() {
            if let Ok(document) = serde_json::from_slice::<Document>(&manifest.bytes)
                && document.config.digest == image.id.0
                && document.layers.len() == image.layers().len()
            {
                candidates.push((Digest::of(&manifest.bytes), document));
            }
        }
        let at = candidates.iter().position(|(digest, _)| wanted.contains(digest)).unwrap_or(0);
        if at >= candidates.len() {
            return Ok(None);
        }
        let (digest, document) = candidates.swap_remove(at);
        let known = Self::originals(image);
        let layers: Vec<Original> =
            document.layers.into_iter().zip(known).map(|(layer, known)| original(layer, known)).collect();
        // An image without layers has none that could be plain.
        let plain = |own: &Original, layer: &DiffId| own.form.digest == layer.0 && own.origins.is_empty();
        let mut all = layers.iter().zip(image.layers());
        let nowhere = !layers.is_empty() && all.all(|(own, layer)| plain(own, layer));
        Ok((!nowhere).then_some(Kept { digest, layers }))
    }

    /// The bytes of a layer in this form; or why each place that should have them does not give them.
    ///
    /// # Errors
    /// A damaged store, a client that cannot be made.
    pub fn reach<'a>(
        &'a self,
        client: &'a LazyClient<'_>,
        layer: &'a DiffId,
        original: &'a Original,
    ) -> Result<std::result::Result<Opener<'a>, Vec<String>>> {
        let form = &original.form;
        if form.digest == layer.0 {
            return Ok(Ok(Box::new(move |offset| {
                let mut reader = self.store.layers().reader(layer).map_err(io::Error::other)?;
                io::copy(&mut reader.by_ref().take(offset), &mut io::sink())?;
                Ok(Box::new(reader) as Box<dyn Read + Send>)
            })));
        }
        if self.store.blobs().has(&form.digest) {
            return Ok(Ok(Box::new(move |offset| {
                let mut file = self.store.blobs().open(&form.digest).map_err(io::Error::other)?;
                file.seek(SeekFrom::Start(offset))?;
                Ok(Box::new(file))
            })));
        }
        // Before anybody is asked: it needs nobody.
        if let Some(again) = self.compress_again(layer, form)? {
            return Ok(Ok(again));
        }
        let mut reasons = Vec::new();
        for origin in &original.origins {
            let (client, descriptor) = (client.get()?, original.descriptor());
            let reference = Reference::parse(origin)?;
            match client.blob(&reference, &descriptor, 0) {
                Ok(first) => {
                    let first = Mutex::new(Some(first));
                    return Ok(Ok(Box::new(move |offset| {
                        let first = first.lock().ok().and_then(|mut first| first.take());
                        match first.filter(|_| offset == 0) {
                            Some(first) => Ok(Box::new(first)),
                            None => {
                                Ok(Box::new(client.blob(&reference, &descriptor, offset).map_err(io::Error::other)?))
                            }
                        }
                    })));
                }
                Err(error) => {
                    reasons.push(format!("{origin} does not give the layer {}: {error}", form.digest.short()))
                }
            }
        }
        if reasons.is_empty() {
            reasons.push(format!("no registry is known that has the layer {}", form.digest.short()));
        }
        Ok(Err(reasons))
    }

    /// Keeps the bytes of a compressed layer.
    ///
    /// # Errors
    /// A disk that is full, bytes that do not have the digest.
    pub fn keep_blob(&self, digest: &Digest, size: u64, mut bytes: impl Read) -> Result<()> {
        if let Some(mut ingest) = self.store.blobs().ingest(digest, size, PATIENCE)? {
            ingest.restart()?;
            io::copy(&mut bytes, &mut ingest)?;
            ingest.commit()?;
        }
        Ok(())
    }

    /// What this program compressed before, compressed once more: the same bytes, unless it has changed meanwhile.
    fn compress_again(&self, layer: &DiffId, form: &CompressedLayer) -> Result<Option<Opener<'_>>> {
        let (Some(level), Some(compression)) = (form.level, compression_of(&form.media_type)) else { return Ok(None) };
        let mut scratch = self.store.scratch_file()?;
        let reader = self.store.layers().reader(layer)?;
        let made = compress(reader, &mut scratch, compression, Some(level), threads())?;
        Ok((made.digest == form.digest).then(|| opener(scratch)))
    }
}

/// The file's bytes from an offset on.
pub fn opener<'a>(file: std::fs::File) -> Opener<'a> {
    Box::new(move |offset| {
        let mut file = file.try_clone()?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    })
}

/// How many threads compress a layer of which two may be compressed at once: as many as there are processors, and not
/// more than memory is meant for ([`compress`] itself bounds only one).
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(3)
}

/// The error for an image whose manifest cannot be kept.
pub fn out_of_reach(kept: &Digest, reasons: Vec<String>) -> CommandError {
    let mut error = CommandError::new(format!(
        "compressed layers are out of reach, without them the manifest digest {kept} will change"
    ));
    error.hints.extend(reasons);
    error.hint("--recompress compresses them anew; the image id stays")
}

/// The layer of a manifest with what is known of it.
fn original(layer: Layer, known: Vec<Original>) -> Original {
    let form = CompressedLayer::new(&layer.media_type, layer.digest, layer.size);
    match known.into_iter().find(|known| known.form.digest == layer.digest) {
        Some(known) => Original { form: CompressedLayer { level: known.form.level, ..form }, origins: known.origins },
        None => Original { form, origins: Vec::new() },
    }
}

fn add(into: &mut Vec<Original>, form: &CompressedLayer) {
    match into.iter_mut().find(|known| known.form.digest == form.digest) {
        Some(known) => {
            known.origins.extend(form.origin.clone().filter(|origin| !known.origins.contains(origin)));
            known.form.level = known.form.level.or(form.level);
        }
        None => into.push(Original {
            form: CompressedLayer { origin: None, ..form.clone() },
            origins: form.origin.clone().into_iter().collect(),
        }),
    }
}
