//! The agent against OpenSSH's own programs: keys that ssh-keygen and openssl write are listed as they list them, and
//! what is signed is what they verify.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::*;

fn run(program: &str, words: &[&str]) -> Option<Output> {
    Command::new(program).args(words).stdin(Stdio::null()).output().ok()
}

fn make(program: &str, words: &[&str]) -> bool {
    let Some(output) = run(program, words) else {
        println!("skip: there is no {program} on this machine");
        return false;
    };
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    true
}

/// Lists what the agent has, signs with it, and lets ssh-keygen verify.
fn agent_works(key: &Path, public: &str, directory: &Path) {
    let text = key.to_str().unwrap();
    let keys = Keys::read("default", &[text]).unwrap();
    let agent = KeyAgent::start(&keys, directory).unwrap();
    let socket = format!("SSH_AUTH_SOCK={}", agent.path().display());
    let listed = run("env", &[&socket, "ssh-add", "-L"]).unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let words = |line: &str| line.split(' ').take(2).map(|word| word.trim().to_owned()).collect::<Vec<_>>();
    assert_eq!(words(&listed), words(public), "{text}");
    // With a public key only, ssh-keygen asks the agent; it verifies by itself.
    let (shown, message) = (directory.join("shown.pub"), directory.join("message"));
    fs::write(&shown, public).unwrap();
    fs::write(&message, "a message").unwrap();
    let [shown, message] = [shown.to_str().unwrap(), message.to_str().unwrap()];
    let signature = format!("{message}.sig");
    let _ = fs::remove_file(&signature);
    let signed = run("env", &[&socket, "ssh-keygen", "-Y", "sign", "-f", shown, "-n", "test", message]).unwrap();
    assert!(signed.status.success(), "{text}: {}", String::from_utf8_lossy(&signed.stderr));
    let checked = Command::new("ssh-keygen")
        .args(["-Y", "check-novalidate", "-n", "test", "-s", &signature])
        .stdin(File::open(message).unwrap())
        .output()
        .unwrap();
    assert!(checked.status.success(), "{text}: {}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn keys_of_ssh_keygen_sign_what_it_verifies() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let kinds: [(&str, &str, &[&str]); 8] = [
        ("ed25519", "ed25519", &[]),
        ("p256", "ecdsa", &["-b", "256"]),
        ("p384", "ecdsa", &["-b", "384"]),
        ("rsa2048", "rsa", &["-b", "2048"]),
        ("rsa3072", "rsa", &["-b", "3072"]),
        ("rsa-pem", "rsa", &["-b", "2048", "-m", "PEM"]),
        ("rsa-pkcs8", "rsa", &["-b", "2048", "-m", "PKCS8"]),
        ("p256-pem", "ecdsa", &["-b", "256", "-m", "PEM"]),
    ];
    for (name, kind, more) in kinds {
        let key = path.join(name);
        let words = ["-q", "-t", kind, "-N", "", "-C", "someone@here", "-f", key.to_str().unwrap()];
        if !make("ssh-keygen", &[&words[..], more].concat()) {
            return;
        }
        let public = fs::read_to_string(key.with_extension("pub")).unwrap();
        agent_works(&key, &public, path);
    }
    assert!(
        !fs::read_dir(path).unwrap().any(|entry| entry.unwrap().file_name().as_encoded_bytes().starts_with(b".ssh"))
    );
}

#[test]
fn keys_of_openssl() {
    let directory = tempfile::tempdir().unwrap();
    for (name, words) in [
        ("ec", &["ecparam", "-name", "prime256v1", "-genkey", "-noout"][..]),
        ("ec8", &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
        ("rsa", &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
        ("ed25519", &["genpkey", "-algorithm", "ED25519"]),
    ] {
        let key = directory.path().join(name);
        if !make("openssl", &[words, &["-out", key.to_str().unwrap()]].concat()) {
            return;
        }
        fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let public = run("ssh-keygen", &["-y", "-f", key.to_str().unwrap()]).filter(|output| output.status.success());
        match public {
            Some(public) => agent_works(&key, &String::from_utf8(public.stdout).unwrap(), directory.path()),
            // This OpenSSH does not read Ed25519 from PKCS #8; that it is a key, and signs, is seen all the same.
            None => {
                let key = PrivateKey::read(&fs::read(&key).unwrap()).unwrap();
                assert_eq!(key.sign(b"data", 0).unwrap().len(), 4 + 11 + 4 + 64, "{name}");
            }
        }
    }
}

#[test]
fn what_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    for (name, words) in [
        ("new", &["-t", "ed25519", "-N", "secret"][..]),
        ("old", &["-t", "rsa", "-b", "2048", "-N", "secret", "-m", "PEM"]),
        ("pkcs8", &["-t", "rsa", "-b", "2048", "-N", "secret", "-m", "PKCS8"]),
        ("p521", &["-t", "ecdsa", "-b", "521", "-N", ""]),
        ("small", &["-t", "rsa", "-b", "1024", "-N", ""]),
        ("plain", &["-t", "ed25519", "-N", ""]),
    ] {
        if !make("ssh-keygen", &[&["-q", "-f", &path(name)], words].concat()) {
            return;
        }
    }
    fs::write(path("cut"), &fs::read(path("plain")).unwrap()[..200]).unwrap();
    fs::write(path("large"), vec![b'x'; 200_000]).unwrap();
    fs::write(path("empty"), "").unwrap();
    for (name, expected, hinted) in [
        ("new", "passphrase", "ssh-add"),
        ("old", "passphrase", "ssh-add"),
        ("pkcs8", "passphrase", "ssh-add"),
        ("p521", "nistp521", "Ed25519"),
        ("small", "RSA with 1024 bits", "2048"),
        ("plain.pub", "neither", ".pub"),
        ("cut", "neither", "ssh-keygen"),
        ("empty", "neither", "ssh-keygen"),
        ("large", "too large", ""),
        ("absent", "cannot read", ""),
    ] {
        let error = Keys::read("default", &[&path("plain"), &path(name)]).unwrap_err();
        assert!(error.text().contains(expected), "{name}: {error:?}");
        assert!(hinted.is_empty() || error.hints.iter().any(|hint| hint.contains(hinted)), "{name}: {error:?}");
    }
    // Nothing that a damaged file may say is a panic.
    let whole = fs::read(path("plain")).unwrap();
    for at in 0..whole.len() {
        let mut text = whole.clone();
        text[at] ^= 1;
        drop(PrivateKey::read(&text));
    }
}
