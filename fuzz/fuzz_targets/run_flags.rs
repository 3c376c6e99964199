//! The values of `run`'s flags: the first byte chooses the flag.

use runner::spec::parse;

pub fn run(bytes: &[u8]) {
    let Some((which, rest)) = bytes.split_first() else { return };
    if which % 21 == 0 {
        let _ = parse::environment_file("file", rest, &[("HOME".to_owned(), "/root".to_owned())]);
    }
    let Ok(text) = std::str::from_utf8(rest) else { return };
    match which % 21 {
        1 => drop(parse::port(text).map(|all| assert!(all.len() <= 65_536))),
        2 => drop(parse::expose(text)),
        3 => drop(parse::volume(text)),
        4 => drop(parse::mount(text)),
        5 => drop(parse::tmpfs(text)),
        6 => drop(parse::device(text)),
        7 => drop(parse::device_rule(text)),
        8 => drop(parse::throttle("x", text, true)),
        9 => drop(parse::weight_device(text)),
        10 => drop(parse::ulimit(text)),
        11 => drop(parse::cpus(text)),
        12 => drop(parse::cpu_list("x", text).map(|all| assert!(all.len() <= 65_536))),
        13 => drop(parse::size("x", text)),
        14 => drop(parse::memory_swap(text)),
        15 => drop(parse::signal(text).map(|number| assert!((1..=64).contains(&number)))),
        16 => drop(parse::duration("x", text)),
        17 => drop(parse::environment(text, &[])),
        18 => drop(parse::restart(text)),
        20 => drop(parse::network(text)),
        19 => drop(parse::SecurityOptions::parse(text.lines())),
        _ => drop(parse::detach_keys(text)),
    }
}
