//! Containers for real: namespaces, mounts, limits and monitors on this kernel, as root. Its own main, because cloning a
//! container needs a process with one thread; each test is a function, run one after the other.

#![allow(clippy::print_stdout, reason = "a test harness of its own")]
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
    let filter = words(std::env::args().skip(1));
    let (mut passed, mut failed) = (0, Vec::new());
    for (name, test) in [basics::TESTS, images::TESTS, monitors::TESTS, networks::TESTS].concat() {
        if !filter.is_empty() && !filter.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        print!("test {name} ... ");
        match std::panic::catch_unwind(test) {
            Ok(()) => {
                passed += 1;
                println!("ok");
            }
            Err(_) => {
                println!("FAILED");
                failed.push(name);
            }
        }
    }
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    println!("test result: {verdict}. {passed} passed; {} failed; 0 ignored", failed.len());
    std::process::exit(i32::from(!failed.is_empty()));
}

/// The names asked for: what is neither an option of the test harness nor the value of one.
fn words(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut words = Vec::new();
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-Z" | "--test-threads" | "--skip" | "--color" | "--format" => drop(arguments.next()),
            option if option.starts_with('-') => {}
            _ => words.push(argument),
        }
    }
    words
}
