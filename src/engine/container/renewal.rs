//! What a monitor needs to put its container together anew when it starts it again: an engine like the one that started it.
//!
//! Containers that join another one need it, for that one may have been started again meanwhile, or another have its name. A monitor
//! keeps no descriptor of its starter's, so the store is opened again for it.

use std::sync::Arc;

use runner::{Container, Renewal};
use store::Store;

use crate::engine::Engine;
use crate::error::Result;

impl Engine {
    /// How a container is put together anew.
    pub(super) fn renewal(&self, id: &str) -> Renewal {
        let (places, runroot) = (self.store.places().clone(), self.runroot.clone());
        let (settings, environment) = (Arc::clone(&self.settings), Arc::clone(&self.environment));
        let id = id.to_owned();
        let again = move || -> Result<Container> {
            let engine = Self {
                store: Store::open_at(places.clone())?,
                runroot: runroot.clone(),
                settings: Arc::clone(&settings),
                environment: Arc::clone(&environment),
                held: std::sync::Mutex::default(),
            };
            let record = engine.container_record(&id)?;
            let image = engine.run_config(&record.data)?;
            engine.prepare(&record, image.as_ref())
        };
        Renewal::new(move || again().map_err(|error| error.text()))
    }
}
