use super::*;
use crate::cache::CacheRecord;
use crate::image::ImageRecord;
use crate::layer::{Entry, Kind, LayerInfo, LayerPath, Time};
use crate::record::Record;
use crate::refs::Expect;
use crate::testing::{self, Immutable};

/// A layer of one file of `size` bytes.
pub(crate) fn layer(store: &Store, name: &str, size: usize) -> LayerInfo {
    let bytes = name.as_bytes().iter().copied().cycle().take(size).collect::<Vec<u8>>();
    let entry = Entry {
        path: LayerPath::parse(name.as_bytes()).unwrap(),
        kind: Kind::file(size as u64),
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: Time::default(),
        xattrs: vec![],
    };
    let mut writer = store.layers().writer().unwrap();
    writer.add(&entry, Some(&mut &bytes[..])).unwrap();
    writer.finish().unwrap()
}

/// An image of these layers.
pub(crate) fn image(store: &Store, layers: &[DiffId]) -> ImageId {
    let ids: Vec<String> = layers.iter().map(|layer| format!("\"{layer}\"")).collect();
    let config = format!(r#"{{"os":"linux","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#, ids.join(","));
    store.images().put(config.as_bytes(), &ImageRecord::default()).unwrap()
}

/// The store as another process sees it, so that nothing is leased by the handle that wrote.
fn reopened(store: Store) -> Store {
    let root = store.root().to_path_buf();
    drop(store);
    Store::open(&root).unwrap()
}

fn options(images: ImageScope) -> GcOptions<'static> {
    GcOptions { images, ..GcOptions::default() }
}

/// What went, by name.
fn gone(report: &GcReport) -> Vec<String> {
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    let images = report.images.iter().map(ToString::to_string);
    let layers = report.layers.iter().map(ToString::to_string);
    let digests = report.blobs.iter().chain(&report.cache_steps).map(ToString::to_string);
    report.tags.iter().cloned().chain(images).chain(layers).chain(digests).collect()
}

#[test]
fn takes_only_what_nothing_names() {
    let (_dir, store) = testing::store();
    let (base, top, loose, cached) =
        (layer(&store, "base", 9000), layer(&store, "top", 9000), layer(&store, "loose", 9000), layer(&store, "c", 9));
    let tagged = image(&store, &[base.diff_id]);
    let dangling = image(&store, &[base.diff_id, top.diff_id]);
    store.refs().set("t", &tagged, None, Expect::Any).unwrap();
    let key = Digest::of(b"key");
    store.cache().put(&CacheRecord { key, layer: Some(cached.diff_id), value: serde_json::Value::Null }).unwrap();
    let blob = store.blobs().put(b"loose").unwrap();

    assert_eq!(gone(&collect(&store, &options(ImageScope::Unused)).unwrap()), [""; 0], "all is leased");
    let store = reopened(store);
    let dry = collect(&store, &GcOptions { dry_run: true, ..GcOptions::default() }).unwrap();
    assert_eq!((&dry.layers, &dry.blobs), (&vec![loose.diff_id], &vec![blob]));
    assert!(dry.bytes >= 9000 && store.layers().has(&loose.diff_id));
    let wet = collect(&store, &GcOptions::default()).unwrap();
    assert_eq!((gone(&wet), wet.bytes), (gone(&dry), dry.bytes));
    assert!(!store.layers().has(&loose.diff_id) && store.images().has(&dangling));

    let report = collect(&store, &options(ImageScope::Dangling)).unwrap();
    assert_eq!((report.images, report.layers), (vec![dangling], vec![top.diff_id]));
    let busy = |layer: &DiffId| *layer == base.diff_id;
    let report = collect(&store, &GcOptions { in_use: &busy, ..options(ImageScope::Unused) }).unwrap();
    assert_eq!((report.tags, report.images), (vec!["t".to_owned()], vec![tagged]));
    assert!(store.layers().has(&base.diff_id) && store.layers().has(&cached.diff_id));
    let report = collect(&store, &GcOptions { cache: CacheScope::All, ..GcOptions::default() }).unwrap();
    assert_eq!(report.cache_steps, [key]);
    assert!(store.layers().list().unwrap().is_empty() && store.blobs().list().unwrap().is_empty());
    assert!(files::names(&store.root().join("trash")).unwrap().is_empty());
}

/// A collector that is killed between the two leaves no step whose layer is missing.
#[test]
fn steps_of_the_build_cache_go_before_their_layers() {
    let (_dir, store) = testing::store();
    let cached = layer(&store, "cached", 9000).diff_id;
    let key = Digest::of(b"key");
    store.cache().put(&CacheRecord { key, layer: Some(cached), value: serde_json::Value::Null }).unwrap();
    let store = reopened(store);
    let asked = std::cell::Cell::new(false);
    let in_use = |_: &DiffId| {
        assert_eq!(store.cache().list().unwrap(), []);
        asked.set(true);
        false
    };
    let report =
        collect(&store, &GcOptions { cache: CacheScope::All, in_use: &in_use, ..GcOptions::default() }).unwrap();
    assert_eq!((report.cache_steps, report.layers, asked.get()), (vec![key], vec![cached], true));
    // The step's file is no content.
    assert!(report.content_bytes < report.bytes);
}

#[test]
fn keeps_what_is_leased_or_recorded() {
    let (_dir, store) = testing::store();
    let (one, two) = (layer(&store, "one", 10), layer(&store, "two", 10));
    let image = image(&store, &[one.diff_id]);
    let record = Record {
        id: "ab".repeat(32),
        name: "c".to_owned(),
        created: jiff::Timestamp::UNIX_EPOCH,
        uses: vec![image.0],
        data: (),
    };
    store.containers().create(&record).unwrap();
    let store = reopened(store);
    let worker = Store::open(store.root()).unwrap();
    worker.protect(&[two.diff_id.0]).unwrap();
    assert_eq!(gone(&collect(&store, &options(ImageScope::Unused)).unwrap()), [""; 0]);
    assert!(matches!(store.images().remove(&image), Err(Error::Conflict(_))));
    drop(worker);
    assert_eq!(collect(&store, &options(ImageScope::Unused)).unwrap().layers, [two.diff_id]);
    store.containers().remove(&record.id).unwrap();
    let report = collect(&store, &options(ImageScope::Unused)).unwrap();
    assert_eq!((report.images, report.layers), (vec![image], vec![one.diff_id]));
}

#[test]
fn workers_and_collectors_do_not_meet() {
    let (_dir, store) = testing::store();
    let root = store.root().to_path_buf();
    drop(store);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|worker| {
                let root = &root;
                scope.spawn(move || {
                    for round in 0..8 {
                        let store = Store::open(root).unwrap();
                        // All workers make the same layers, so they meet each other and the collectors.
                        let info = layer(&store, &format!("file{}", round % 5), 3000);
                        let id = image(&store, &[info.diff_id]);
                        let tag = format!("{worker}-{round}");
                        store.refs().set(&tag, &id, None, Expect::Any).unwrap();
                        store.layers().toc(&info.diff_id).unwrap();
                        let seen = store.images().get(&id).unwrap();
                        assert!(store.layers().has(&seen.layers()[0]));
                        store.refs().remove(&tag, Expect::Any).unwrap();
                    }
                })
            })
            .collect();
        let store = Store::open(&root).unwrap();
        while workers.iter().any(|worker| !worker.is_finished()) {
            collect(&store, &options(ImageScope::Dangling)).unwrap();
        }
    });
    let store = Store::open(&root).unwrap();
    collect(&store, &options(ImageScope::Dangling)).unwrap();
    assert!(store.layers().list().unwrap().is_empty());
}

#[test]
fn an_index_stays_whole_with_its_tag() {
    let (_dir, store) = testing::store();
    let (one, two) = (layer(&store, "one", 9000), layer(&store, "two", 9000));
    let (own, other) = (image(&store, &[one.diff_id]), image(&store, &[two.diff_id]));
    let attached = store.blobs().put(b"{}").unwrap();
    let target = crate::refs::Target { image: own, manifest: None, platforms: vec![other], attached: vec![attached] };
    store.refs().point("t", &target, Expect::Any).unwrap();
    let store = reopened(store);
    let report = collect(&store, &options(ImageScope::Dangling)).unwrap();
    assert_eq!((report.images, report.blobs), (vec![], vec![]));
    assert!(matches!(store.images().remove(&other), Err(Error::Conflict(_))));
    store.refs().remove("t", Expect::Any).unwrap();
    let report = collect(&store, &options(ImageScope::Dangling)).unwrap();
    assert_eq!((report.images.len(), report.layers.len()), (2, 2));
    assert!(!store.blobs().has(&attached));
}

#[test]
fn what_cannot_be_removed_stays_with_what_it_names_and_the_rest_goes() {
    let (_dir, store) = testing::store();
    let layers = ["one", "two", "three"].map(|name| layer(&store, name, 9000).diff_id);
    let [one, two, three] = layers.map(|layer| image(&store, &[layer]));
    for (name, id) in [("one", one), ("two", two), ("three", three)] {
        store.refs().set(name, &id, None, Expect::Any).unwrap();
    }
    let store = reopened(store);
    let stuck = [store.root().join("refs").join(Digest::of(b"one").hex()), store.images().directory(&two)];
    let held: Vec<_> = stuck.iter().map(|path| Immutable::new(path)).collect();
    if held.iter().any(Option::is_none) {
        return println!("skip: the file system knows no immutable files");
    }
    let report = collect(&store, &options(ImageScope::Unused)).unwrap();
    assert_eq!((report.tags, report.images), (vec!["three".to_owned(), "two".to_owned()], vec![three]));
    assert_eq!((report.layers, report.failed.len()), (vec![layers[2]], 2));
    assert!(store.images().get(&one).is_ok() && store.images().get(&two).is_ok());
    drop(held);
    let report = collect(&store, &options(ImageScope::Unused)).unwrap();
    assert_eq!((report.tags.len(), report.images.len(), report.layers.len()), (1, 2, 2));
    assert!(report.failed.is_empty());
}
