//! `ps` with its filters, and `inspect` of anything: what was asked for is what is shown.

use crate::support::Sandbox;

#[test]
fn ps_filters_choose() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let create = |name: &str, more: &[&str]| {
        let mut words = vec!["create", "--name", name];
        words.extend(more);
        words.extend(["busybox", "sh", "-c", "exit 3"]);
        sandbox.ok(&words);
    };
    create("first", &["--label", "tier=front", "--label", "x=1", "-v", "data:/data", "--network", "none"]);
    create("second", &["--label", "tier=back", "-p", "8080:80", "--expose", "9000/udp"]);
    create("third", &["--network", "none"]);
    sandbox.img(&["start", "-a", "third"]).exits(3);
    let chosen = |filters: &[&str]| {
        let mut words = vec!["ps", "-a", "--format", "{{.Names}}"];
        filters.iter().for_each(|filter| words.extend(["--filter", filter]));
        let mut names: Vec<String> = sandbox.ok(&words).lines().map(str::to_owned).collect();
        names.sort();
        names.join(" ")
    };
    for (filters, expected) in [
        (&["name=ir"][..], "first third"),
        (&["name=^sec"], "second"),
        (&["name=first", "name=third"], "first third"),
        (&["name=first", "status=exited"], ""),
        (&["status=exited"], "third"),
        (&["status=exited", "status=created"], "first second third"),
        (&["label=tier"], "first second"),
        (&["label=tier=front", "label=x"], "first"),
        (&["label=tier=back", "label=x"], ""),
        (&["label!=tier"], "third"),
        (&["exited=3"], "third"),
        (&["exited=0"], ""),
        (&["ancestor=busybox"], "first second third"),
        (&["ancestor=nothing"], ""),
        (&["volume=data"], "first"),
        (&["volume=/data"], "first"),
        (&["network=none"], "first third"),
        (&["before=second"], "first"),
        (&["since=first"], "second third"),
        (&["until=1h"], ""),
        (&["publish=80"], "second"),
        (&["publish=70-90/udp"], ""),
        (&["publish=9000"], ""),
        (&["expose=9000/udp"], "second"),
        (&["expose=80"], "second"),
        (&["health=none"], "first second third"),
        (&["health=healthy"], ""),
    ] {
        assert_eq!(chosen(filters), expected, "{filters:?}");
    }
    sandbox.img(&["ps", "--filter", "status=nonsense"]).refuses(125, &["no such state"]);
    sandbox.img(&["ps", "--filter", "colour=red"]).refuses(125, &["not known"]).hints();
    assert_eq!(sandbox.ok(&["ps", "-n", "2", "--format", "{{.Names}}"]), "third\nsecond");
    assert_eq!(sandbox.ok(&["ps", "-l", "--format", "{{.Names}}"]), "third");
    let table = sandbox.ok(&["ps", "-a", "--format", "table {{.Names}}\\t{{.Status}}"]);
    assert!(table.starts_with("NAMES ") && table.lines().count() == 4, "{table}");
    // Each look is one list; it ends when nobody reads.
    let mut watch = sandbox.spawn(&["ps", "--watch", "0.05", "-a", "--filter", "name=third", "--format", "{{.Names}}"]);
    let mut twice = [0; 12];
    std::io::Read::read_exact(watch.0.stdout.as_mut().unwrap(), &mut twice).unwrap();
    assert_eq!(&twice, b"third\nthird\n");
    drop(watch.0.stdout.take());
    assert!(watch.0.wait().unwrap().success());
}

#[test]
fn inspect_knows_anything_by_name() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.ok(&["volume", "create", "data"]);
    sandbox.ok(&["create", "--name", "box", "--network", "none", "-e", "A=it's", "busybox", "sh", "-c", "echo $A"]);
    let field = |words: &[&str]| {
        let mut all = vec!["inspect", "--format"];
        all.extend(words);
        sandbox.ok(&all)
    };
    assert_eq!(field(&["{{.Name}}", "box"]), "/box");
    assert_eq!(field(&["{{.Name}}", "data"]), "data");
    assert_eq!(field(&["{{index .RepoTags 0}}", "busybox"]), "busybox:latest");
    assert_eq!(field(&["{{.Driver}}", "--type", "volume", "data"]), "local");
    assert_eq!(field(&["{{.State.Status}} {{.State.Paused}} {{.State.OOMKilled}}", "-l"]), "created false false");
    sandbox.img(&["inspect", "--type", "image", "box"]).exits(1).says(&["no such image"]);
    sandbox.img(&["inspect", "--type", "container", "data", "box"]).exits(1).says(&["no such container: data"]);
    sandbox.img(&["inspect", "nothing"]).exits(1).says(&["no such container, image, volume or network"]).hints();
    let sizes = field(&["{{.SizeRw}} {{.SizeRootFs}}", "--size", "box"]);
    let (own, all) = sizes.split_once(' ').unwrap();
    assert!(all.parse::<u64>().unwrap() > own.parse::<u64>().unwrap() + 100_000, "{sizes}");
    // The command line that made it, as a shell takes it: it makes another one that does the same.
    let line = sandbox.ok(&["inspect", "--as-run", "box"]);
    let again = line.replace("--name box", "--name again");
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &again]).env("IMG_ROOT", sandbox.root()).env("IMG_RUNROOT", sandbox.path("run"));
    assert!(shell.output().unwrap().status.success(), "{again}");
    sandbox.img(&["start", "-a", "again"]).ok().prints_exactly("it's\n");
}

#[test]
fn inspect_of_a_running_one_tells_where_it_lives() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.ok(&["run", "-d", "--name", "box", "--network", "none", "busybox", "sleep", "1000"]);
    let state = &sandbox.inspect("box")["State"];
    let path = state["Namespaces"]["net"]["Path"].as_str().unwrap();
    let link = std::fs::read_link(path).unwrap();
    assert_eq!(link.to_str().unwrap(), format!("net:[{}]", state["Namespaces"]["net"]["Inode"]));
    sandbox.img(&["pause", "box"]).ok();
    let state = &sandbox.inspect("box")["State"];
    assert_eq!((&state["Paused"], &state["Running"]), (&true.into(), &true.into()));
}

#[test]
fn inspect_reads_what_the_image_says_once() {
    if !crate::support::tools::has("strace") {
        eprintln!("skip: strace is not here");
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.ok(&["create", "--name", "box", "--health-cmd", "true", "--network", "none", "busybox", "true"]);
    let image = sandbox.inspect("box")["Image"].as_str().expect("an image").to_owned();
    let (log, img) = (sandbox.text("strace"), sandbox.command(&["inspect", "box"]));
    let mut strace = std::process::Command::new("strace");
    strace.args(["-f", "-qq", "-s", "500", "-e", "trace=open,openat,openat2", "-o", &log]);
    strace.arg(img.get_program()).args(["inspect", "box"]).env_clear();
    for (name, value) in img.get_envs() {
        strace.env(name, value.unwrap_or_default());
    }
    crate::support::Out::of(strace, None, std::time::Duration::from_secs(60)).ok();
    let config = format!("blobs/sha256/{}", image.trim_start_matches("sha256:"));
    let text = std::fs::read_to_string(&log).expect("strace wrote its log");
    assert_eq!(text.lines().filter(|line| line.contains(&config)).count(), 1, "{text}");
}
