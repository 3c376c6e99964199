//! `volume export` and `import`: what is in a volume as a tar. Paths are looked up below the volume's own descriptor.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use crate::engine::Engine;
use crate::engine::archive::write_file;
use crate::engine::copy::place::Place;
use crate::engine::copy::sink::{self, Sink};
use crate::engine::copy::source::{self, Source};
use crate::error::{CommandError, Context as _, Result};

impl Engine {
    /// Writes what is in a volume as a tar to the file `output`, or to standard output.
    ///
    /// # Errors
    /// No such volume, a file that cannot be read or written.
    pub fn export_volume(&self, name: &str, output: Option<&Path>) -> Result<()> {
        self.with_volume(name, |path| {
            let source = Source::open(&Place::host(), &format!("{path}/."), false)?;
            let base = source.base_for_tar()?;
            match output {
                None => sink::tar(io::stdout().lock(), &source, &base),
                Some(file) => write_file(file, |file| sink::tar(file, &source, &base)),
            }
        })
    }

    /// Puts the files of a tar, in the file `input` or on standard input, into a volume that is there.
    ///
    /// # Errors
    /// No such volume, what is no tar or leads out of the volume.
    pub fn import_volume(&self, name: &str, input: Option<&Path>) -> Result<()> {
        let record = self.volume_record(name)?;
        super::snapshot::refuse_to_change(name, &record)?;
        self.with_volume(name, |path| {
            self.never_fill(&record.id)?;
            let mut sink = Sink::new(Place::host().open_directory(path)?, name.to_owned(), None);
            match input {
                None => source::tar(io::stdin().lock(), &mut |entry, data| sink.put(entry, data))?,
                Some(file) => {
                    let tar = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
                    source::tar(BufReader::with_capacity(1 << 20, tar), &mut |entry, data| sink.put(entry, data))?;
                }
            }
            sink.finish()
        })
    }

    /// Does something with the directory that a volume's files are in.
    fn with_volume(&self, name: &str, work: impl FnOnce(&str) -> Result<()>) -> Result<()> {
        let record = self.volume_record(name)?;
        let done = self.attach_volume(&record).and_then(|path| {
            work(path.to_str().ok_or_else(|| CommandError::new(format!("volume {name} has a path that is no text")))?)
        });
        self.let_go();
        self.unless_volume_removed(&record, done.and(self.release_volume(&record.id)))
    }
}
