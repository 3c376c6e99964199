//! All commands and flags as a table: what the parser knows is what `--help` shows.

/// One flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Its name.
    pub long: &'static str,
    /// Its short name, or nothing.
    pub short: &'static str,
    /// What its value is called; nothing for a switch.
    pub value: &'static str,
    /// What it does.
    pub about: &'static str,
}

impl Flag {
    /// Whether a value follows.
    pub fn takes_value(&self) -> bool {
        !self.value.is_empty()
    }
}

/// One command.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// Its words.
    pub words: &'static str,
    /// How many words there may be.
    pub count: (usize, usize),
    /// What it does.
    pub about: &'static str,
    /// Its flags.
    pub flags: &'static [Flag],
}

const fn flag(long: &'static str, short: &'static str, value: &'static str, about: &'static str) -> Flag {
    Flag { long, short, value, about }
}

const MANY: usize = usize::MAX;
const HELP: Flag = flag("help", "h", "", "show this text");
const BUNDLE: Flag = flag("bundle", "b", "DIR", "directory with config.json and the root file system (default: here)");
const SOCKET: Flag = flag("console-socket", "", "SOCKET", "unix socket that gets the master of the terminal");
const PID_FILE: Flag = flag("pid-file", "", "FILE", "write the pid of the process there");
const NO_PIVOT: Flag = flag("no-pivot", "", "", "change the root by chroot, where it lies on a ramdisk");
const NO_KEYRING: Flag = flag("no-new-keyring", "", "", "keep the caller's session keyring");
const PRESERVE: Flag = flag("preserve-fds", "", "N", "pass on N descriptors from 3 on");
const DETACH: Flag = flag("detach", "d", "", "do not wait for the process");

/// Flags before the command.
pub const GLOBAL: &[Flag] = &[
    flag("root", "", "DIR", "where the state of containers is kept (default: /run/img-runtime)"),
    flag("log", "", "FILE", "write errors there too"),
    flag("log-format", "", "text|json", "the form of the log (default: text)"),
    flag("debug", "", "", "log what is being done"),
    flag("systemd-cgroup", "", "", "let systemd make the cgroups (refused: use the cgroupfs driver)"),
    flag("rootless", "", "true|false|auto", "accepted and not needed"),
    flag("criu", "", "FILE", "accepted; there is no checkpoint"),
    flag("version", "v", "", "show the version"),
    HELP,
];

/// All commands.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "create",
        words: "ID",
        count: (1, 1),
        about: "create a container that waits to be started",
        flags: &[BUNDLE, SOCKET, PID_FILE, NO_PIVOT, NO_KEYRING, PRESERVE, HELP],
    },
    Command { name: "start", words: "ID", count: (1, 1), about: "start a created container", flags: &[HELP] },
    Command {
        name: "run",
        words: "ID",
        count: (1, 1),
        about: "create and start a container, wait for it and delete it",
        flags: &[
            BUNDLE,
            SOCKET,
            PID_FILE,
            NO_PIVOT,
            NO_KEYRING,
            PRESERVE,
            DETACH,
            flag("keep", "", "", "do not delete it afterwards"),
            flag("no-subreaper", "", "", "do not inherit orphans of the container"),
            HELP,
        ],
    },
    Command {
        name: "exec",
        words: "ID COMMAND [ARG...]",
        count: (1, MANY),
        about: "run a further process in a container",
        flags: &[
            flag("process", "p", "FILE", "process.json with all of it"),
            flag("cwd", "", "DIR", "working directory"),
            flag("env", "e", "NAME=VALUE", "set a variable (can be repeated)"),
            flag("tty", "t", "", "give it a terminal"),
            flag("user", "u", "UID[:GID]", "user and group"),
            flag("additional-gids", "g", "GID", "further group (can be repeated)"),
            flag("cap", "c", "CAP", "further capability (can be repeated)"),
            flag("process-label", "", "LABEL", "SELinux label"),
            flag("apparmor", "", "PROFILE", "AppArmor profile"),
            flag("no-new-privs", "", "", "no exec gains privileges"),
            flag("ignore-paused", "", "", "also in a paused container"),
            flag("cgroup", "", "PATH", "a cgroup inside of the container's (refused)"),
            DETACH,
            SOCKET,
            PID_FILE,
            PRESERVE,
            HELP,
        ],
    },
    Command {
        name: "kill",
        words: "ID [SIGNAL]",
        count: (1, 2),
        about: "send a signal (default: SIGTERM) to the first process",
        flags: &[flag("all", "a", "", "to all processes"), HELP],
    },
    Command {
        name: "delete",
        words: "ID",
        count: (1, 1),
        about: "delete a container that has ended or was not started",
        flags: &[flag("force", "f", "", "kill it first if it runs; no error if it is not there"), HELP],
    },
    Command { name: "state", words: "ID", count: (1, 1), about: "print the state of a container", flags: &[HELP] },
    Command {
        name: "list",
        words: "",
        count: (0, 0),
        about: "list the containers",
        flags: &[
            flag("format", "f", "table|json", "the form (default: table)"),
            flag("quiet", "q", "", "ids only"),
            HELP,
        ],
    },
    Command {
        name: "ps",
        words: "ID [PS OPTION...]",
        count: (1, MANY),
        about: "list the processes of a container",
        flags: &[flag("format", "f", "table|json", "the form (default: table)"), HELP],
    },
    Command {
        name: "events",
        words: "ID",
        count: (1, 1),
        about: "print what a container uses, now and then, and when memory runs out",
        flags: &[
            flag("interval", "", "TIME", "time between figures (default: 5s)"),
            flag("stats", "", "", "the figures once"),
            HELP,
        ],
    },
    Command {
        name: "update",
        words: "ID",
        count: (1, 1),
        about: "change limits of a container",
        flags: &[
            flag("resources", "r", "FILE", "limits as JSON, - for standard input; all other flags are then not read"),
            flag("memory", "", "BYTES", "memory"),
            flag("memory-reservation", "", "BYTES", "memory reservation"),
            flag("memory-swap", "", "BYTES", "memory and swap together, -1 for no limit"),
            flag("cpu-period", "", "MICROSECONDS", "CPU period"),
            flag("cpu-quota", "", "MICROSECONDS", "CPU time in a period"),
            flag("cpu-burst", "", "MICROSECONDS", "CPU time that may be saved up"),
            flag("cpu-share", "", "SHARES", "CPU shares"),
            flag("cpu-idle", "", "0|1", "only CPU time that nobody else wants"),
            flag("cpu-rt-period", "", "MICROSECONDS", "real-time period"),
            flag("cpu-rt-runtime", "", "MICROSECONDS", "real-time CPU time in a period"),
            flag("cpuset-cpus", "", "LIST", "CPUs"),
            flag("cpuset-mems", "", "LIST", "memory nodes"),
            flag("pids-limit", "", "N", "number of processes"),
            flag("blkio-weight", "", "WEIGHT", "weight of block I/O"),
            HELP,
        ],
    },
    Command { name: "pause", words: "ID", count: (1, 1), about: "freeze all processes of a container", flags: &[HELP] },
    Command { name: "resume", words: "ID", count: (1, 1), about: "let them go on", flags: &[HELP] },
    Command {
        name: "spec",
        words: "",
        count: (0, 0),
        about: "write a config.json to begin with",
        flags: &[BUNDLE, flag("rootless", "", "", "for an ordinary user"), HELP],
    },
    Command {
        name: "features",
        words: "",
        count: (0, 0),
        about: "print what of the specification is supported",
        flags: &[HELP],
    },
    Command { name: "checkpoint", words: "ID", count: (0, MANY), about: "refused: there is none", flags: &[HELP] },
    Command { name: "restore", words: "ID", count: (0, MANY), about: "refused: there is none", flags: &[HELP] },
];

/// The text of `--help`.
pub fn help() -> String {
    let commands: String =
        COMMANDS.iter().map(|command| format!("  {:<12} {}\n", command.name, command.about)).collect();
    format!(
        "Run containers from bundles, as the OCI runtime specification says.\n\n\
         Usage: img-runtime [FLAGS] COMMAND [FLAGS] [WORDS]\n\nCommands:\n{commands}\nFlags:\n{}",
        flags(GLOBAL)
    )
}

/// The text of `COMMAND --help`.
pub fn command_help(command: &Command) -> String {
    let (about, name, words) = (command.about, command.name, command.words);
    format!("{about}\n\nUsage: img-runtime {name} [FLAGS] {words}\n\nFlags:\n{}", flags(command.flags))
}

fn flags(list: &[Flag]) -> String {
    list.iter()
        .map(|flag| {
            let short = if flag.short.is_empty() { "    ".to_owned() } else { format!("-{}, ", flag.short) };
            let name = format!("{short}--{} {}", flag.long, flag.value);
            format!("  {name:<34} {}\n", flag.about)
        })
        .collect()
}
