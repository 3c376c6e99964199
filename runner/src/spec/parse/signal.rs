//! Signals by name or number.

use super::{Error, Result, nearest};

const NAMES: [(&str, i32); 34] = [
    ("ABRT", libc::SIGABRT),
    ("ALRM", libc::SIGALRM),
    ("BUS", libc::SIGBUS),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("FPE", libc::SIGFPE),
    ("HUP", libc::SIGHUP),
    ("ILL", libc::SIGILL),
    ("INT", libc::SIGINT),
    ("IO", libc::SIGIO),
    ("KILL", libc::SIGKILL),
    ("PIPE", libc::SIGPIPE),
    ("PROF", libc::SIGPROF),
    ("PWR", libc::SIGPWR),
    ("QUIT", libc::SIGQUIT),
    ("SEGV", libc::SIGSEGV),
    ("STKFLT", libc::SIGSTKFLT),
    ("STOP", libc::SIGSTOP),
    ("SYS", libc::SIGSYS),
    ("TERM", libc::SIGTERM),
    ("TRAP", libc::SIGTRAP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("VTALRM", libc::SIGVTALRM),
    ("WINCH", libc::SIGWINCH),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    // Other names of signals above; a number's own name comes first.
    ("CLD", libc::SIGCHLD),
    ("IOT", libc::SIGABRT),
    ("POLL", libc::SIGIO),
];

/// The real-time signals a container may use: the kernel has 32 to 64, and C libraries keep the first two or three.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// A signal's number from `TERM`, `SIGTERM`, `15`, `RTMIN+3` or `rtmax-1`.
pub fn signal(text: &str) -> Result<i32> {
    let error = |reason: &str| Error::invalid("signal", text, reason);
    let upper = text.trim().to_ascii_uppercase();
    if let Ok(number) = upper.parse::<i32>() {
        return match number {
            1..=RTMAX => Ok(number),
            _ => Err(error("numbers go from 1 to 64")),
        };
    }
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => Some(Some(RTMIN)),
        (_, Some("")) => Some(Some(RTMAX)),
        (Some(rest), _) => {
            Some(rest.strip_prefix('+').and_then(|n| n.parse::<u8>().ok()).map(|n| RTMIN + i32::from(n)))
        }
        (_, Some(rest)) => {
            Some(rest.strip_prefix('-').and_then(|n| n.parse::<u8>().ok()).map(|n| RTMAX - i32::from(n)))
        }
        _ => None,
    };
    if let Some(number) = real_time {
        return number
            .filter(|number| (RTMIN..=RTMAX).contains(number))
            .ok_or_else(|| error("real-time signals go from RTMIN to RTMIN+30 and from RTMAX-30 to RTMAX"));
    }
    match NAMES.iter().find(|(known, _)| *known == name) {
        Some((_, number)) => Ok(*number),
        None => {
            let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            let hint = nearest(name, &names)
                .map_or("signal(7) lists the names".to_owned(), |near| format!("did you mean `SIG{near}`?"));
            Err(error("no signal of that name").with_hint(hint))
        }
    }
}

/// The name of a signal, as `SIGTERM` or `SIGRTMIN+3`.
pub fn signal_name(number: i32) -> String {
    match NAMES.iter().find(|(_, known)| *known == number) {
        Some((name, _)) => format!("SIG{name}"),
        None if number == RTMIN => "SIGRTMIN".to_owned(),
        None if (RTMIN..=RTMAX).contains(&number) => format!("SIGRTMIN+{}", number - RTMIN),
        None => number.to_string(),
    }
}
