//! `-o` as the user writes it: `type=NAME,KEY=VALUE,…` with the keys of BuildKit's exporters, or a directory, or `-`. A
//! field that holds a comma is quoted, as in CSV: `type=image,"name=a,b"`.

use std::path::PathBuf;

use store::layer::Compression;

use super::Destination;
use crate::engine::form::Form;
use crate::error::{CommandError, Result};

/// One output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The files of the image, below a directory.
    Local {
        /// The directory.
        path: PathBuf,
        /// What is in it and not in the image goes.
        delete: bool,
    },
    /// The files of the image, as a tar.
    Tar(Destination),
    /// The image as an archive.
    Archive {
        /// Where it goes.
        to: Destination,
        /// `name=`
        names: Vec<String>,
        /// How it is written.
        form: Form,
    },
    /// The image in the store, perhaps pushed.
    Image {
        /// `name=`
        names: Vec<String>,
        /// To the registries of its names.
        push: bool,
        /// How it is pushed.
        form: Form,
    },
    /// Nothing but the steps in the build cache.
    CacheOnly,
}

impl Output {
    /// What `--push` stands for.
    #[must_use]
    pub fn push() -> Self {
        Self::Image { names: Vec::new(), push: true, form: Form::default() }
    }

    /// What `--load` stands for.
    #[must_use]
    pub fn load() -> Self {
        Self::Image { names: Vec::new(), push: false, form: Form::default() }
    }

    /// Whether it goes to standard output.
    #[must_use]
    pub fn uses_stdout(&self) -> bool {
        matches!(self, Self::Tar(Destination::Stdout) | Self::Archive { to: Destination::Stdout, .. })
    }

    /// Reads one.
    ///
    /// # Errors
    /// An unknown type or key, a value that makes no sense, a destination that is missing.
    pub fn parse(text: &str) -> Result<Self> {
        let fields = fields(text)?;
        if let [only] = fields.as_slice()
            && !only.contains('=')
        {
            return Ok(match only.as_str() {
                "" => return Err(CommandError::usage("an output without words").hint("use -o DIR, or -o type=…")),
                "-" => Self::Tar(Destination::Stdout),
                directory => Self::Local { path: directory.into(), delete: false },
            });
        }
        let mut wishes = Wishes::default();
        for field in &fields {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| CommandError::usage(format!("{field:?} in the output {text:?} is not KEY=VALUE")))?;
            wishes.take(key.trim(), value)?;
        }
        wishes.output(text)
    }
}

/// What the fields say.
#[derive(Default)]
struct Wishes {
    kind: Option<String>,
    dest: Option<String>,
    /// `mode=` of a directory.
    delete: Option<bool>,
    names: Vec<String>,
    push: bool,
    form: Form,
    /// Keys that only outputs with a manifest take, the first that was given.
    of_image: Option<String>,
}

impl Wishes {
    fn take(&mut self, key: &str, value: &str) -> Result<()> {
        let flag = |value: &str| match value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(CommandError::usage(format!("{key} is true or false, not {value:?}"))),
        };
        if !matches!(key, "type" | "dest" | "mode" | "rewrite-timestamp") {
            self.of_image.get_or_insert_with(|| key.to_owned());
        }
        match key {
            "type" => self.kind = Some(value.to_owned()),
            "dest" => self.dest = Some(value.to_owned()),
            "mode" => {
                self.delete = Some(match value {
                    "copy" => false,
                    "delete" => true,
                    _ => return Err(CommandError::usage(format!("mode is copy or delete, not {value:?}"))),
                });
            }
            "name" => self.names.extend(value.split(',').map(|name| name.trim().to_owned())),
            "push" => self.push = flag(value)?,
            "compression" => self.form.compression = Some(compression(value)?),
            "compression-level" => {
                let level = value
                    .parse()
                    .map_err(|_| CommandError::usage(format!("the compression level is a number, not {value:?}")))?;
                self.form.level = Some(level);
            }
            "force-compression" => self.form.force = flag(value)?,
            "oci-mediatypes" => self.form.docker_types = !flag(value)?,
            // Everything a build makes has the time of SOURCE_DATE_EPOCH if that is given; the command asks for it.
            "rewrite-timestamp" => {
                flag(value)?;
            }
            _ => match key.strip_prefix("annotation") {
                Some(rest) if rest.starts_with(['.', '-']) => {
                    let (level, name) = rest.split_once('.').unwrap_or((rest, ""));
                    let level = if level.is_empty() { "manifest" } else { &level[1..] };
                    if name.is_empty() {
                        return Err(CommandError::usage(format!("the annotation {key:?} has no key")));
                    }
                    self.form.annotations.add_at(level, name, value)?;
                }
                _ => {
                    return Err(CommandError::usage(format!("an output has no key {key:?}")).hint(
                        "there are type, dest, mode, name, push, compression, compression-level, force-compression, \
                         oci-mediatypes, rewrite-timestamp, annotation.KEY and annotation-LEVEL.KEY",
                    ));
                }
            },
        }
        Ok(())
    }

    fn output(self, text: &str) -> Result<Output> {
        let kind = self.kind.as_deref().ok_or_else(|| {
            CommandError::usage(format!("the output {text:?} does not say its type"))
                .hint("there are local, tar, oci, docker, image, registry and cacheonly")
        })?;
        check_level(&self.form)?;
        if self.delete.is_some() && kind != "local" {
            return Err(CommandError::usage(format!("type={kind} has no mode")).hint("type=local has"));
        }
        let archive_to = |dest: &Option<String>| match dest.as_deref() {
            None | Some("-" | "") => Destination::Stdout,
            Some(path) => Destination::File(path.into()),
        };
        let no_image_keys = || match &self.of_image {
            Some(key) => Err(CommandError::usage(format!("type={kind} has no key {key:?}: it writes files, no image"))),
            None => Ok(()),
        };
        let no_dest = || match &self.dest {
            Some(_) => Err(CommandError::usage(format!("type={kind} has no dest"))
                .hint("type=oci and type=docker write an archive")),
            None => Ok(()),
        };
        Ok(match kind {
            "local" => {
                no_image_keys()?;
                match self.dest.as_deref() {
                    None | Some("") => return Err(CommandError::usage("type=local needs dest=DIRECTORY")),
                    Some("-") => {
                        return Err(
                            CommandError::usage("type=local cannot go to standard output").hint("type=tar,dest=- can")
                        );
                    }
                    Some(path) => Output::Local { path: path.into(), delete: self.delete.unwrap_or(false) },
                }
            }
            "tar" => {
                no_image_keys()?;
                Output::Tar(archive_to(&self.dest))
            }
            // Docker's own `type=docker` without a destination loads the image: here it is in the store anyway.
            "docker" if self.dest.is_none() => Output::Image { names: self.names, push: false, form: self.form },
            "oci" | "docker" => {
                if self.push {
                    return Err(CommandError::usage(format!("type={kind} writes an archive and pushes nothing"))
                        .hint("add a second output: -o type=registry"));
                }
                let mut form = self.form;
                form.docker_types |= kind == "docker" && !text.contains("oci-mediatypes");
                Output::Archive { to: archive_to(&self.dest), names: self.names, form }
            }
            "image" => {
                no_dest()?;
                Output::Image { names: self.names, push: self.push, form: self.form }
            }
            "registry" => {
                no_dest()?;
                Output::Image { names: self.names, push: true, form: self.form }
            }
            "cacheonly" => {
                no_image_keys()?;
                no_dest()?;
                Output::CacheOnly
            }
            other => {
                return Err(CommandError::usage(format!("there is no output of type {other:?}"))
                    .hint("there are local, tar, oci, docker, image, registry and cacheonly"));
            }
        })
    }
}

fn compression(text: &str) -> Result<Compression> {
    match text {
        "uncompressed" => Ok(Compression::None),
        "gzip" => Ok(Compression::Gzip),
        "zstd" => Ok(Compression::Zstd),
        other => Err(CommandError::usage(format!("layers cannot be compressed with {other:?}"))
            .hint("there are gzip, zstd and uncompressed")),
    }
}

fn check_level(form: &Form) -> Result<()> {
    let Some(level) = form.level else { return Ok(()) };
    let (low, high, name) = match form.compression {
        Some(Compression::Zstd) => (1, 22, "zstd"),
        Some(Compression::None) => return Err(CommandError::usage("what is not compressed has no compression level")),
        _ => (0, 9, "gzip"),
    };
    if (low..=high).contains(&level) {
        return Ok(());
    }
    Err(CommandError::usage(format!("the compression level of {name} is {low} to {high}, not {level}")))
}

/// Splits at commas that are not between quotes; a quoted field loses its quotes, and two in it mean one.
pub(in crate::engine::build) fn fields(text: &str) -> Result<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let last = fields.len() - 1;
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => {
                rest.next();
                fields[last].push('"');
            }
            '"' if quoted || fields[last].is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields[last].push(c),
        }
    }
    if quoted {
        return Err(CommandError::usage(format!("a quote in {text:?} is not closed")));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms() {
        assert_eq!(Output::parse("out/x").unwrap(), Output::Local { path: "out/x".into(), delete: false });
        let delete = Output::parse("type=local,dest=d,mode=delete").unwrap();
        assert_eq!(delete, Output::Local { path: "d".into(), delete: true });
        assert_eq!(Output::parse("-").unwrap(), Output::Tar(Destination::Stdout));
        assert_eq!(Output::parse("type=tar").unwrap(), Output::Tar(Destination::Stdout));
        assert_eq!(Output::parse("type=cacheonly").unwrap(), Output::CacheOnly);
        assert!(matches!(Output::parse("type=docker").unwrap(), Output::Image { push: false, .. }));
    }

    #[test]
    fn a_quoted_field_may_hold_commas() {
        let text = "type=image,\"name=a/b:1,c:2\",push=true,compression=zstd,compression-level=19,annotation.k=\"v\"";
        let Output::Image { names, push, form } = Output::parse(text).unwrap() else { panic!("no image") };
        assert_eq!((names, push), (vec!["a/b:1".to_owned(), "c:2".to_owned()], true));
        assert_eq!((form.compression, form.level), (Some(Compression::Zstd), Some(19)));
        assert_eq!(form.annotations.manifest["k"], "\"v\"", "quotes inside a field are part of it");
        assert_eq!(fields("\"a \"\"b\"\"\",c").unwrap(), ["a \"b\"", "c"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in [
            "",
            "type=nothing",
            "dest=x",
            "type=local",
            "type=local,dest=-",
            "type=local,dest=x,compression=gzip",
            "type=image,dest=x",
            "type=oci,push=true",
            "type=tar,mode=copy",
            "type=local,dest=x,mode=move",
            "type=image,compression=lz4",
            "type=image,compression=gzip,compression-level=10",
            "type=image,compression=uncompressed,compression-level=1",
            "type=image,push=perhaps",
            "type=image,annotation.=x",
            "type=image,annotation-nowhere.a=x",
            "type=image,wrong=1",
            "type=image,\"name=x",
            "type=image,name",
        ] {
            assert!(Output::parse(wrong).is_err(), "{wrong}");
        }
    }
}
