//! Unpacking an archive into a draft: its owners and modes stay, what is in the way is replaced, and directories that it
//! does not list are followed through links that are there. Its members come in the order of their paths, one at a time,
//! and leave nothing in memory but where they went.

use std::sync::Arc;

use store::layer::LayerPath;

use super::OpError;
use super::archive::{Archive, Given};
use super::place::{Draft, join};

impl Draft<'_> {
    /// Unpacks an archive into the directory `destination`.
    ///
    /// # Errors
    /// [`OpError`] if the destination is not a directory, or the archive cannot be read.
    pub fn unpack(&mut self, archive: Archive, destination: &str) -> Result<(), OpError> {
        let (target, there) = self.resolve(destination.as_bytes())?;
        if there.as_ref().is_some_and(|node| !node.is_directory()) {
            return Err(OpError::Message(format!("{target} is in the way: it is not a directory")));
        }
        self.directory(&target)?;
        self.replace = true;
        let given = Given { owner: self.attributes.owner, time: self.attributes.time };
        let done = self.members(&Arc::new(archive.with(given)), &target);
        self.replace = false;
        done
    }

    fn members(&mut self, archive: &Arc<Archive>, target: &LayerPath) -> Result<(), OpError> {
        let number = self.items.add(Arc::clone(archive));
        // The directory of the member before: its path in the archive, where that is, and whether it is in the draft.
        let mut last: Option<(LayerPath, LayerPath, bool)> = None;
        for member in archive.members() {
            let member = member?;
            // The root stays as it is.
            let (Some(parent), Some(name)) = (member.path.parent(), member.path.name()) else { continue };
            let (_, directory, is_there) = match &mut last {
                Some(last) if last.0 == parent => last,
                _ => {
                    let resolved = self.resolve(join(target, &parent)?.as_bytes())?.0;
                    last.insert((parent, resolved, false))
                }
            };
            let path = directory.join(name)?;
            // Directories that the archive does not list are followed through links; what it lists replaces them.
            if member.implied && self.resolve(path.as_bytes())?.1.is_some_and(|node| node.is_directory()) {
                continue;
            }
            if !*is_there {
                self.directory(directory)?;
                *is_there = true;
            }
            self.items.insert_member(&path, number, member.place)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
