use super::*;

fn watched(secrets: &[&str]) -> Vec<Watched> {
    let one =
        |(number, text): (usize, &&str)| Watched { name: format!("secret {number}"), bytes: text.as_bytes().into() };
    secrets.iter().enumerate().map(one).collect()
}

fn hits(scanner: &Scanner, bytes: &[u8]) -> Vec<(usize, Option<&'static str>)> {
    let found = scanner.stream(bytes).unwrap();
    assert!(!found.cut);
    found.hits.into_iter().collect()
}

#[test]
fn plain_encoded_and_packed() {
    let scanner = Scanner::new(&watched(&["npm_s3cr3t/t0k3n==", "tiny"])).unwrap();
    assert_eq!(hits(&scanner, b"//registry/:_authToken=npm_s3cr3t/t0k3n==\n"), [(0, None)]);
    assert_eq!(hits(&scanner, b"6e706d5f7333637233742f74306b336e3d3d"), [(0, Some("hex"))]);
    assert_eq!(hits(&scanner, b"token=npm_s3cr3t%2Ft0k3n%3D%3D&x=1"), [(0, Some("URL-encoded"))]);
    // By base64(1) of `user:npm_s3cr3t/t0k3n==`.
    assert_eq!(hits(&scanner, b"dXNlcjpucG1fczNjcjN0L3QwazNuPT0="), [(0, Some("base64"))]);
    assert_eq!(hits(&scanner, b"npm_s3cr3t/t0k3n= tiny aHVudGVy"), []);
    for (compression, name) in [(store::layer::Compression::Gzip, "gzip"), (store::layer::Compression::Zstd, "zstd")] {
        let mut packed = Vec::new();
        let text = format!("{}npm_s3cr3t/t0k3n=={}", "a".repeat(300_000), "b".repeat(100));
        store::layer::compression::compress(text.as_bytes(), &mut packed, compression, None, 1).unwrap();
        assert_eq!(hits(&scanner, &packed), [(0, None)], "{name}");
        // Cut short, it is searched as far as it goes, and is no error.
        assert!(scanner.stream(&packed[..packed.len() / 2]).is_ok());
    }
}

#[test]
fn a_secret_across_the_end_of_a_chunk_and_one_in_another() {
    let scanner = Scanner::new(&watched(&["hunter2hunter2", "hunter2"])).unwrap();
    for before in [(256 << 10) - 7, (256 << 10) - 13, 256 << 10] {
        let bytes = [vec![b'-'; before], b"hunter2hunter2".to_vec(), vec![b'-'; 1000]].concat();
        assert_eq!(hits(&scanner, &bytes), [(0, None), (1, None)], "{before}");
    }
}

#[test]
fn long_keys_in_wrapped_base64() {
    let key: String = (0..40).map(|line| format!("line {line} of a key that is long {}\n", line * 7919)).collect();
    let scanner = Scanner::new(&watched(&[&key])).unwrap();
    let text = base64(key.as_bytes());
    for width in [60, 64, 76] {
        let wrapped: Vec<&[u8]> = text.as_bytes().chunks(width).collect();
        assert_eq!(hits(&scanner, &wrapped.join(&b'\n')), [(0, Some("base64"))], "{width}");
    }
    assert_eq!(hits(&scanner, &key.as_bytes()[..key.len() / 3]), []);
}

/// Plain base64 without padding, to compare with.
fn base64(bytes: &[u8]) -> String {
    let alphabet: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/']).collect();
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let word = three.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        (0..=three.len()).for_each(|n| out.push(alphabet[(word >> (18 - 6 * n) & 63) as usize]));
    }
    out
}
