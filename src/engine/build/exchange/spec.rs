//! `--cache-from` and `--cache-to` as the user writes them, with the keys of BuildKit.

use std::path::PathBuf;

use store::layer::Compression;

use super::super::output::fields;
use crate::error::{CommandError, Result};

/// Which steps are exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Those of the stages that the image stands on.
    #[default]
    Min,
    /// Those of all stages.
    Max,
}

/// A cache to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheFrom {
    /// A directory.
    Local {
        /// The directory.
        src: PathBuf,
        /// Which of the caches in it.
        tag: String,
    },
    /// An artifact in a registry, or an image with an inline cache.
    Registry(String),
}

/// A cache to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheTo {
    /// A directory.
    Local {
        /// The directory.
        dest: PathBuf,
        /// The name of this cache in it.
        tag: String,
        /// Nothing else stays in it.
        reset: bool,
        /// What is exported, and how.
        how: How,
    },
    /// An artifact in a registry.
    Registry {
        /// Its name there.
        reference: String,
        /// What is exported, and how.
        how: How,
    },
    /// In the config of the image itself.
    Inline,
}

/// What is exported, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct How {
    /// Which steps.
    pub mode: Mode,
    /// How layers are compressed.
    pub compression: Compression,
    /// How hard.
    pub level: Option<u32>,
    /// A cache that cannot be written is only told of.
    pub ignore_error: bool,
}

impl Default for How {
    fn default() -> Self {
        Self { mode: Mode::Min, compression: Compression::Zstd, level: None, ignore_error: false }
    }
}

/// The words of one option, taken out one by one.
struct Words {
    option: &'static str,
    pairs: Vec<(String, String)>,
}

impl Words {
    fn parse(option: &'static str, text: &str) -> Result<Self> {
        let fields = fields(text)?;
        if let [reference] = fields.as_slice()
            && !reference.contains('=')
            && !reference.is_empty()
        {
            // docker's old form: a reference alone.
            let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
            return Ok(Self { option, pairs: vec![pair("type", "registry"), pair("ref", reference)] });
        }
        let pairs = fields.iter().map(|field| {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| CommandError::usage(format!("{field:?} in --{option} {text:?} is not KEY=VALUE")))?;
            Ok((key.trim().to_owned(), value.to_owned()))
        });
        Ok(Self { option, pairs: pairs.collect::<Result<_>>()? })
    }

    fn take(&mut self, key: &str) -> Option<String> {
        let at = self.pairs.iter().rposition(|(name, _)| name == key)?;
        Some(self.pairs.remove(at).1)
    }

    fn need(&mut self, key: &str, kind: &str) -> Result<String> {
        let option = self.option;
        self.take(key)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| CommandError::usage(format!("--{option} type={kind} needs {key}=")))
    }

    fn finish<T>(self, value: T) -> Result<T> {
        match self.pairs.first() {
            None => Ok(value),
            Some((key, _)) => Err(CommandError::usage(format!("--{} has no key {key:?} for this type", self.option))
                .hint("`img build --help` lists them")),
        }
    }

    fn wrong_type(&self, kind: &str, known: &str) -> CommandError {
        CommandError::usage(format!("--{} has no type {kind:?}", self.option)).hint(format!("there are {known}"))
    }

    fn how(&mut self) -> Result<How> {
        let mut how = How::default();
        if let Some(mode) = self.take("mode") {
            how.mode = match mode.as_str() {
                "min" => Mode::Min,
                "max" => Mode::Max,
                other => return Err(CommandError::usage(format!("the mode of a cache is min or max, not {other:?}"))),
            };
        }
        if let Some(name) = self.take("compression") {
            how.compression = match name.as_str() {
                "uncompressed" => Compression::None,
                "gzip" => Compression::Gzip,
                "zstd" => Compression::Zstd,
                other => {
                    return Err(CommandError::usage(format!("layers cannot be compressed with {other:?}"))
                        .hint("there are zstd, gzip and uncompressed"));
                }
            };
        }
        if let Some(level) = self.take("compression-level") {
            let most = if how.compression == Compression::Gzip { 9 } else { 22 };
            let level = level.parse().ok().filter(|level| (1..=most).contains(level));
            how.level =
                Some(level.ok_or_else(|| CommandError::usage(format!("the compression level is 1 to {most}")))?);
        }
        how.ignore_error = self.flag("ignore-error")?.unwrap_or(false);
        // What BuildKit may be asked for, and what is always so here.
        for key in ["image-manifest", "oci-mediatypes"] {
            if self.flag(key)? == Some(false) {
                return Err(CommandError::usage(format!("a cache is not written with {key}=false"))
                    .hint("it is always an image manifest with OCI media types"));
            }
        }
        Ok(how)
    }

    fn flag(&mut self, key: &str) -> Result<Option<bool>> {
        match self.take(key).as_deref() {
            None => Ok(None),
            Some("false" | "0") => Ok(Some(false)),
            Some("true" | "1") => Ok(Some(true)),
            Some(other) => Err(CommandError::usage(format!("{key} is true or false, not {other:?}"))),
        }
    }
}

impl CacheFrom {
    /// Reads one.
    ///
    /// # Errors
    /// An unknown type or key, a place that is missing.
    pub fn parse(text: &str) -> Result<Self> {
        let mut words = Words::parse("cache-from", text)?;
        let kind = words.need("type", "local|registry")?;
        let from = match kind.as_str() {
            "local" => {
                let src = words.need("src", &kind)?.into();
                Self::Local { src, tag: words.take("tag").unwrap_or_else(|| "latest".to_owned()) }
            }
            "registry" => Self::Registry(words.need("ref", &kind)?),
            other => return Err(words.wrong_type(other, "local and registry (which reads inline caches too)")),
        };
        words.finish(from)
    }

    /// Its name in messages.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Local { src, .. } => src.display().to_string(),
            Self::Registry(reference) => reference.clone(),
        }
    }
}

impl CacheTo {
    /// Reads one.
    ///
    /// # Errors
    /// An unknown type or key, a place that is missing.
    pub fn parse(text: &str) -> Result<Self> {
        let mut words = Words::parse("cache-to", text)?;
        let kind = words.need("type", "local|registry|inline")?;
        let to = match kind.as_str() {
            "local" => {
                let dest = words.need("dest", &kind)?.into();
                let tag = words.take("tag").unwrap_or_else(|| "latest".to_owned());
                Self::Local { dest, tag, reset: words.flag("reset")?.unwrap_or(false), how: words.how()? }
            }
            "registry" => Self::Registry { reference: words.need("ref", &kind)?, how: words.how()? },
            "inline" => Self::Inline,
            other => return Err(words.wrong_type(other, "local, registry and inline")),
        };
        words.finish(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_options() {
        let from = |text| CacheFrom::parse(text).unwrap();
        assert_eq!(from("type=local,src=/c"), CacheFrom::Local { src: "/c".into(), tag: "latest".into() });
        assert_eq!(from("r.example/c:1"), CacheFrom::Registry("r.example/c:1".into()));
        assert_eq!(from("type=registry,ref=r.example/c:1"), from("r.example/c:1"));
        let CacheTo::Local { how, tag, .. } =
            CacheTo::parse("type=local,dest=d,mode=max,compression=gzip,compression-level=9,tag=x").unwrap()
        else {
            panic!("not local")
        };
        assert_eq!((how.mode, how.compression, how.level, &*tag), (Mode::Max, Compression::Gzip, Some(9), "x"));
        assert_eq!(CacheTo::parse("type=inline").unwrap(), CacheTo::Inline);
        for wrong in ["", "type=local", "type=local,src=", "type=gha", "type=local,src=x,mode=max", "src=x"] {
            assert!(CacheFrom::parse(wrong).is_err(), "{wrong}");
        }
        for wrong in [
            "type=inline,mode=max",
            "type=local,dest=x,mode=most",
            "type=registry",
            "type=registry,ref=x,compression=lz4",
            "type=registry,ref=x,ignore-error=perhaps",
            "type=local,dest=x,compression-level=0",
        ] {
            assert!(CacheTo::parse(wrong).is_err(), "{wrong}");
        }
    }
}
