//! Cache keys. A key is the digest of everything that decides what a step makes: the file system it starts from, the
//! instruction as it is after replacement, and the digests of what it reads. It is made of named parts, whose own
//! digests are kept with the result, so that a later build can say which part differs.
//!
//! The file system a step starts from is named by its layers (their chain id), not by the steps that made them: when a
//! step is run again and makes the same bytes, everything behind it is still cached. A step that made no layer leaves
//! a mark of its own, since it was run for some other effect.

use serde_json::{Map, Value};
use store::digest::Digester;
use store::{ChainId, DiffId, Digest};

/// Changed when the same step would be made differently.
const GENERATION: &[u8] = b"img build 1";

/// A key in the making.
#[derive(Debug, Default)]
pub struct KeyBuilder {
    parts: Vec<(String, Digest)>,
}

impl KeyBuilder {
    /// A key for a step of this kind.
    #[must_use]
    pub fn new(kind: &str) -> Self {
        let mut key = Self::default();
        key.part("generation", GENERATION);
        key.part("kind", kind.as_bytes());
        key
    }

    /// Adds a part.
    pub fn part(&mut self, name: impl Into<String>, bytes: &[u8]) -> &mut Self {
        self.parts.push((name.into(), Digest::of(bytes)));
        self
    }

    /// Adds a list: its items cannot run into each other.
    pub fn list(&mut self, name: impl Into<String>, items: impl IntoIterator<Item = impl AsRef<[u8]>>) -> &mut Self {
        let mut digester = Digester::new();
        for item in items {
            let item = item.as_ref();
            digester.update(&(item.len() as u64).to_le_bytes());
            digester.update(item);
        }
        self.parts.push((name.into(), digester.finish()));
        self
    }

    /// The key.
    #[must_use]
    pub fn finish(&self) -> Digest {
        let mut digester = Digester::new();
        for (name, digest) in &self.parts {
            digester.update(&(name.len() as u64).to_le_bytes());
            digester.update(name.as_bytes());
            digester.update(digest.as_bytes());
        }
        digester.finish()
    }

    /// The parts by name, for the record.
    #[must_use]
    pub fn explain(&self) -> Value {
        let parts: Map<String, Value> =
            self.parts.iter().map(|(name, digest)| (name.clone(), Value::String(digest.short()))).collect();
        Value::Object(parts)
    }
}

/// Names the file system that steps start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystemId(pub Digest);

impl FileSystemId {
    /// That of layers, lowest first.
    #[must_use]
    pub fn of(layers: &[DiffId]) -> Self {
        Self(ChainId::of(layers).map_or_else(|| Digest::of(b"scratch"), |chain| chain.0))
    }

    /// That after a step with `key`, which made the top one of `layers` or, without `made`, nothing.
    #[must_use]
    pub fn after(self, key: &Digest, layers: &[DiffId], made: bool) -> Self {
        if made {
            return Self::of(layers);
        }
        Self(KeyBuilder::new("empty").part("before", self.0.as_bytes()).part("step", key.as_bytes()).finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cannot_run_into_each_other() {
        let key = |parts: &[(&str, &str)]| {
            let mut key = KeyBuilder::new("x");
            parts.iter().for_each(|(name, bytes)| {
                key.part(*name, bytes.as_bytes());
            });
            key.finish()
        };
        assert_eq!(key(&[("a", "b")]), key(&[("a", "b")]));
        assert_ne!(key(&[("a", "b")]), key(&[("ab", "")]));
        assert_ne!(key(&[("a", "b"), ("c", "d")]), key(&[("c", "d"), ("a", "b")]));
        let list = |items: &[&str]| KeyBuilder::new("x").list("l", items).finish();
        assert_ne!(list(&["ab", "c"]), list(&["a", "bc"]));
        assert_ne!(list(&[]), list(&[""]));
    }

    #[test]
    fn equal_layers_are_equal_whatever_made_them() {
        let (a, b) = (DiffId(Digest::of(b"a")), DiffId(Digest::of(b"b")));
        let before = FileSystemId::of(&[a]);
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        assert_eq!(before.after(&one, &[a, b], true), before.after(&two, &[a, b], true));
        assert_ne!(before.after(&one, &[a], false), before, "a step without a layer leaves a mark");
        assert_ne!(before.after(&one, &[a], false), before.after(&two, &[a], false));
    }
}
