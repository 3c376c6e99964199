//! What long work tells whoever is watching. The engine tells; it never draws.

/// One step of a transfer.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// The whole transfer is so many bytes; told once, before the parts.
    Total(u64),
    /// A part begins: its short id and size in bytes.
    Started(&'a str, u64),
    /// So many more bytes of a part went through.
    Advanced(&'a str, u64),
    /// A part is done; the word says how: `Pull complete`, `Already exists`, `Pushed`.
    Done(&'a str, &'static str),
    /// Something worth a line.
    Note(&'a str),
}

/// Receives events from several threads at once.
pub trait Progress: Sync {
    /// Takes one event; must not block for long.
    fn event(&self, event: Event<'_>);
}

/// Nobody watches.
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event<'_>) {}
}
