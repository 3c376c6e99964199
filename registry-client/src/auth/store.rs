//! Writes credentials into a docker-style `config.json`, for login and logout.
//!
//! The rest of the file is kept as it is, order included. The new file appears by one rename, readable by its owner only;
//! two logins at a time wait for each other. A helper that the file names is used in place of the file.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::auth::credentials::{Credential, DockerConfig, file_key, same_key};
use crate::auth::helper::{CredentialHelper, ProcessHelper};
use crate::error::{Error, Result};
use crate::limit;

/// How long to wait for another login.
const LOCK_DEADLINE: Duration = Duration::from_secs(10);

/// Where a credential was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// In the file, where it is only encoded, not encrypted.
    InFile,
    /// With the helper of this name.
    InHelper(String),
}

/// Keeps the credential for `registry` (`host[:port]`, or with a namespace) in the file at `path`, which may not exist
/// yet, or with the helper that the file names for it.
///
/// # Errors
/// [`Error::Credentials`] or [`Error::Io`]; the file is as it was then.
pub fn add(path: &Path, helper_dirs: &[PathBuf], registry: &str, credential: &Credential) -> Result<Kept> {
    let file = ConfigFile::open(path)?;
    if let Some(name) = file.parsed()?.helper(registry) {
        ProcessHelper::named(name, helper_dirs)?.store(&file_key(registry), credential)?;
        return Ok(Kept::InHelper(name.to_owned()));
    }
    let entry = match credential {
        Credential::Password { username, password } => {
            json!({ "auth": STANDARD.encode(format!("{username}:{password}")) })
        }
        Credential::IdentityToken(token) => json!({ "identitytoken": token }),
        Credential::RegistryToken(token) => json!({ "registrytoken": token }),
    };
    file.update(|auths| {
        auths.retain(|key, _| !same_key(key, registry));
        auths.insert(file_key(registry), entry);
    })?;
    Ok(Kept::InFile)
}

/// The name of the helper that the file at `path` names for `registry`, if there is a file and it does.
///
/// # Errors
/// [`Error::Credentials`] or [`Error::Io`] for a file that cannot be read.
pub fn helper(path: &Path, registry: &str) -> Result<Option<String>> {
    if !path.exists() {
        return Ok(None);
    }
    Ok(ConfigFile::open(path)?.parsed()?.helper(registry).map(str::to_owned))
}

/// Forgets the credential for `registry` in the file and with its helper; says whether there was one. With a helper, the
/// answer is always true, since helpers do not tell.
///
/// # Errors
/// As [`add`].
pub fn remove(path: &Path, helper_dirs: &[PathBuf], registry: &str) -> Result<bool> {
    let file = ConfigFile::open(path)?;
    let mut found = false;
    if let Some(name) = file.parsed()?.helper(registry) {
        ProcessHelper::named(name, helper_dirs)?.erase(&file_key(registry))?;
        found = true;
    }
    if file.auths().is_some_and(|auths| auths.keys().any(|key| same_key(key, registry))) {
        file.update(|auths| auths.retain(|key, _| !same_key(key, registry)))?;
        found = true;
    }
    Ok(found)
}

/// A configuration file that nobody else of us writes now.
struct ConfigFile {
    path: PathBuf,
    dir: PathBuf,
    document: Map<String, Value>,
    bytes: Vec<u8>,
    /// The directory, locked; the file itself is replaced and cannot carry the lock.
    _lock: File,
}

impl ConfigFile {
    fn open(path: &Path) -> Result<Self> {
        // People link this file to elsewhere; the link shall stay one.
        let path = match fs::canonicalize(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
            other => other.map_err(|error| io(path, error))?,
        };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        make_private_dir(&dir).map_err(|error| io(&dir, error))?;
        let lock = lock(&dir)?;
        let mut bytes = vec![];
        match File::open(&path).and_then(|file| file.take(limit::CONFIG_FILE + 1).read_to_end(&mut bytes)) {
            Err(error) if error.kind() == ErrorKind::NotFound => bytes = b"{}".to_vec(),
            other => drop(other.map_err(|error| io(&path, error))?),
        }
        if bytes.len() as u64 > limit::CONFIG_FILE {
            return Err(Error::TooLarge { what: path.display().to_string(), limit: limit::CONFIG_FILE });
        }
        if bytes.trim_ascii().is_empty() {
            bytes = b"{}".to_vec();
        }
        let broken = || Error::Credentials {
            registry: path.display().to_string(),
            why: "not a JSON object".into(),
            source: None,
        };
        let document = serde_json::from_slice(&bytes).map_err(|_| broken())?;
        Ok(Self { path, dir, document, bytes, _lock: lock })
    }

    fn parsed(&self) -> Result<DockerConfig> {
        DockerConfig::parse(&self.bytes, &self.path.display().to_string())
    }

    fn auths(&self) -> Option<&Map<String, Value>> {
        self.document.get("auths").and_then(Value::as_object)
    }

    fn update(mut self, change: impl FnOnce(&mut Map<String, Value>)) -> Result<()> {
        let auths = self.document.entry("auths").or_insert_with(|| json!({}));
        let broken = || Error::Credentials {
            registry: self.path.display().to_string(),
            why: "auths is no object".into(),
            source: None,
        };
        change(auths.as_object_mut().ok_or_else(broken)?);
        let write = || -> std::io::Result<()> {
            // Made with mode 0600, whatever the umask.
            let mut file = tempfile::Builder::new().prefix(".config.json.").tempfile_in(&self.dir)?;
            let mut text = serde_json::to_vec_pretty(&self.document)?;
            text.push(b'\n');
            file.write_all(&text)?;
            file.as_file().sync_all()?;
            file.persist(&self.path)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|error| io(&self.path, error))
    }
}

fn make_private_dir(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn lock(dir: &Path) -> Result<File> {
    let file = File::open(dir).map_err(|error| io(dir, error))?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(io(dir, error)),
            Err(TryLockError::WouldBlock) if start.elapsed() > LOCK_DEADLINE => {
                return Err(io(dir, std::io::Error::new(ErrorKind::TimedOut, "another login holds the lock")));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn io(path: &Path, source: std::io::Error) -> Error {
    Error::Io { what: format!("credentials in {}", path.display()), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;

    use super::*;
    use crate::auth::credentials::CredentialSource;

    fn password(username: &str) -> Credential {
        Credential::Password { username: username.into(), password: "p".into() }
    }

    fn find(path: &Path, registry: &str) -> Option<Credential> {
        let config = Arc::new(DockerConfig::parse(&fs::read(path).unwrap(), "test").unwrap());
        CredentialSource::find(&[CredentialSource::File { config, helper_dirs: vec![] }], registry, "x", false).unwrap()
    }

    #[test]
    fn login_and_logout_keep_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/config.json");
        assert!(!remove(&path, &[], "reg.example").unwrap());
        assert_eq!(add(&path, &[], "docker.io", &password("a")).unwrap(), Kept::InFile);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, r#"{"zz":1,"auths":{"https://index.docker.io/v1/":{"auth":"YTpw"}},"aa":{"b":[2]}}"#).unwrap();
        add(&path, &[], "docker.io", &password("b")).unwrap();
        add(&path, &[], "reg.example", &Credential::IdentityToken("t".into())).unwrap();
        assert_eq!(find(&path, "docker.io"), Some(password("b")));
        assert_eq!(find(&path, "reg.example"), Some(Credential::IdentityToken("t".into())));
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.find("zz").unwrap() < text.find("auths").unwrap()
                && text.find("auths").unwrap() < text.find("aa").unwrap()
        );
        assert!(remove(&path, &[], "docker.io").unwrap());
        assert!(!remove(&path, &[], "docker.io").unwrap());
        assert_eq!((find(&path, "docker.io"), find(&path, "reg.example").is_some()), (None, true));
        assert_eq!(fs::read_dir(dir.path().join("new")).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn a_link_stays_a_link_and_a_spoilt_file_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real.json"), dir.path().join("config.json"));
        fs::write(&real, "{}").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        add(&link, &[], "reg.example", &password("a")).unwrap();
        assert!(link.is_symlink() && find(&real, "reg.example").is_some());
        fs::write(&real, "{ spoilt").unwrap();
        assert!(add(&link, &[], "reg.example", &password("a")).is_err());
        assert_eq!(fs::read_to_string(&real).unwrap(), "{ spoilt");
    }

    #[test]
    fn logins_at_a_time_do_not_lose_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::thread::scope(|scope| {
            for n in 0..8 {
                let path = &path;
                scope.spawn(move || add(path, &[], &format!("reg{n}.example"), &password("a")).unwrap());
            }
        });
        assert!((0..8).all(|n| find(&path, &format!("reg{n}.example")).is_some()));
    }
}
