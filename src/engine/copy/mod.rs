//! `cp`: files between a container and the host, or a tar on standard input or output. One end is read as the entries
//! of a layer ([`source`]), the other takes them one by one ([`sink`]); where they land follows docker's rules
//! ([`target`]). A container's paths are resolved inside its root by descriptor ([`place`]), never on the host; one that
//! does not run is seen with its volumes and binds ([`stopped`]).

pub(super) mod place;
pub(super) mod sink;
pub(super) mod source;
mod stopped;
mod target;

use std::io;

use store::layer::LayerPath;

use runner::RunningIds;

use self::place::Place;
use self::sink::Sink;
use self::source::Source;
use self::stopped::Opened;
use super::Engine;
use crate::error::{CommandError, Result};

/// How files are copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyOptions {
    /// Keep owner, group and extended attributes.
    pub archive: bool,
    /// Follow a symbolic link that is named as the source.
    pub follow_link: bool,
}

/// One side of a copy, as the user wrote it.
enum End<'a> {
    /// A tar on standard input or output.
    Tar,
    /// A path of the host.
    Host(&'a str),
    /// A container, and a path in it.
    Container(&'a str, &'a str),
}

impl<'a> End<'a> {
    /// docker's rule: what begins with `/` or `.` is a path here, else a colon ends the name of a container.
    fn parse(text: &'a str) -> Self {
        match text.split_once(':') {
            _ if text == "-" => Self::Tar,
            _ if text.starts_with(['/', '.']) => Self::Host(text),
            Some((name, path)) if !name.is_empty() => Self::Container(name, path),
            _ => Self::Host(text),
        }
    }
}

impl Engine {
    /// Copies `source` to `destination`.
    ///
    /// # Errors
    /// No such container or file, a destination that cannot take the source, a file that cannot be written.
    pub fn copy(&self, source: &str, destination: &str, options: &CopyOptions) -> Result<()> {
        let mut opened = Vec::new();
        let mut copied = self.copy_from_to(End::parse(source), End::parse(destination), options, &mut opened);
        for one in opened {
            copied = copied.and(self.close_stopped(one));
        }
        copied
    }

    fn copy_from_to(&self, from: End<'_>, to: End<'_>, options: &CopyOptions, opened: &mut Vec<Opened>) -> Result<()> {
        if !matches!(from, End::Container(..)) && !matches!(to, End::Container(..)) {
            return Err(CommandError::usage("neither side names a container")
                .hint("CONTAINER:PATH names a file of a container; a path of the host begins with / or ./"));
        }
        let sink = |place: &Place, directory, shown: String| {
            let owner = (!options.archive).then(|| place.default_owner());
            Sink::new(directory, trimmed(shown), owner).with_ids(place.ids.clone())
        };
        match (from, to) {
            (End::Tar, End::Container(name, path)) => {
                let place = self.container_place(name, true, opened)?;
                // A tar says itself who owns what is in it.
                let mut sink = Sink::new(place.open_directory(path)?, trimmed(place.shown(path)), None)
                    .with_ids(place.ids.clone());
                source::tar(io::stdin().lock(), &mut |entry, data| sink.put(entry, data))?;
                sink.finish()
            }
            (from, End::Tar) => {
                let source = self.source(&from, options, opened)?;
                let base = source.base_for_tar()?;
                sink::tar(io::stdout().lock(), &source, &base)
            }
            (from, to) => {
                let source = self.source(&from, options, opened)?;
                let (place, path) = match to {
                    End::Container(name, path) => (self.container_place(name, true, opened)?, path),
                    End::Host(path) => (Place::host(), path),
                    End::Tar => return Err(CommandError::usage("a tar cannot be copied to a tar")),
                };
                let (directory, base, shown) = target::find(&place, path, &source)?;
                let mut sink = sink(&place, directory, shown);
                source.each(&base, &mut |entry, data| sink.put(entry, data))?;
                sink.finish()
            }
        }
    }

    fn source(&self, from: &End<'_>, options: &CopyOptions, opened: &mut Vec<Opened>) -> Result<Source> {
        match from {
            End::Container(name, path) => {
                Source::open(&self.container_place(name, false, opened)?, path, options.follow_link)
            }
            End::Host(path) => Source::open(&Place::host(), path, options.follow_link),
            End::Tar => Err(CommandError::usage("a tar cannot be copied to a tar")),
        }
    }

    /// The root of a container: as its processes see it if it runs, else as they would, mounted for us alone.
    fn container_place(&self, name: &str, write: bool, opened: &mut Vec<Opened>) -> Result<Place> {
        let record = self.container_named(name)?;
        let directory = self.state_dir(&record.id);
        let (root, ids) =
            match runner::root_of_running(&directory).and_then(|root| Ok((root, RunningIds::of(&directory)?))) {
                Ok(running) => running,
                Err(error) if error.has_ended() => {
                    let (root, one) = self.unless_removed(&record, self.open_stopped(record.clone()))?;
                    opened.push(one);
                    (root, None)
                }
                Err(error) => return Err(error.into()),
            };
        if let Some(ids) = ids.as_ref().filter(|_| write) {
            ids.act_as_root()?;
        }
        Ok(Place::container(name, root, ids))
    }
}

/// A directory as it is shown before a slash.
fn trimmed(shown: String) -> String {
    shown.trim_end_matches('/').to_owned()
}

/// `base` with `below` appended.
fn join(base: &LayerPath, below: &LayerPath) -> Result<LayerPath> {
    Ok(LayerPath::parse(&[base.as_bytes(), b"/", below.as_bytes()].concat())?)
}

#[cfg(test)]
mod tests {
    use super::End;

    #[test]
    fn sides_are_told_apart_as_docker_does() {
        assert!(matches!(End::parse("-"), End::Tar));
        assert!(matches!(End::parse("box:/a:b"), End::Container("box", "/a:b")));
        for host in ["/a:b", "./a:b", "plain", ":x"] {
            assert!(matches!(End::parse(host), End::Host(text) if text == host), "{host}");
        }
    }
}
