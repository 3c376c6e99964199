//! Against Debian's `docker-registry`, with `skopeo` at the other end. Skipped, loudly, where they are not installed.

use std::fs;
use std::io::{Cursor, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use registry_client::{
    Client, Config, Credential, CredentialSource, Descriptor, Digest, Error, HostRule, MediaType, Platform,
    PushOutcome, Reference,
};
use serde_json::{Value, json};

use crate::{client, noise, quick};

/// `sesame-42` under bcrypt.
const HTPASSWD: &str = "me:$2b$05$abcdefghijklmnopqrstuu9wSHF4IRUKGnY4NITof623lxGVf/o1G\n";

/// A running docker-registry; it ends when dropped.
struct Distribution {
    child: Child,
    host: String,
    dir: tempfile::TempDir,
}

impl Drop for Distribution {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn installed(programs: &[&str]) -> bool {
    programs.iter().all(|program| {
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|dir| dir.join(program).is_file());
        if !found {
            eprintln!("SKIPPED: {program} is not installed");
        }
        found
    })
}

/// Starts a registry; `extra` gets its directory and gives more of its configuration.
fn start(extra: impl Fn(&Path) -> Value) -> Distribution {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let host = format!("127.0.0.1:{port}");
    let mut config = json!({
        "version": "0.1",
        "log": { "level": "error", "accesslog": { "disabled": true } },
        "storage": { "filesystem": { "rootdirectory": dir.path().join("data") }, "delete": { "enabled": true } },
        "http": { "addr": host },
    });
    for (key, value) in extra(dir.path()).as_object().unwrap() {
        match config[key].as_object_mut() {
            Some(object) => object.extend(value.as_object().unwrap().clone()),
            None => config[key] = value.clone(),
        }
    }
    let path = dir.path().join("config.yml");
    fs::write(&path, config.to_string()).unwrap();
    let log = fs::File::create(dir.path().join("log")).unwrap();
    let child =
        Command::new("docker-registry").arg("serve").arg(&path).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let registry = Distribution { child, host, dir };
    let start = Instant::now();
    while std::net::TcpStream::connect(&registry.host).is_err() {
        let log = || fs::read_to_string(registry.dir.path().join("log")).unwrap();
        assert!(start.elapsed() < Duration::from_secs(20), "docker-registry does not start: {}", log());
        std::thread::sleep(Duration::from_millis(20));
    }
    registry
}

impl Distribution {
    fn reference(&self, name: &str) -> Reference {
        format!("{}/{name}", self.host).parse().unwrap()
    }
}

fn skopeo(arguments: &[&str]) {
    let output = Command::new("skopeo").args(arguments).output().unwrap();
    assert!(output.status.success(), "skopeo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Pushes an image with these layers and gives its manifest's bytes.
fn push_image(client: &Client, reference: &Reference, layers: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
    let config =
        json!({"os":"linux","architecture":"amd64","config":{},"rootfs":{"type":"layers","diff_ids":diff_ids}});
    let blobs: Vec<(&str, Vec<u8>)> = std::iter::once((MediaType::OCI_CONFIG, config.to_string().into_bytes()))
        .chain(layers.iter().map(|layer| (MediaType::OCI_LAYER, layer.clone())))
        .collect();
    let mut descriptors = vec![];
    for (media_type, bytes) in &blobs {
        let descriptor = Descriptor::of(media_type, bytes);
        let open = |offset: u64| Ok(Box::new(Cursor::new(bytes[offset as usize..].to_vec())) as Box<dyn Read + Send>);
        assert_eq!(client.push_blob(reference, &descriptor, &open, None, None).unwrap(), PushOutcome::Uploaded);
        assert_eq!(client.push_blob(reference, &descriptor, &open, None, None).unwrap(), PushOutcome::Existed);
        descriptors.push(descriptor);
    }
    let manifest = json!({
        "schemaVersion":2,"mediaType":MediaType::OCI_MANIFEST,"config":descriptors[0],"layers":descriptors[1..]
    });
    let bytes = manifest.to_string().into_bytes();
    assert_eq!(client.push_manifest(reference, MediaType::OCI_MANIFEST, &bytes).unwrap(), Digest::of(&bytes));
    bytes
}

/// Pulls an image and gives its layers' bytes.
fn pull_layers(client: &Client, reference: &Reference) -> Vec<Vec<u8>> {
    let platform: Platform = "linux/amd64".parse().unwrap();
    let image = client.resolve(reference, &platform).unwrap();
    let read = |layer: &Descriptor| {
        let mut bytes = vec![];
        client.blob(reference, layer, 0).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    };
    image.layers.iter().map(read).collect()
}

/// The bytes of a blob in an OCI layout directory.
fn in_layout(dir: &Path, digest: &str) -> PathBuf {
    dir.join("blobs/sha256").join(digest.trim_start_matches("sha256:"))
}

#[test]
fn skopeo_reads_what_we_push_and_we_read_what_skopeo_pushes() {
    if !installed(&["docker-registry", "skopeo"]) {
        return;
    }
    let registry = start(|_| json!({}));
    let layers = [noise(2_500_000), noise(10)];
    let ours = registry.reference("team/app:1");
    for chunk in [None, Some(700_000)] {
        let client = Client::new(Config { upload_chunk: chunk, ..quick() }).unwrap();
        let reference = registry.reference(&format!("team/app{}:1", chunk.unwrap_or(0)));
        push_image(&client, &reference, &layers);
        assert_eq!(pull_layers(&client, &reference), layers);
    }
    let client = client();
    let manifest = push_image(&client, &ours, &layers);
    let dir = registry.dir.path().join("layout");
    let (source, layout) = (format!("docker://{ours}"), format!("oci:{}:1", dir.display()));
    skopeo(&["copy", "--preserve-digests", "--src-tls-verify=false", &source, &layout]);
    let index: Value = serde_json::from_slice(&fs::read(dir.join("index.json")).unwrap()).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    assert_eq!(digest, Digest::of(&manifest).to_string());
    assert_eq!(fs::read(in_layout(&dir, digest)).unwrap(), manifest);
    assert!(fs::read(in_layout(&dir, &Digest::of(&layers[0]).to_string())).unwrap() == layers[0]);
    // And the other way, as Docker's format, which makes skopeo write another manifest.
    let theirs = registry.reference("skopeo/app:2");
    skopeo(&["copy", "--dest-tls-verify=false", "--format", "v2s2", &layout, &format!("docker://{theirs}")]);
    let image = client.resolve(&theirs, &Platform::host()).unwrap();
    assert_eq!(image.manifest.media_type.as_str(), MediaType::DOCKER_MANIFEST);
    assert_eq!(client.tags(&theirs).unwrap(), ["2"]);
    assert_eq!(image.layers.len(), 2);
    // What one repository has, another may take over.
    let descriptor = Descriptor::of(MediaType::OCI_LAYER, &layers[0]);
    let open = |_| Err(std::io::Error::other("not to be opened"));
    let mounted =
        client.push_blob(&registry.reference("new/app:1"), &descriptor, &open, Some("team/app"), None).unwrap();
    assert_eq!(mounted, PushOutcome::Mounted);
    client.delete_manifest(&ours.with_digest(Digest::of(&manifest))).unwrap();
    assert_eq!(client.manifest_exists(&ours).unwrap(), None);
}

#[test]
fn passwords() {
    if !installed(&["docker-registry", "skopeo"]) {
        return;
    }
    let registry = start(|dir| {
        fs::write(dir.join("htpasswd"), HTPASSWD).unwrap();
        json!({ "auth": { "htpasswd": { "realm": "test", "path": dir.join("htpasswd") } } })
    });
    let reference = registry.reference("a/b:1");
    assert!(matches!(client().manifest(&reference, &[]), Err(Error::Unauthorized { .. })));
    assert!(client().ping_login(&registry.host, "me", "wrong").is_err());
    let outcome = client().ping_login(&registry.host, "me", "sesame-42").unwrap();
    assert_eq!(outcome.credential, Credential::Password { username: "me".into(), password: "sesame-42".into() });
    // Kept as docker keeps it, and read by skopeo as well as by us.
    let file = registry.dir.path().join("config.json");
    registry_client::auth::store::add(&file, &[], &outcome.registry, &outcome.credential).unwrap();
    let config = registry_client::DockerConfig::parse(&fs::read(&file).unwrap(), "config.json").unwrap();
    let source = CredentialSource::File { config: config.into(), helper_dirs: vec![] };
    let client = Client::new(Config { credentials: vec![source], ..quick() }).unwrap();
    let layers = [noise(100_000)];
    push_image(&client, &reference, &layers);
    assert_eq!(pull_layers(&client, &reference), layers);
    let (authfile, source) = (file.display().to_string(), format!("docker://{reference}"));
    skopeo(&["inspect", "--authfile", &authfile, "--tls-verify=false", "--raw", &source]);
}

/// Makes an authority and a certificate for this machine in `dir`.
fn certificates(dir: &Path) {
    let run = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(dir).output().unwrap();
        assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    let ca = ["req", "-x509", "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.pem"];
    run(&[&ca[..], &key[..]].concat());
    for (name, usage) in [("server", "serverAuth"), ("client", "clientAuth")] {
        let extensions =
            format!("subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage={usage}\nbasicConstraints=CA:FALSE\n");
        fs::write(dir.join("ext"), extensions).unwrap();
        let (secret, request, certificate) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        let subject = format!("/CN={name}");
        run(&[&["req", "-new", "-subj", &subject, "-keyout", &secret, "-out", &request][..], &key[..5]].concat());
        run(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "ext",
            "-out",
            &certificate,
        ]);
    }
}

#[test]
fn encryption() {
    if !installed(&["docker-registry", "openssl"]) {
        return;
    }
    let registry = start(|dir| {
        certificates(dir);
        json!({ "http": { "tls": { "certificate": dir.join("server.pem"), "key": dir.join("server.key") } } })
    });
    let reference = registry.reference("a/b:1");
    let path = |name: &str| registry.dir.path().join(name);
    let with =
        |rule: HostRule| Client::new(Config { hosts: [(registry.host.clone(), rule)].into(), ..quick() }).unwrap();
    // Somebody else's authority is all that is trusted here, whatever the system has.
    let strange = Config { ca_bundle: Some(path("client.pem")), ..quick() };
    let error = Client::new(strange).unwrap().manifest(&reference, &[]).unwrap_err();
    assert!(matches!(error, Error::Certificate { .. }), "{error:?}");
    let trusting = with(HostRule { ca_files: vec![path("ca.pem")], ..HostRule::default() });
    let layers = [noise(1_000_000)];
    push_image(&trusting, &reference, &layers);
    assert_eq!(pull_layers(&trusting, &reference), layers);
    assert_eq!(pull_layers(&with(HostRule { insecure: true, ..HostRule::default() }), &reference), layers);
    let plain = with(HostRule { plain_http: true, ..HostRule::default() });
    assert!(matches!(plain.manifest(&reference, &[]), Err(Error::Status { status: 400, .. })));
}

#[test]
fn client_certificates() {
    if !installed(&["docker-registry", "openssl"]) {
        return;
    }
    let registry = start(|dir| {
        certificates(dir);
        json!({ "http": { "tls": {
            "certificate": dir.join("server.pem"), "key": dir.join("server.key"), "clientcas": [dir.join("ca.pem")]
        } } })
    });
    let reference = registry.reference("a/b:1");
    let path = |name: &str| registry.dir.path().join(name);
    let anonymous = HostRule { ca_files: vec![path("ca.pem")], ..HostRule::default() };
    let known =
        HostRule { client_cert: Some(path("client.pem")), client_key: Some(path("client.key")), ..anonymous.clone() };
    let with = |rule: &HostRule| {
        Client::new(Config { hosts: [(registry.host.clone(), rule.clone())].into(), tries: 2, ..quick() }).unwrap()
    };
    assert!(matches!(with(&anonymous).manifest(&reference, &[]), Err(Error::Unreachable { .. })));
    push_image(&with(&known), &reference, &[noise(1000)]);
}
