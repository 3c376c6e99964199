//! What a container is made of may be another thing by the time it is started again: the process whose namespaces it joins.
//!
//! Who started it hands its monitor a way to put it together anew. The rule: it owns no descriptors, for those are closed in the
//! monitor, and it is called before each start but the first.

use std::sync::Arc;

use crate::container::Container;
use crate::error::{Error, Result};

/// Puts a container together anew; it fails in words for people.
type Renew = dyn Fn() -> Result<Container, String> + Send + Sync;

/// How a container is put together anew before it is started again.
#[derive(Clone)]
pub struct Renewal(Arc<Renew>);

impl Renewal {
    /// One that calls this.
    pub fn new(renew: impl Fn() -> Result<Container, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(renew))
    }

    /// The container as it is to be started now.
    pub(crate) fn container(&self) -> Result<Container> {
        (self.0)().map_err(Error::invalid)
    }
}

impl std::fmt::Debug for Renewal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Renewal")
    }
}
