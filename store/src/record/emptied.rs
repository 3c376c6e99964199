//! A volume's record that was written without waiting for the disk and that a power cut emptied.
//!
//! Directories and names are entries of directories, which file systems bring to the disk in their order and before what is synced
//! later; the bytes of the record itself may come after. So a volume whose files are there has its name too, and with both a record can
//! be made: such a record never held more than that.

use std::fs;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::names::id_of_link;
use super::{Record, Records};
use crate::error::{Error, Result};
use crate::files;

impl Records<'_> {
    /// The record of a directory whose file holds nothing.
    pub(super) fn emptied<T: DeserializeOwned>(&self, id: &str) -> Result<Record<T>> {
        let directory = self.path(id)?;
        let made = fs::metadata(&directory).and_then(|facts| facts.modified());
        let made = made.map_err(Error::io("stat", &directory))?;
        let created = Timestamp::try_from(made).unwrap_or(Timestamp::UNIX_EPOCH);
        let damaged = |error: serde_json::Error| Error::Damaged(format!("{}: {error}", directory.display()));
        // Without a name of its own it had its id for one.
        let name = self.name_of(id)?.unwrap_or_else(|| id.to_owned());
        let data = serde_json::from_value(json!({})).map_err(damaged)?;
        Ok(Record { id: id.to_owned(), name, created, uses: Vec::new(), data })
    }

    /// The name that leads to this id.
    fn name_of(&self, id: &str) -> Result<Option<String>> {
        let names = self.directory(self.home_of(id)).join("names");
        for name in files::names(&names)? {
            let target = files::optional(fs::read_link(names.join(&name)).map_err(Error::io("read the link", &names)))?;
            if target.is_some_and(|target| target.to_str().and_then(id_of_link).as_deref() == Some(id)) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::testing;

    #[test]
    fn a_volume_whose_record_was_emptied_is_found_by_its_name() {
        let (_dir, store) = testing::store();
        let volumes = store.volumes().unsynced();
        let id = volumes.new_id().unwrap();
        let data: BTreeMap<String, String> = BTreeMap::new();
        let record = Record { id: id.clone(), name: "data".into(), created: Timestamp::now(), uses: vec![], data };
        volumes.create(&record).unwrap();
        for left in [&b""[..], &[0; 40]] {
            fs::write(volumes.path(&id).unwrap().join("record.json"), left).unwrap();
            let found: Record<BTreeMap<String, String>> = store.volumes().read(&id).unwrap();
            assert_eq!((&found.id, &found.name, &found.data), (&id, &record.name, &record.data));
            assert_eq!(volumes.list::<BTreeMap<String, String>>().unwrap().len(), 1);
        }
        assert_eq!(volumes.find("data").unwrap(), id);
        // What is changed then is written whole.
        volumes.change(&id, |data: &mut BTreeMap<String, String>| drop(data.insert("a".into(), "b".into()))).unwrap();
        assert_eq!(volumes.read::<BTreeMap<String, String>>(&id).unwrap().data["a"], "b");
        volumes.remove(&id).unwrap();
        assert!(volumes.find("data").unwrap_err().is_not_found());
        // Containers' records tell more than their names.
        let containers = store.containers();
        containers.create(&record).unwrap();
        fs::write(containers.path(&id).unwrap().join("record.json"), "").unwrap();
        assert!(matches!(containers.read::<BTreeMap<String, String>>(&id), Err(Error::Damaged(_))));
    }
}
