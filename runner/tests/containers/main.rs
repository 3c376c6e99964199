//! Containers for real: namespaces, mounts, limits and monitors on this kernel, as root. Its own main, because cloning a
//! container needs a process with one thread; each test is a function, run one after the other.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::exit)]

mod basics;
mod fixture;
mod images;
mod monitors;
mod networks;

fn main() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: these tests need root");
        return;
    }
    let filter: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let (mut passed, mut failed) = (0, Vec::new());
    for (name, test) in [basics::TESTS, images::TESTS, monitors::TESTS, networks::TESTS].concat() {
        if !filter.is_empty() && !filter.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        eprint!("test {name} ... ");
        match std::panic::catch_unwind(test) {
            Ok(()) => {
                passed += 1;
                eprintln!("ok");
            }
            Err(_) => {
                eprintln!("FAILED");
                failed.push(name);
            }
        }
    }
    eprintln!("{passed} passed, {} failed: {failed:?}", failed.len());
    std::process::exit(i32::from(!failed.is_empty()));
}
