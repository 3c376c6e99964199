//! A second container like a first one: its flags, and what it wrote.

use super::options::limits::Limits;
use super::run::Startable;
use super::{ContainerData, ContainerRecord};
use crate::engine::Engine;
use crate::engine::progress::Progress;
use crate::error::{CommandError, Result};

/// Numbers that are tried behind a name that is taken.
const NAME_TRIES: u32 = 1000;

/// How a clone differs from its original.
#[derive(Clone, Debug, Default)]
pub struct CloneOptions {
    /// Its name; the original's and `-clone` if none is given.
    pub name: Option<String>,
    /// Another image: what the original wrote is then not copied.
    pub image: Option<String>,
    /// Other limits, over the original's.
    pub limits: Limits,
    /// The command line that asks for it.
    pub invocation: Vec<String>,
    /// The flags alone: nothing that was written.
    pub config_only: bool,
}

impl Engine {
    /// Makes a container with the flags of another one, and a copy of what that has written. A running original stands still
    /// meanwhile.
    ///
    /// # Errors
    /// No such container, a name that is taken, no room for the copy.
    pub fn clone_container(&self, source: &str, clone: &CloneOptions, progress: &dyn Progress) -> Result<Startable> {
        let original = self.container_named(source)?;
        let mut options = original.data.options.clone();
        options.name = Some(match &clone.name {
            Some(name) => name.clone(),
            None => self.name_of_clone(&original.name)?,
        });
        options.invocation.clone_from(&clone.invocation);
        options.limits = options.limits.changed_by(&clone.limits);
        let image = clone.image.clone().unwrap_or_else(|| options.image.clone());
        let pull = options.pull.clone();
        if let (None, Some(id)) = (&clone.image, original.data.image) {
            // The tag may have moved since: what was written lies on the layers of this one.
            options.image = id.to_string();
            options.pull = Some("never".into());
        } else {
            options.image.clone_from(&image);
        }
        let copies = !clone.config_only && clone.image.is_none();
        options.run_by = None;
        options.incomplete = if copies { own_process()? } else { None };
        let mut made = self.create(&options, None, progress)?;
        // It says of itself that it is not whole.
        made.claim = None;
        let asked = |data: &mut ContainerData| (data.options.image, data.options.pull) = (image, pull);
        let changed = self.store.containers().change(&made.record.id, asked).map_err(CommandError::from);
        let finished = changed.and_then(|changed| {
            made.record = changed;
            if !copies {
                return Ok(());
            }
            {
                let _frozen = self.freeze(&original.id)?;
                let from = self.writable(&original.id, &original.data)?.upper;
                super::fork::copy_tree(&from, &self.writable(&made.record.id, &made.record.data)?.upper)?;
            }
            let whole = |data: &mut ContainerData| data.options.incomplete = None;
            made.record = self.store.containers().change(&made.record.id, whole)?;
            Ok(())
        });
        if let Err(error) = finished {
            let error = error.prefixed(&format!("cannot clone container {source}"));
            return Err(match self.remove_container(&made.record.id, true, true) {
                Ok(_) => error,
                Err(second) => error.hint(format!("and cleaning up failed: {}", second.text())),
            });
        }
        Ok(made)
    }

    /// Whether it is a clone whose maker was killed while it copied.
    pub(super) fn is_cut_short(&self, record: &ContainerRecord) -> Result<bool> {
        Ok(record.data.options.incomplete.map(|by| by.open()).transpose()?.is_some_and(|by| by.is_none()))
    }

    fn name_of_clone(&self, name: &str) -> Result<String> {
        let numbered = (1..NAME_TRIES).map(|number| format!("{name}-clone{number}"));
        std::iter::once(format!("{name}-clone"))
            .chain(numbered)
            .find(|name| self.store.containers().find(name).is_err_and(|error| error.is_not_found()))
            .ok_or_else(|| CommandError::new(format!("found no free name for a clone of {name}")))
    }
}

/// This process, for records of what is theirs who make it.
pub fn own_process() -> Result<Option<runner::ProcessId>> {
    let own = i32::try_from(std::process::id()).map_err(|_| CommandError::new("a process id that is none"))?;
    Ok(runner::ProcessId::of(own)?)
}
