//! The examples at the end of each command's `--help`: what people type most, and what each line does.

/// One line a user could type, and what it is for.
type Example = (&'static str, &'static str);

/// By command; a flat catalogue.
const EXAMPLES: &[(&str, &[Example])] = &[
    (
        "pull",
        &[
            ("img pull debian:12", "from docker.io"),
            ("img pull quay.io/team/app@sha256:…", "exactly this manifest"),
            ("img pull --platform linux/arm64 alpine", "for another machine"),
        ],
    ),
    ("list-tags", &[("img list-tags quay.io/team/app", "every tag that the registry has")]),
    (
        "referrers",
        &[("img referrers --artifact-type application/spdx+json registry.local/app:1", "the SBOMs of an image")],
    ),
    (
        "delete",
        &[
            ("img delete registry.local/app:1", "the manifest, and so every tag that it has"),
            ("img delete --tag-only registry.local/app:old", "the tag alone"),
        ],
    ),
    (
        "copy",
        &[
            ("img copy docker://quay.io/team/app:1 docker://registry.local/app:1", "between registries, nothing kept"),
            ("img copy --all docker://alpine oci-archive:alpine.tar:alpine:3", "all platforms, as one file"),
            ("img copy oci-archive:alpine.tar alpine:3", "into this store"),
        ],
    ),
    (
        "image tree",
        &[("img image tree", "which images share which layers"), ("img image tree app", "only what leads to it")],
    ),
    (
        "image diff",
        &[
            ("img image diff app:1 app:2", "what the second has other than the first"),
            ("img image diff app:2", "what its uppermost layer changed"),
        ],
    ),
    (
        "manifest create",
        &[
            ("img manifest create app:1 app:amd64 app:arm64", "a list of two images of this store"),
            ("img manifest create --amend app:1 docker://registry.local/app:riscv64", "one more, from a registry"),
        ],
    ),
    (
        "manifest add",
        &[
            ("img manifest add app:1 app:two --arch arm64", "an image whose own words are wrong"),
            ("img manifest add --all app:1 docker://registry.local/others:1", "everything that another list has"),
        ],
    ),
    (
        "manifest annotate",
        &[
            ("img manifest annotate app:1 app:arm --variant v6", "say more of what is listed already"),
            ("img manifest annotate app:1 --index --annotation team=web", "something of the list itself"),
        ],
    ),
    ("manifest remove", &[("img manifest remove app:1 app:arm", "the image stays, if it has a name of its own")]),
    ("manifest rm", &[("img manifest rm --ignore app:1", "the list, whether it is there or not")]),
    ("manifest exists", &[("img manifest exists app:1 || img manifest create app:1", "make a list once")]),
    (
        "manifest push",
        &[
            ("img manifest push app:1 registry.local/app:1", "the list and its images"),
            ("img manifest push --rm app:1 oci-archive:app.tar:1", "as a file; the list is not needed any more"),
        ],
    ),
    (
        "manifest inspect",
        &[
            ("img manifest inspect docker://alpine", "the platforms that a registry has"),
            ("img manifest inspect --raw alpine | sha256sum", "the digest, recomputed"),
        ],
    ),
    (
        "events",
        &[
            ("img events --filter type=container", "what happens to containers, as it happens"),
            ("img events --since 10m --stream=false --format json", "the last ten minutes, for a program"),
            ("img events 'web*'", "only containers whose name fits"),
        ],
    ),
    ("monitor", &[("img monitor", "all containers"), ("img monitor -n 'web*'", "only those whose name fits")]),
    ("restart", &[("img restart -t 2 web", "SIGKILL after two seconds"), ("img restart --running", "all that run")]),
    ("pause", &[("img pause web db", "both stand still"), ("img freeze --all", "all that run, by LXC's word")]),
    ("unpause", &[("img unpause web", "it goes on where it was"), ("img unpause --all", "all that are paused")]),
    ("rename", &[("img rename brave_otter web", "a name that says something")]),
    (
        "clone",
        &[
            ("img clone web web2", "its flags, and what it wrote"),
            ("img clone -o web -n web2", "the same, in LXC's way"),
            ("img clone --memory 1g --run web", "web-clone, with another limit, started"),
        ],
    ),
    (
        "container prune",
        &[("img container prune -f --filter until=24h", "those made before yesterday, without asking")],
    ),
    ("container exists", &[("img container exists web && img start web", "only if it is there")]),
    (
        "image prune",
        &[
            ("img image prune -a --dry-run", "what all images without a container take"),
            ("img image prune -af --keep 5", "but for the five used last"),
            ("img image prune -af --min-free-space 20g", "until so much of the disk is free"),
        ],
    ),
    ("image exists", &[("img image exists debian:12 || img pull debian:12", "only if it is not here")]),
    (
        "top",
        &[
            ("img top web", "as docker shows them"),
            ("img top web -eo pid,user,rss,cmd", "columns of ps, with pids of the host"),
            ("img top web pid hpid capeff seccomp", "podman's columns, with pids of the container"),
        ],
    ),
    (
        "stats",
        &[
            ("img stats", "a table of all that run, once a second"),
            ("img stats --no-stream --format json web", "one look, for a program"),
        ],
    ),
    (
        "update",
        &[
            ("img update -m 512m --cpus 1.5 web", "less memory and processor time, at once"),
            ("img update --mount-add /srv/data:/data:ro web", "one more directory, without a restart"),
            ("img update --mount-rm /data web", "and away with it"),
        ],
    ),
    (
        "cgroup get",
        &[
            ("img cgroup get web memory.max memory.peak", "limit and use, whatever version this machine has"),
            ("img cgroup get web cpu.shares", "the weight, in the words of version 1"),
        ],
    ),
    ("cgroup set", &[("img cgroup set web memory.high 400m", "reclaim above that, until it ends")]),
    ("cgroup dump", &[("img cgroup dump web", "everything the kernel says of it")]),
    ("cgroup", &[("img cgroup -n web cpu.shares", "show"), ("img cgroup -n web cpu.shares 512", "half of the usual")]),
    ("priority", &[("img priority web", "0 unless it was changed"), ("img priority -p 10 web", "less important")]),
    ("enter", &[("img enter web", "a shell in it"), ("img enter web -- id -u", "another program")]),
    (
        "push",
        &[
            ("img push registry.example/team/app:1", "by the name it has here"),
            ("img push app registry.example/team/app:1", "under another name"),
        ],
    ),
    (
        "build",
        &[
            ("img build -t app .", "the Buildfile or Dockerfile of this directory"),
            ("img build --target test --build-arg VERSION=2 .", "one stage, with an argument"),
            ("img build --check .", "what is doubtful in the Buildfile, without building"),
            ("img build --call=outline,format=json .", "what the last stage can be given, for a program"),
            ("img build --target files -o out .", "the files of a stage as a directory"),
            ("img build -t registry.example/team/app:1 --push .", "and to the registry"),
            ("img build -t app https://git.example/team/app.git#v1:server", "a directory of a repository"),
            ("img build --build-context lib=../lib .", "COPY --from=lib takes from another directory"),
            (
                "img build --secret id=npm,src=.npmrc --ssh default .",
                "with a secret and your ssh agent, for RUN --mount",
            ),
        ],
    ),
    (
        "why",
        &[
            ("img why", "each step of the last build: cached, or why it ran"),
            ("img why make", "the steps with this word in them, every changed file named"),
        ],
    ),
    (
        "blame",
        &[
            ("img blame app /usr/bin/app", "the line that wrote it, and hidden older copies"),
            ("img blame --waste app", "bytes nobody sees, by the lines to blame"),
        ],
    ),
    (
        "images",
        &[
            ("img images", "all of them, newest first"),
            ("img images --filter dangling=true -q", "ids of those without a name"),
            ("img images --format '{{.Repository}} {{.Size}}'", "columns of your own"),
        ],
    ),
    (
        "history",
        &[
            ("img history app", "newest step first"),
            ("img history --no-trunc --format json app", "all that is known, for a program"),
        ],
    ),
    (
        "inspect",
        &[
            ("img inspect debian", "everything, as JSON"),
            ("img inspect --format '{{json .Config.Env}}' debian", "one part of it"),
        ],
    ),
    ("tag", &[("img tag app registry.example/team/app:1", "a name to push it by"), ("img tag 3f2a app:old", "by id")]),
    ("rmi", &[("img rmi app:old", "one name"), ("img rmi $(img images -qf dangling=true)", "all without a name")]),
    (
        "save",
        &[
            ("img save -o app.tar app:1", "to a file"),
            ("img save app:1 | ssh host img load", "to another machine, without a registry"),
        ],
    ),
    ("load", &[("img load -i app.tar", "from a file"), ("zstd -dc app.tar.zst | img load", "from a pipe")]),
    (
        "import",
        &[
            ("img import rootfs.tar base:1", "a root file system becomes an image"),
            ("img import -c 'CMD [\"/bin/sh\"]' - base < rootfs.tar", "with a default command"),
        ],
    ),
    (
        "login",
        &[
            ("img login registry.example", "asks for name and password"),
            ("img login -u me --password-stdin quay.io < secret", "for scripts"),
        ],
    ),
    ("logout", &[("img logout registry.example", "this registry"), ("img logout", "docker.io")]),
    (
        "run",
        &[
            ("img run -it --rm debian /bin/bash", "a shell that leaves nothing behind"),
            ("img run -d --name web -p 8080:80 nginx", "a service in the background"),
            ("img run --rm -v \"$PWD:/src\" -w /src gcc make", "a tool on your files"),
        ],
    ),
    (
        "create",
        &[("img create --name box debian sleep 60", "ready to be started"), ("img start box", "and now started")],
    ),
    ("start", &[("img start web", "in the background"), ("img start -ai box", "with your terminal")]),
    ("stop", &[("img stop web", "politely, 10 seconds long"), ("img stop -t 1 web db", "two, with less patience")]),
    ("kill", &[("img kill web", "at once"), ("img kill -s HUP web", "reread its configuration, where HUP means that")]),
    (
        "wait",
        &[("img wait job", "until it ends; prints its exit code"), ("img wait a b", "until both did, one code a line")],
    ),
    ("rm", &[("img rm box", "an ended one"), ("img rm -fv $(img ps -aq)", "all, running or not, with their volumes")]),
    ("ps", &[("img ps", "what runs"), ("img ps -a --filter status=exited", "what ended"), ("img ps -aq", "ids only")]),
    ("exec", &[("img exec -it web sh", "a shell in a running container"), ("img exec -u 0 web id", "as another user")]),
    ("console", &[("img console box", "your terminal becomes its console; ctrl-a q leaves it")]),
    ("shutdown", &[("img shutdown box", "as by its power button"), ("img shutdown -r box", "and start it again")]),
    (
        "nsenter",
        &[
            ("img nsenter --net web ss -lt", "this machine's ss shows what the container listens on"),
            ("img nsenter web -- ps ax", "its processes, with a program its image lacks"),
        ],
    ),
    (
        "unshare",
        &[
            ("img unshare --uts sh -c 'hostname other; hostname'", "the machine keeps its name"),
            ("img unshare --pid --mount top", "sees itself alone"),
        ],
    ),
    (
        "logs",
        &[
            ("img logs -f web", "as it is written"),
            ("img logs --tail 20 -t web", "the last lines, with times"),
            ("img logs -f --names --color web db", "two at once, as they write"),
        ],
    ),
    ("attach", &[("img attach box", "your terminal becomes its; leave with ctrl-p ctrl-q")]),
    (
        "commit",
        &[
            ("img commit box app:2", "its changes as a layer on its image"),
            ("img commit --include-volumes box app:2", "whose containers get volumes where this one has mounts"),
            ("img commit -c 'CMD [\"run\"]' box app:2", "with another command"),
        ],
    ),
    ("diff", &[("img diff box", "A added, C changed, D deleted"), ("img diff box | grep ^D", "what it deleted")]),
    (
        "mount",
        &[("ls $(img mount box)", "to look into it with the host's tools"), ("img mount", "lists those mounted")],
    ),
    ("unmount", &[("img unmount box", "when that is done"), ("img unmount --all", "all of them")]),
    ("image mount", &[("ls $(img image mount alpine)", "read-only"), ("img image mount", "lists those mounted")]),
    ("image unmount", &[("img image unmount alpine", "when that is done")]),
    ("cp", &[("img cp box:/etc/hosts .", "out of a container"), ("img cp ./conf box:/etc/", "into one")]),
    ("export", &[("img export -o box.tar box", "its whole file system"), ("img export box | tar -t", "only to look")]),
    ("info", &[("img info", "for people"), ("img info --format '{{.Driver}}'", "one fact, for a script")]),
    ("version", &[("img version", "for people"), ("img version --format '{{.Client.Version}}'", "for a script")]),
    ("doctor", &[("img doctor", "a line for each thing img needs"), ("img doctor --format json", "for a program")]),
    ("system df", &[("img system df -v", "thing by thing"), ("img system df --format json", "with sizes in bytes")]),
    (
        "system prune",
        &[
            ("img system prune --dry-run", "what would go"),
            ("img system prune -af --volumes", "everything that no container needs, without asking"),
        ],
    ),
    (
        "healthcheck run",
        &[("img healthcheck run web", "once more, now"), ("img ps", "the last answer, behind the status")],
    ),
    (
        "system start",
        &[("img system start", "what policies want to run"), ("img generate systemd", "a unit that does it")],
    ),
    ("system stop", &[("img system stop", "all of them; `img system start` starts them again")]),
    (
        "generate systemd",
        &[
            ("img generate systemd > /etc/systemd/system/img.service", "restart policies hold beyond a boot"),
            ("img generate systemd --files=/etc/systemd/system web", "a unit for one container"),
        ],
    ),
    (
        "volume ls",
        &[
            ("img volume ls", "all of them"),
            ("img volume ls --quiet", "names alone"),
            ("img volume ls --format json", "as JSON"),
        ],
    ),
    ("network ls", &[("img network ls --filter type=custom", "those that somebody made")]),
    (
        "network create",
        &[
            ("img network create lab", "with a subnet that is free here"),
            ("img network create --ipv6 --internal inner", "both kinds of addresses, and no way out"),
            ("img network create --subnet 10.9.0.0/24 --ip-range 10.9.0.128/25 lab", "with chosen addresses"),
        ],
    ),
    ("network inspect", &[("img network inspect lab", "its subnets, and who is on it with which address")]),
    ("network rm", &[("img network rm lab", "with its bridge; one that a running container is on stays")]),
    ("network prune", &[("img network prune --force", "all that no container names")]),
    (
        "network connect",
        &[
            ("img network connect lab web", "a further interface, at once"),
            ("img network connect --alias db --ip 10.9.0.9 lab web", "under a name and with an address of choice"),
        ],
    ),
    ("network disconnect", &[("img network disconnect bridge web", "off the default network")]),
    ("port", &[("img port web", "all published ports"), ("img port web 80", "where port 80 is found on this machine")]),
    (
        "network reload",
        &[("img network reload --all", "after `nft flush ruleset`"), ("img network reload web", "one container")],
    ),
    ("network exists", &[("img network exists lab || img network create lab", "in a script")]),
    (
        "volume create",
        &[
            ("img volume create data", "before a container wants it; -v data:/srv makes one too"),
            ("img volume create", "with a name of its own making"),
            ("img volume create -o size=1G logs", "that holds no more than a gigabyte"),
        ],
    ),
    ("volume inspect", &[("img volume inspect data", "where it lies, and who it belongs to")]),
    ("volume rm", &[("img volume rm data", "with all that is in it; one that a container uses stays")]),
    ("volume exists", &[("img volume exists data || img volume create data", "for scripts")]),
    (
        "volume export",
        &[
            ("img volume export data -o data.tar", "all that is in it"),
            ("img volume export data | ssh host img volume import data", "onto another machine"),
        ],
    ),
    ("volume import", &[("img volume import data data.tar", "into one that is there")]),
    ("volume clone", &[("img volume clone data trial", "a copy to try something with")]),
    ("volume snapshot", &[("img volume snapshot data before-upgrade", "while its container runs on")]),
    ("volume restore", &[("img stop db && img volume restore data before-upgrade", "what it held then")]),
    ("volume mount", &[("ls $(img volume mount data)", "to look into one of a limited size")]),
    ("volume unmount", &[("img volume unmount data", "when that is done")]),
    ("volume prune", &[("img volume prune", "asks first"), ("img volume prune --force", "does not ask")]),
    ("builder du", &[("img builder du", "all of it"), ("img builder du --filter type=mount", "cache mounts alone")]),
    (
        "builder prune",
        &[
            ("img builder prune --dry-run", "what would go"),
            ("img builder prune -f --max-used-space 10g", "down to a size"),
            ("img builder prune -f --filter until=168h", "what was not used for a week"),
        ],
    ),
    (
        "builder export",
        &[("img builder export /root/.cache/pip -o pip.tar", "of RUN --mount=type=cache,target=/root/.cache/pip")],
    ),
    ("builder import", &[("img builder import /root/.cache/pip -i pip.tar", "on another machine")]),
    (
        "builder log",
        &[
            ("img builder log", "of the last build"),
            ("img builder log --list", "which there are"),
            ("img builder log 0660de9f55", "of one of them"),
        ],
    ),
    ("system check", &[("img system check", "only look"), ("img system check --repair", "and remove what is damaged")]),
    ("system reset", &[("img system reset", "asks first"), ("img system reset --force", "does not ask")]),
    ("system unmount", &[("img system unmount", "before the file system of the store is unmounted, say")]),
];

/// The examples of a command as they end its help; empty if there are none.
pub fn of(command: &str) -> String {
    let Some((_, examples)) = EXAMPLES.iter().find(|(name, _)| *name == command) else { return String::new() };
    let width = examples.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0);
    let mut text = String::from("Examples:\n");
    for (line, purpose) in *examples {
        text.push_str(&format!("  {line:width$}   {purpose}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::{COMMANDS, Group};
    use super::*;

    #[test]
    fn every_listed_command_has_examples_and_nothing_else_has() {
        for command in COMMANDS.iter().filter(|command| command.group != Group::Hidden) {
            assert!(of(command.name).contains(&format!("img {}", command.name)), "{} has no example", command.name);
        }
        let names: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
        for (name, _) in EXAMPLES {
            assert!(names.contains(name), "there is no command {name}");
        }
    }

    #[test]
    fn every_help_teaches() {
        for command in COMMANDS.iter().filter(|command| command.group != Group::Hidden) {
            let mut tree = super::super::tree(command);
            let mut leaf = &mut tree;
            for word in command.name.split(' ') {
                leaf = leaf.find_subcommand_mut(word).unwrap();
            }
            let text = leaf.render_long_help().to_string();
            assert!(text.len() > 330, "the help of {} teaches nothing:\n{text}", command.name);
        }
    }
}
