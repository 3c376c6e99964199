//! New volumes: `volume create`, and those that a container names or that its image declares. A volume is its record and, in the
//! record's directory, what its files are kept in.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use store::record::{Record, Records};

use super::attach;
use super::driver::{Backing, DriverOptions, Plan};
use crate::engine::Engine;
use crate::engine::container::volumes::VolumeData;
use crate::error::{CommandError, Result};

/// How long is waited for the record of a volume whose name somebody has taken.
const PATIENCE: Duration = Duration::from_secs(5);

impl Engine {
    /// Makes a volume, or finds the one that has the name already; gives its name.
    ///
    /// # Errors
    /// A name that no volume may have, one that is there with other options, a full disk.
    pub fn create_volume(
        &self,
        name: Option<&str>,
        labels: Vec<(String, String)>,
        options: DriverOptions,
    ) -> Result<String> {
        Plan::of(&options)?;
        let data = VolumeData { labels, options, ..VolumeData::default() };
        let Some(name) = name else {
            let id = self.store.volumes().new_id()?;
            self.new_volume_in(self.store.volumes(), id.clone(), id.clone(), data)?;
            return Ok(id);
        };
        self.store.sweep()?;
        if self.new_volume_unless_there(self.store.volumes(), name, &data)? || data.options.is_empty() {
            return Ok(name.to_owned());
        }
        let there: Record<VolumeData> = self.volume_record(name)?;
        if data.options != there.data.options {
            return Err(CommandError::new(format!("there is a volume {name} already, with other options"))
                .hint(format!("`img volume inspect {name}` shows them")));
        }
        Ok(name.to_owned())
    }

    /// Makes the volume `name` if there is none; says whether it did. Several may do so in one instant: the name of a volume is
    /// taken before its record can be seen, so that who finds it taken by nobody looks again.
    pub(in crate::engine) fn new_volume_unless_there(
        &self,
        volumes: Records<'_>,
        name: &str,
        data: &VolumeData,
    ) -> Result<bool> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.store.volumes().find(name) {
                Ok(_) => return Ok(false),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
            let record = new_record(volumes.new_id()?, name.to_owned(), data.clone());
            let plan = Plan::of(&data.options)?;
            match volumes.create_furnished(&record, |directory| make(directory, &plan)) {
                Err(store::Error::Conflict(_)) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
                made => return self.made(&record, made).map(|_| true),
            }
        }
    }

    /// Makes a volume of this id and name. While the maker is held, nobody takes it for one that was left behind.
    pub(in crate::engine) fn new_volume_in(
        &self,
        volumes: Records<'_>,
        id: String,
        name: String,
        data: VolumeData,
    ) -> Result<Maker> {
        let record = new_record(id, name, data);
        let plan = Plan::of(&record.data.options)?;
        let made = volumes.create_furnished(&record, |directory| make(directory, &plan));
        self.made(&record, made)
    }

    /// What came of making a volume: nobody has seen it before it had what its files are kept in.
    fn made(&self, record: &Record<VolumeData>, made: store::Result<File>) -> Result<Maker> {
        let held =
            made.map_err(|error| CommandError::from(error).prefixed(&format!("cannot make volume {}", record.name)))?;
        self.volume_event("create", &record.name);
        Ok(Maker { _directory: held })
    }
}

/// Whoever makes a volume: a lock (flock(2)) on its directory since before anybody could see it.
pub(in crate::engine) struct Maker {
    _directory: File,
}

/// Whether somebody makes the volume in this directory and has not come to the end.
pub(super) fn is_in_the_making(directory: &Path) -> bool {
    File::open(directory).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn new_record(id: String, name: String, data: VolumeData) -> Record<VolumeData> {
    Record { id, name, created: Timestamp::now(), uses: Vec::new(), data }
}

/// Makes what a volume's files will be in.
fn make(directory: &Path, plan: &Plan) -> store::Result<()> {
    let data = directory.join("data");
    fs::DirBuilder::new().recursive(true).create(&data).map_err(store::Error::io("make", &data))?;
    match plan.backing {
        Backing::Directory => {
            // Whatever the umask: who may look into it says the image, the options, or nobody.
            fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).map_err(store::Error::io("make", &data))?;
            attach::own(&data, plan).map_err(store::Error::io("make", &data))
        }
        Backing::Sized { size, inodes } => {
            let path = directory.join(attach::IMAGE);
            let (owner, mode) = (plan.owner.unwrap_or_default(), plan.mode.unwrap_or(0o755));
            let image = File::options().write(true).create_new(true).mode(0o600).open(&path);
            let written = image.and_then(|image| {
                store::ext4::Ext4 { size, inodes, journal: true, owner, mode }.write(&image)?;
                image.sync_all()
            });
            written.map_err(store::Error::io("make", &path))
        }
        _ => Ok(()),
    }
}
