//! A dropped client leaves no thread behind: the program forks afterwards. Alone in its process, to count threads.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use registry_client::testing::Registry;
use registry_client::{Client, Config};

/// Whether no thread of a client is left. A joined thread stays visible for a moment, until the kernel has put it away.
fn all_gone() -> bool {
    (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        threads().is_empty()
    })
}

fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default());
    names.map(|name| name.trim().to_owned()).filter(|name| name == "registry").collect()
}

#[test]
fn no_thread_outlives_the_client() {
    let registry = Registry::start();
    registry.put_image("a/b", "1", &[&vec![7; 5_000_000]]);
    for _ in 0..20 {
        let client = Client::new(Config::default()).unwrap();
        let image = client.resolve(&registry.reference("a/b:1"), &"linux/amd64".parse().unwrap()).unwrap();
        let reader = client.blob(&registry.reference("a/b:1"), &image.layers[0], 0).unwrap();
        assert!(!threads().is_empty());
        drop(client);
        assert!(all_gone(), "{:?}", threads());
        drop(reader);
    }
}
