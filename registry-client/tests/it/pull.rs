//! Pulls from a registry that behaves.

use std::io::Read as _;
use std::time::Instant;

use registry_client::testing::{Fault, Registry};
use registry_client::{
    Client, Config, Descriptor, Digest, Error, Event, HostRule, MediaType, Platform, ProxyConfig, Reference,
};

use crate::{client, mirrored, noise, observed, quick, read};

fn amd64() -> Platform {
    "linux/amd64".parse().unwrap()
}

fn with_platform(descriptor: Descriptor, platform: &str) -> Descriptor {
    Descriptor { platform: Some(platform.parse().unwrap()), ..descriptor }
}

#[test]
fn an_image_from_tag_to_layer_bytes() {
    let registry = Registry::start();
    let layers = [noise(3_000_000), vec![], b"small".to_vec()];
    let pushed = registry.put_image("a/b", "1", &[&layers[0], &layers[1], &layers[2]]);
    let client = client();
    let image = client.resolve(&registry.reference("a/b:1"), &amd64()).unwrap();
    assert_eq!((image.manifest.digest, image.index.is_none()), (pushed.digest, true));
    assert_eq!(image.platform, amd64());
    assert_eq!(Digest::of(&image.config_bytes), image.config.digest);
    assert_eq!(image.manifest.manifest().unwrap().layers, image.layers);
    for (descriptor, bytes) in image.layers.iter().zip(&layers) {
        assert_eq!(read(&client, &registry, descriptor, 0).unwrap(), *bytes);
    }
    let pinned = registry.reference(&format!("a/b@{}", pushed.digest));
    assert_eq!(client.manifest(&pinned, &[]).unwrap().bytes, image.manifest.bytes);
    let head = client.manifest_exists(&registry.reference("a/b:1")).unwrap().unwrap();
    assert_eq!((head.digest, head.size), (pushed.digest, pushed.size));
    assert_eq!(client.manifest_exists(&registry.reference("a/b:2")).unwrap(), None);
    assert!(client.resolve(&registry.reference("a/b:2"), &amd64()).unwrap_err().is_not_found());
}

#[test]
fn an_index_gives_the_image_for_the_platform() {
    let registry = Registry::start();
    let amd = registry.put_image("a/b", "amd", &[b"for amd64"]);
    let arm = registry.put_image("a/b", "arm", &[b"for arm"]);
    let attestation = registry.put_image("a/b", "att", &[b"attestation"]);
    let entries = [
        with_platform(attestation, "unknown/unknown"),
        with_platform(arm.clone(), "linux/arm/v6"),
        with_platform(amd.clone(), "linux/amd64"),
    ];
    let index = registry.put_index("a/b", "1", &entries);
    let nested = registry.put_index("a/b", "nested", std::slice::from_ref(&index));
    let client = client();
    let image = client.resolve(&registry.reference("a/b:1"), &amd64()).unwrap();
    assert_eq!((image.manifest.digest, image.index.unwrap().digest), (amd.digest, index.digest));
    let image = client.resolve(&registry.reference("a/b:nested"), &"linux/arm/v7".parse().unwrap()).unwrap();
    assert_eq!((image.manifest.digest, image.index.unwrap().digest), (arm.digest, nested.digest));
    assert_eq!(image.platform.to_string(), "linux/arm/v6");
    let error = client.resolve(&registry.reference("a/b:1"), &"linux/s390x".parse().unwrap()).unwrap_err();
    assert!(matches!(error, Error::NoPlatform { .. }) && error.hint().unwrap().contains("linux/arm/v6"), "{error}");
}

#[test]
fn what_is_no_image_is_refused() {
    let registry = Registry::start();
    let config = registry.put_blob("a/b", "application/vnd.cncf.helm.config.v1+json", b"{}");
    let foreign = Descriptor::of("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", b"x");
    let image_config = registry.put_blob("a/b", MediaType::DOCKER_CONFIG, br#"{"os":"linux","architecture":"amd64"}"#);
    let lying = Descriptor { size: image_config.size + 1, ..image_config.clone() };
    let huge = Descriptor { size: 1 << 40, ..image_config.clone() };
    let put = |tag: &str, config: &Descriptor, layers: &[Descriptor]| {
        let manifest = serde_json::json!({"schemaVersion":2,"config":config,"layers":layers});
        registry.put_manifest("a/b", tag, MediaType::DOCKER_MANIFEST, manifest.to_string().as_bytes());
    };
    put("helm", &config, &[]);
    put("foreign", &image_config, &[foreign]);
    put("good", &image_config, &[]);
    put("lying", &lying, &[]);
    put("huge", &huge, &[]);
    let deep = (0..6)
        .fold(registry.put_image("a/b", "x", &[]), |inner, n| registry.put_index("a/b", &format!("i{n}"), &[inner]));
    registry.put_manifest("a/b", "v1", "application/vnd.docker.distribution.manifest.v1+prettyjws", b"{}");
    let client = client();
    let error = |tag: &str| client.resolve(&registry.reference(&format!("a/b:{tag}")), &amd64()).unwrap_err();
    assert!(error("helm").to_string().contains("helm"));
    assert!(error("foreign").to_string().contains("foreign"));
    assert!(error("v1").to_string().contains("schema 1"));
    assert!(matches!(error("lying"), Error::SizeMismatch { .. }));
    assert!(matches!(error("huge"), Error::TooLarge { .. }));
    assert!(error(&format!("i{}", 5)).to_string().contains("nested"), "{deep:?}");
    client.resolve(&registry.reference("a/b:good"), &amd64()).unwrap();
    let lenient = Client::new(Config { foreign_layers: true, ..quick() }).unwrap();
    lenient.resolve(&registry.reference("a/b:foreign"), &amd64()).unwrap();
}

#[test]
fn many_streams_at_a_time_in_any_order_of_reading() {
    let registry = Registry::start();
    let blobs: Vec<_> = (0..10).map(|n| registry.put_blob("a/b", "x", &noise(400_000 + n))).collect();
    let client = Client::new(Config { max_concurrent: 2, ..quick() }).unwrap();
    std::thread::scope(|scope| {
        for blob in &blobs {
            scope.spawn(|| assert_eq!(read(&client, &registry, blob, 0).unwrap().len() as u64, blob.size));
        }
    });
    // More readers than permits, all opened first, read last to first: none may wait for another.
    let mut readers: Vec<_> =
        blobs.iter().map(|blob| client.blob(&registry.reference("a/b"), blob, 0).unwrap()).collect();
    while let Some(mut reader) = readers.pop() {
        let count = std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
        assert_eq!(count, blobs[readers.len()].size);
    }
}

#[test]
fn mirrors_are_asked_first_and_left_when_they_fail() {
    let (upstream, first, second) = (Registry::start(), Registry::start(), Registry::start());
    let pushed = upstream.put_image("a/b", "1", &[b"layer"]);
    second.put_image("a/b", "1", &[b"layer"]);
    first.fault("/manifests/", usize::MAX, Fault::Status(500, vec![]));
    let (config, events) = observed(mirrored(&upstream, &[&first, &second]));
    let client = Client::new(config).unwrap();
    let reference: Reference = "reg.example/a/b:1".parse().unwrap();
    let image = client.resolve(&reference, &amd64()).unwrap();
    assert_eq!(image.manifest.digest, pushed.digest);
    assert_eq!(image.manifest.origin.endpoint.registry, second.host());
    assert!(image.manifest.origin.endpoint.mirror && upstream.requests().is_empty());
    assert!(
        events
            .lock()
            .unwrap()
            .iter()
            .any(|event| matches!(event, Event::MirrorFailed { mirror, .. } if mirror == first.host()))
    );
    // A mirror that is gone, or has wrong bytes.
    drop(first);
    second.spoil_blob(&image.layers[0].digest, b"wrong");
    let mut bytes = vec![];
    let error = client.blob(&reference, &image.layers[0], 0).unwrap().read_to_end(&mut bytes).unwrap_err();
    assert!(matches!(Error::from_io("x", error), Error::DigestMismatch { .. }));
    bytes.clear();
    client.blob(&reference, &image.layers[0], 0).unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!((bytes, upstream.count("/blobs/")), (b"layer".to_vec(), 1));
    assert!(client.resolve(&"reg.example/a/b:2".parse().unwrap(), &amd64()).unwrap_err().is_not_found());
}

#[test]
fn whoever_hashes_himself_gets_wrong_bytes_but_never_more_or_fewer() {
    let registry = Registry::start();
    let blob = registry.put_blob("a/b", "x", b"layer");
    let client = client();
    let read = || {
        let mut bytes = vec![];
        let mut reader = client.blob_unverified(&registry.reference("a/b"), &blob, 0)?;
        reader.read_to_end(&mut bytes).map(|_| bytes).map_err(|error| Error::from_io("read", error))
    };
    registry.spoil_blob(&blob.digest, b"wrong");
    assert_eq!(read().unwrap(), b"wrong");
    for wrong in [&b"wron"[..], b"wrongs"] {
        registry.spoil_blob(&blob.digest, wrong);
        assert!(matches!(read(), Err(Error::SizeMismatch { .. })));
    }
}

#[test]
fn a_download_goes_on_at_the_next_endpoint() {
    let (upstream, mirror) = (Registry::start(), Registry::start());
    let bytes = noise(2_000_000);
    let blob = upstream.put_blob("a/b", "x", &bytes);
    mirror.put_blob("a/b", "x", &bytes);
    mirror.fault("/blobs/", 1, Fault::Truncate(700_000));
    mirror.fault("/blobs/", usize::MAX, Fault::Close);
    let client = Client::new(mirrored(&upstream, &[&mirror])).unwrap();
    let mut read = vec![];
    client.blob(&"reg.example/a/b:1".parse().unwrap(), &blob, 0).unwrap().read_to_end(&mut read).unwrap();
    assert!(read == bytes);
    let range = upstream.requests().into_iter().find_map(|r| r.header("range").map(str::to_owned)).unwrap();
    assert_eq!(range, "bytes=700000-");
}

#[test]
fn dropping_the_client_ends_open_readers() {
    let registry = Registry::start();
    let blob = registry.put_blob("a/b", "x", &noise(9_000_000));
    let client = client();
    let mut reader = client.blob(&registry.reference("a/b"), &blob, 0).unwrap();
    drop(client);
    let start = Instant::now();
    let error = reader.read_to_end(&mut vec![]).unwrap_err();
    assert!(matches!(Error::from_io("x", error), Error::Closed(_)) && start.elapsed().as_secs() < 1);
    assert!(reader.read(&mut [0]).is_err(), "an error is never followed by an end");
}

#[test]
fn a_reader_that_is_dropped_breaks_off() {
    let registry = Registry::start();
    let blob = registry.put_blob("a/b", "x", &noise(9_000_000));
    let client = client();
    for _ in 0..20 {
        let mut reader = client.blob(&registry.reference("a/b"), &blob, 0).unwrap();
        reader.read_exact(&mut [0; 100]).unwrap();
    }
    assert_eq!(read(&client, &registry, &blob, 0).unwrap().len(), 9_000_000);
}

#[test]
fn tags_page_by_page_and_referrers() {
    let registry = Registry::start();
    for tag in ["a", "b", "c", "d", "e"] {
        registry.put_image("a/b", tag, &[b"layer"]);
    }
    let client = client();
    for page in [1, 2, 5, 100] {
        registry.set_page(page);
        assert_eq!(client.tags(&registry.reference("a/b")).unwrap(), ["a", "b", "c", "d", "e"]);
    }
    let image = registry.put_image("a/b", "x", &[b"layer"]);
    let pinned = registry.reference(&format!("a/b@{}", image.digest));
    assert_eq!(client.referrers(&pinned, None).unwrap(), []);
    let sbom = Descriptor {
        artifact_type: Some("application/sbom".into()),
        ..Descriptor::of(MediaType::OCI_MANIFEST, b"sbom")
    };
    registry.put_index("a/b", &format!("sha256-{}", image.digest.hex()), std::slice::from_ref(&sbom));
    assert_eq!(client.referrers(&pinned, Some("application/sbom")).unwrap(), [sbom]);
    assert_eq!(client.referrers(&pinned, Some("application/other")).unwrap(), []);
    registry.fault(
        "/tags/",
        usize::MAX,
        Fault::Header("Link".into(), format!("<http://{}/v2/>; rel=next", Registry::start().host())),
    );
    assert!(matches!(client.tags(&registry.reference("a/b")), Err(Error::Protocol { .. })));
}

#[test]
fn proxies_are_used_for_hosts_elsewhere_only() {
    let (proxy, local) = (Registry::start(), Registry::start());
    proxy.put_image("a/b", "1", &[b"layer"]);
    local.put_image("a/b", "1", &[b"layer"]);
    let url = Some(format!("http://{}", proxy.host()));
    let plain = HostRule { plain_http: true, ..HostRule::default() };
    let config = Config {
        proxy: ProxyConfig { http: url.clone(), https: url, no_proxy: Some("direct.invalid".into()) },
        hosts: [("plain.invalid".to_owned(), plain.clone()), ("direct.invalid".to_owned(), plain)].into(),
        tries: 1,
        ..quick()
    };
    let client = Client::new(config).unwrap();
    let get = |name: &str| client.manifest(&name.parse().unwrap(), &[]);
    get("plain.invalid/a/b:1").unwrap();
    assert_eq!(proxy.requests()[0].header("host"), Some("plain.invalid"));
    assert!(matches!(get("direct.invalid/a/b:1"), Err(Error::Unreachable { .. })));
    get(&local.reference("a/b:1").canonical()).unwrap();
    assert_eq!(proxy.requests().len(), 1);
    // What must be encrypted goes through a tunnel or not at all.
    assert!(get("secure.invalid/a/b:1").is_err());
    assert_eq!(proxy.requests()[1].method, "CONNECT");
    assert_eq!(proxy.requests().len(), 2);
}

#[test]
fn localhost_is_this_machine() {
    let registry = Registry::start();
    registry.put_image("a/b", "1", &[b"layer"]);
    let port = registry.host().rsplit_once(':').unwrap().1;
    client().manifest(&format!("localhost:{port}/a/b:1").parse().unwrap(), &[]).unwrap();
}

#[test]
fn progress_is_told() {
    let registry = Registry::start();
    let blob = registry.put_blob("a/b", "x", &noise(1_000_000));
    let (sender, receiver) = std::sync::mpsc::channel();
    let client = client();
    let reader = client.blob(&registry.reference("a/b"), &blob, 400_000).unwrap();
    let mut reader = reader.with_progress(move |position| sender.send(position).unwrap());
    std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
    drop(reader);
    let told: Vec<u64> = receiver.iter().collect();
    assert!(told.is_sorted() && told[0] > 400_000 && told.last() == Some(&1_000_000), "{told:?}");
}
