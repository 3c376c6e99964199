"""The programs that are measured side by side, each with a store of its own below one folder, started and ended here.

A contender knows the commands for one task as a list of words, and what must be done before each measured run, unmeasured.
Daemons (docker-registry, dockerd) are children of this process and ended by their ids.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

LIMIT = 900


def run(words, **more):
    """Runs to the end; raises with both outputs when it fails."""
    done = subprocess.run([str(w) for w in words], stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT, **more)
    if done.returncode != 0:
        text = (done.stdout + done.stderr).decode(errors="replace")[-3000:]
        raise RuntimeError(f"{' '.join(map(str, words))} ended with {done.returncode}:\n{text}")
    return done.stdout.decode(errors="replace")


class Daemon:
    """A child that runs until `stop`."""

    def __init__(self, words, log, ready):
        self.log = Path(log)
        with open(log, "wb") as out:
            self.process = subprocess.Popen([str(w) for w in words], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        until = time.monotonic() + 60
        while not (answer := ready(self.log.read_text(errors="replace"))):
            if self.process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise RuntimeError(f"{words[0]} did not come up:\n{self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)
        self.answer = answer

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def registry(place, storage):
    """docker-registry on a loopback port of the kernel's choice; `answer` is its address."""
    config = place / "registry.yml"
    config.write_text(
        "version: 0.1\nlog: {level: info, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {storage}}}}}\nhttp: {{addr: '127.0.0.1:0'}}\n"
    )

    def ready(log):
        found = re.search(r"listening on (127\.0\.0\.1:\d+)", log)
        return found and found.group(1)

    return Daemon(["docker-registry", "serve", config], place / "registry.log", ready)


class Moves:
    """Commands that are the same words for img, podman and docker."""

    def tag(self, name, target):
        return self.words("tag", name, target)

    def push(self, target):
        return self.words("push", "--quiet", target)

    def save(self, name, file):
        return self.words("save", "--output", file, name)

    def load(self, file):
        return self.words("load", "--quiet", "--input", file)


class Img(Moves):
    name = "img"

    def __init__(self, binary, place, address):
        self.place = place / "img"
        self.place.mkdir()
        # As `make install` leaves it, and as the peers' packages leave theirs: what a linker wrote lies in the page cache page by page,
        # and a start from there takes a tenth longer.
        self.binary = str(self.place / "bin")
        run(["install", "-m", "755", binary, self.binary])
        config = self.place / "config.toml"
        config.write_text(
            f'[registries."docker.io"]\nmirrors = ["http://{address}"]\n\n[registries."{address}"]\ninsecure = true\n'
        )
        os.environ.update(
            IMG_ROOT=str(self.place / "root"), IMG_RUNROOT="/run/img", IMG_CONFIG=str(config)
        )

    def words(self, *more):
        return [self.binary, *more]

    def pull(self, reference):
        return self.words("pull", "--quiet", reference)

    def remove(self, reference):
        return self.words("rmi", "--force", reference)

    def storage(self):
        return self.place / "root"

    def start(self, network):
        return self.words("run", "--rm", "--network", network, "busybox", "true")

    def build(self, context, fresh):
        return self.words("build", "--quiet", "--tag", "bench", *(["--no-cache"] if fresh else []), context)

    def version(self):
        return run(self.words("--version")).strip()

    def close(self):
        run(self.words("system", "unmount"))


class Podman(Moves):
    name = "podman"

    def __init__(self, place, address):
        self.place = place / "podman"
        self.place.mkdir()
        # Podman refuses a longer run root than fifty characters.
        self.run = Path(tempfile.mkdtemp(prefix="podman.", dir="/run"))
        (self.place / "policy.json").write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
        conf = self.place / "registries.conf"
        conf.write_text(
            'unqualified-search-registries = ["docker.io"]\n\n[[registry]]\nlocation = "docker.io"\n\n'
            f'[[registry.mirror]]\nlocation = "{address}"\ninsecure = true\n\n'
            f'[[registry]]\nlocation = "{address}"\ninsecure = true\n'
        )
        os.environ.update(CONTAINERS_REGISTRIES_CONF=str(conf), REGISTRIES_CONFIG_PATH=str(conf))

    def words(self, *more):
        store = ["--root", self.place / "root", "--runroot", self.run, "--cgroup-manager", "cgroupfs"]
        return ["podman", *store, "--runtime", "runc", "--storage-driver", "overlay", *more]

    def storage(self):
        return self.place / "root"

    def push(self, target):
        return self.words("push", "--quiet", "--tls-verify=false", target)

    def buildah(self, *more):
        store = ["--root", self.place / "root", "--runroot", self.run, "--storage-driver", "overlay"]
        return ["buildah", *store, *more]

    def pull(self, reference):
        return self.words("pull", "--quiet", reference)

    def remove(self, reference):
        return self.words("rmi", "--force", reference)

    def start(self, network):
        # Left alone, podman raises limits, which a machine without CAP_SYS_RESOURCE refuses.
        limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"]
        network = "podman" if network == "bridge" else network
        return self.words("run", "--rm", *limits, "--network", network, "busybox", "true")

    def build(self, context, fresh):
        kind = ["--no-cache"] if fresh else []
        return self.buildah("bud", "--quiet", "--layers", "--isolation", "chroot", *kind, "--tag", "bench", context)

    def version(self):
        return run(["podman", "--version"]).strip() + ", " + run(["buildah", "--version"]).split(" (")[0].strip()

    def close(self):
        run(self.words("system", "reset", "--force"))
        shutil.rmtree(self.run, ignore_errors=True)


class Docker(Moves):
    """One dockerd for the whole run, in the benchmark's own network namespace."""

    name = "docker"

    def __init__(self, place, address):
        self.place = place / "docker"
        self.place.mkdir()
        self.socket = f"unix://{self.place}/docker.sock"
        words = ["dockerd", "--host", self.socket, "--data-root", self.place / "data", "--exec-root", self.place / "exec"]
        words += ["--pidfile", self.place / "pid", "--registry-mirror", f"http://{address}", "--insecure-registry", address]

        def ready(_):
            return subprocess.run(self.words("version"), capture_output=True, check=False).returncode == 0

        self.daemon = Daemon(words, self.place / "log", ready)
        os.environ["DOCKER_BUILDKIT"] = "1"

    def storage(self):
        return self.place / "data"

    def words(self, *more):
        # By its path: /usr/local/bin may have another one.
        return ["/usr/bin/docker", "--host", self.socket, *more]

    def pull(self, reference):
        return self.words("pull", "--quiet", reference)

    def remove(self, reference):
        return self.words("rmi", "--force", reference)

    def start(self, network):
        return self.words("run", "--rm", "--network", network, "busybox", "true")

    def build(self, context, fresh):
        kind = ["--no-cache"] if fresh else []
        return self.words("build", "--quiet", "--network", "none", *kind, "--tag", "bench", context)

    def version(self):
        return run(["/usr/bin/docker", "--version"]).strip()

    def close(self):
        self.daemon.stop()


class Containerd:
    """containerd's own client, `ctr`, beside a containerd of its own."""

    name = "ctr (containerd)"

    def __init__(self, place, address):
        self.place, self.registry = place / "containerd", address
        self.place.mkdir()
        self.socket = self.place / "containerd.sock"
        config = self.place / "config.toml"
        config.write_text(f'version = 2\nroot = "{self.place}/data"\nstate = "/run/ctr-bench"\n[grpc]\naddress = "{self.socket}"\n')

        def ready(_):
            return subprocess.run(self.words("version"), capture_output=True, check=False).returncode == 0

        self.daemon = Daemon(["containerd", "--config", config], self.place / "log", ready)

    def storage(self):
        return self.place / "data"

    def words(self, *more):
        return ["ctr", "--address", self.socket, *more]

    def name_of(self, name):
        return name if "/" in name else f"{self.registry}/library/{name}:latest"

    def pull(self, name):
        return self.words("images", "pull", "--plain-http", self.name_of(name))

    def remove(self, name):
        return self.words("images", "rm", "--sync", self.name_of(name))

    def tag(self, name, target):
        return self.words("images", "tag", "--force", self.name_of(name), f"{target}:latest")

    def push(self, target):
        return self.words("images", "push", "--plain-http", f"{target}:latest")

    def save(self, name, file):
        return self.words("images", "export", file, self.name_of(name))

    def load(self, file):
        return self.words("images", "import", file)

    def version(self):
        return run(["containerd", "--version"]).split()[2]

    def close(self):
        self.daemon.stop()


class Runc:
    """`runc run` of a bundle that is ready: no image, no overlay, no record."""

    name = "runc, bundle ready"

    def __init__(self, place, rootfs):
        self.bundle = place / "bundle"
        self.bundle.mkdir()
        run(["runc", "spec", "--bundle", self.bundle])
        config = self.bundle / "config.json"
        spec = json.loads(config.read_text())
        spec["process"].update(terminal=False, args=["true"])
        spec["root"] = {"path": str(rootfs), "readonly": False}
        config.write_text(json.dumps(spec))
        self.root = place / "runc"

    def start(self, _):
        return ["runc", "--root", self.root, "run", "--bundle", self.bundle, f"bench{os.getpid()}"]


class Bubblewrap:
    name = "bwrap --unshare-all"

    def __init__(self, rootfs):
        self.rootfs = rootfs

    def start(self, _):
        return ["bwrap", "--unshare-all", "--bind", self.rootfs, "/", "--proc", "/proc", "--dev", "/dev", "/bin/true"]


class Floor:
    """benches/floor.c: the same kernel objects as `img run --rm`, and nothing else."""

    name = "C floor"
    bridge = "floor0"

    def __init__(self, place, rootfs):
        self.binary, self.rootfs, self.state = place / "floor", rootfs, place / "floor-state"
        source = Path(__file__).with_name("floor.c")
        run(["gcc", "-O2", "-static", "-o", self.binary, source])
        for name in ("hostname", "resolv.conf", "hosts"):
            (Path(rootfs) / "etc" / name).touch()
        self.groups, self.more = [], []
        with open("/proc/self/mountinfo", encoding="utf-8") as table:
            mounts = [line.split() for line in table]
        for words in mounts:
            kind, options = words[words.index("-") + 1], words[-1].split(",")
            limited = kind == "cgroup" and {"memory", "cpu"} & set(options)
            if kind == "cgroup2" or limited or (kind == "cgroup" and "pids" in options):
                group = Path(words[4]) / f"floorbench{os.getpid()}"
                group.mkdir()
                # Those of memory and processor time only for a start with such limits.
                groups = self.more if limited else self.groups
                groups.append(("--v2" if kind == "cgroup2" else "--v1", group))
        run(["ip", "link", "add", self.bridge, "type", "bridge"])
        run(["ip", "addr", "add", "10.213.0.1/24", "dev", self.bridge])
        run(["ip", "link", "set", self.bridge, "up"])

    # What bubblewrap does not make.
    beyond_bubblewrap = ("overlay", "files", "masks", "kernel", "filter", "privileges")

    def start_without(self, *parts):
        """Without those parts; `groups` are left out like the others."""
        groups = [] if "groups" in parts else [word for pair in self.groups for word in pair]
        less = [word for part in parts if part != "groups" for word in ("--without", part)]
        return [self.binary, *groups, *less, self.rootfs, self.state, "/bin/true"]

    def start(self, network, limited=False):
        groups = [word for pair in self.groups + (self.more if limited else []) for word in pair]
        net = ["--bridge", self.bridge, "10.213.0.2/24", "10.213.0.1"] if network == "bridge" else []
        return [self.binary, *groups, *net, self.rootfs, self.state, "/bin/true"]

    def close(self):
        for _, group in self.groups + self.more:
            group.rmdir()
        run(["ip", "link", "del", self.bridge])


def present(program):
    """Is there such a program?"""
    return shutil.which(program) is not None
