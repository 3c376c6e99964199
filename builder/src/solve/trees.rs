//! The trees of layers that steps look into. Steps that come one after another, or at once, often look into the same, so
//! those of some hundred thousand names are kept. A larger one is there for as long as a step has it in use: a build of
//! many steps on an image of half a million files would otherwise have a tree of all of it for each of them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use store::DiffId;

use crate::files::LayerFiles;

/// Most names in all trees that are kept: some 15 MiB.
const NAMES_KEPT: usize = 100_000;

/// Trees by their layers; see the module.
#[derive(Default)]
pub(super) struct Trees {
    used: HashMap<Vec<DiffId>, Weak<LayerFiles>>,
    /// Those kept with the number of their names, the oldest first.
    kept: VecDeque<(Arc<LayerFiles>, usize)>,
    names: usize,
}

impl Trees {
    /// The tree of `layers`, if it is there.
    pub(super) fn get(&self, layers: &[DiffId]) -> Option<Arc<LayerFiles>> {
        self.used.get(layers)?.upgrade()
    }

    /// Adds the tree of `layers`.
    pub(super) fn insert(&mut self, layers: &[DiffId], tree: &Arc<LayerFiles>) {
        self.used.insert(layers.to_vec(), Arc::downgrade(tree));
        let names = tree.tree().walk().count();
        if names > NAMES_KEPT {
            return;
        }
        self.names += names;
        self.kept.push_back((Arc::clone(tree), names));
        while self.names > NAMES_KEPT
            && let Some((_, names)) = self.kept.pop_front()
        {
            self.names -= names;
        }
    }
}

#[cfg(test)]
mod tests {
    use store::Store;
    use store::layer::{Entry, Kind, LayerPath, Time};

    use super::*;

    #[test]
    fn trees_are_kept_up_to_a_number_of_names() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        let tree = |names: usize| {
            let mut writer = store.layers().writer().unwrap();
            for number in 0..names {
                let path = LayerPath::parse(format!("{number:06}").as_bytes()).unwrap();
                let (kind, mtime) = (Kind::Fifo, Time::default());
                writer.add(&Entry { path, kind, mode: 0o600, uid: 0, gid: 0, mtime, xattrs: vec![] }, None).unwrap();
            }
            let layer = writer.finish().unwrap().diff_id;
            (vec![layer], Arc::new(LayerFiles::new(&store, "it", &[layer]).unwrap()))
        };
        let mut trees = Trees::default();
        let [first, second, third] = [10_000, 60_000, 39_000].map(|names| {
            let (layers, tree) = tree(names);
            trees.insert(&layers, &tree);
            layers
        });
        assert!(trees.get(&first).is_none(), "the oldest goes");
        assert!(trees.get(&second).is_some() && trees.get(&third).is_some());
        let (layers, large) = tree(NAMES_KEPT);
        trees.insert(&layers, &large);
        assert!(trees.get(&layers).is_some(), "as long as somebody has it");
        drop(large);
        assert!(trees.get(&layers).is_none());
        assert!(trees.get(&second).is_some() && trees.get(&third).is_some());
    }
}
