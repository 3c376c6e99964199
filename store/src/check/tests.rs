use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{CheckOptions, Needer, check};
use crate::digest::Digest;
use crate::gc::tests::{image, layer};
use crate::refs::Expect;
use crate::testing;

const LOOK: CheckOptions = CheckOptions { repair: false, quick: false };
const REPAIR: CheckOptions = CheckOptions { repair: true, quick: false };

#[test]
fn a_sound_store_has_no_problems_and_damage_is_found_and_repaired() {
    let (_dir, store) = testing::store();
    let (one, two) = (layer(&store, "one", 5000), layer(&store, "two", 5000));
    let (good, bad) = (image(&store, &[one.diff_id]), image(&store, &[one.diff_id, two.diff_id]));
    store.refs().set("good", &good, None, Expect::Any).unwrap();
    store.refs().set("bad", &bad, None, Expect::Any).unwrap();
    let blob = store.blobs().put(b"blob").unwrap();
    let sound = check(&store, LOOK).unwrap();
    assert_eq!((sound.problems.as_slice(), sound.layers, sound.images), (&[][..], 2, 2));
    assert!(sound.bytes > 10_000);

    fs::write(store.blobs().path(&blob), b"bolb").unwrap();
    fs::write(store.layers().path(&one.diff_id).join("toc"), b"x").unwrap();
    let tar = store.layers().path(&two.diff_id).join("tar");
    let mut bytes = fs::read(&tar).unwrap();
    bytes[1000] ^= 1;
    fs::write(&tar, bytes).unwrap();
    fs::write(store.root().join("refs").join(Digest::of(b"z").hex()), b"{").unwrap();
    fs::set_permissions(store.root(), fs::Permissions::from_mode(0o755)).unwrap();

    let quick = check(&store, CheckOptions { quick: true, ..LOOK }).unwrap();
    assert_eq!((quick.problems.len(), quick.bytes), (3, 0), "{quick:#?}");
    let found = check(&store, LOOK).unwrap().problems;
    assert_eq!(found.len(), 5, "{found:#?}");
    assert!(found.iter().all(|problem| problem.repair.is_none()));
    let lost = found.iter().find(|problem| problem.subject == format!("layer {}", two.diff_id)).unwrap();
    assert_eq!(lost.needed_by, [Needer::Tag("bad".to_owned(), false)]);
    let repaired = check(&store, REPAIR).unwrap().problems;
    // Without its layer the bad image goes too, and then its tag.
    assert_eq!(repaired.len(), 7, "{repaired:#?}");
    assert_eq!(check(&store, LOOK).unwrap().problems, []);
    assert!(!store.layers().has(&two.diff_id) && !store.images().has(&bad));
    assert!(store.images().has(&good) && store.refs().get("good").unwrap().is_some());
    assert_eq!(store.layers().toc(&one.diff_id).unwrap().entries().len(), 2);
}
