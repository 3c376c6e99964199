//! The contexts of a build, the main one and those with names: each opened when a step first needs it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Solver;
use crate::context::BuildContext;
use crate::error::BuildError;
use crate::files::{Files, LayerFiles};
use crate::inputs::{ContextSource, NamedContext};
use crate::op::OpError;

/// What is open, by the number of the named context; none for the main one.
#[derive(Default)]
pub(super) struct Contexts(Mutex<HashMap<Option<usize>, Open>>);

struct Open {
    files: Arc<dyn Files>,
    /// The same, where digests found in it are worth remembering.
    remembered: Option<Arc<BuildContext>>,
}

impl Solver<'_> {
    /// The files of the main context, or of the named one with this number.
    pub(super) fn context(&self, which: Option<usize>) -> Result<Arc<dyn Files>, OpError> {
        let mut contexts = self.contexts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = contexts.get(&which) {
            return Ok(Arc::clone(&open.files));
        }
        let open = self.open_context(which)?;
        let files = Arc::clone(&open.files);
        contexts.insert(which, open);
        Ok(files)
    }

    fn open_context(&self, which: Option<usize>) -> Result<Open, OpError> {
        let (source, name, ignore, buildfile) = match which {
            None => {
                let source = self.options.context.as_ref().ok_or_else(|| OpError::Advised {
                    message: "this build has no context to copy from".to_owned(),
                    hint: "give a directory as the context of the build".to_owned(),
                })?;
                let name = "the build context".to_owned();
                (source, name, self.options.ignore.as_deref(), self.options.buildfile_name.as_str())
            }
            Some(number) => match self.options.inputs.contexts.get(number) {
                Some((name, NamedContext::Files(source))) => (source, format!("the context {name}"), None, ""),
                _ => return Err(OpError::Message(format!("there is no context of files with the number {number}"))),
            },
        };
        Ok(match source {
            // As BuildKit has it, ignore files speak in directories of the user only, and the files of a tar keep the
            // owners that it gives them.
            ContextSource::Archive(layer) => {
                Open { files: Arc::new(LayerFiles::new(self.store, &name, &[*layer])?), remembered: None }
            }
            ContextSource::Directory(path) => {
                let opened = BuildContext::open(self.store, path, buildfile, ignore)?.called(&name);
                let opened = Arc::new(opened);
                Open { files: Arc::<BuildContext>::clone(&opened), remembered: Some(opened) }
            }
            ContextSource::Temporary(path) => {
                let opened = BuildContext::open(self.store, path, buildfile, Some(b""))?.called(&name);
                Open { files: Arc::new(opened), remembered: None }
            }
        })
    }

    /// Keeps what was found out about the files for the next build.
    pub(super) fn save_contexts(&self) -> Result<(), BuildError> {
        let contexts = self.contexts.0.lock().unwrap_or_else(PoisonError::into_inner);
        for open in contexts.values().filter_map(|open| open.remembered.as_ref()) {
            open.save(self.store)?;
        }
        Ok(())
    }
}
