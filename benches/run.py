#!/usr/bin/env python3
"""Measures img beside its peers and beside the kernel's own floor, and prints markdown tables.

    benches/run.py --img PATH [--rounds N] [--only start,parts,build,pull,remove,limits,deep,exec,many,staying] [--keep DIR]

All contenders of a table take turns within each round, so that a busy moment hits all of them. A figure is wall time of
one whole process from its start to its end: minimum and median over the rounds, and the median's ratio to img's. Needs
root and what `scripts/install-deps bench` installs. Everything happens in a network and a mount namespace of the
benchmark's own: dockerd's bridge and firewall rules never touch the machine's.
"""

import argparse
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import data  # noqa: E402
from builds import builds  # noqa: E402
import crowds  # noqa: E402
import transfers  # noqa: E402
from contenders import Bubblewrap, Containerd, Docker, Floor, Img, Podman, Runc, present, registry, run  # noqa: E402
from race import race, say, table  # noqa: E402

INSIDE = "IMG_BENCH_INSIDE"


def starts(contenders, rounds):
    img, podman, docker, runc, bwrap, floor = contenders
    for all_of in (img, podman, docker):
        if all_of:
            run(all_of.pull("busybox"))
    for network in ("none", "bridge"):
        entrants = [img, floor, podman, docker] + ([runc, bwrap] if network == "none" else [])
        rows = {one.name: (None, one.start(network)) for one in entrants if one}
        rows["the timer's own cost (/bin/true)"] = (None, ["/bin/true"])
        say(f"start, --network {network}")
        table(f"Start of busybox `true`, `--network {network}`", race(rows, rounds))


def parts(contenders, rounds):
    """What each part of a sandbox costs: the floor without it, and with no more than bubblewrap makes."""
    img, _, _, _, bwrap, floor = contenders
    rows = {floor.name: (None, floor.start("none"))}
    for part in ("groups", *floor.beyond_bubblewrap):
        rows[f"{floor.name} without {part}"] = (None, floor.start_without(part))
    rows[f"{floor.name} with what bwrap makes"] = (None, floor.start_without("groups", *floor.beyond_bubblewrap))
    if bwrap:
        rows[bwrap.name] = (None, bwrap.start("none"))
    if img:
        run(img.pull("busybox"))
        rows["img"] = (None, img.start("none"))
        words = img.start("none")
        rows["img run --rootfs, no layers"] = (None, [*words[:-2], "--rootfs", floor.rootfs, words[-1]])
    say("the parts of a start")
    table("The parts of a start", race(rows, rounds))


def pulls(contenders, rounds, place, address, store):
    img, podman, docker = contenders[:3]
    copy = place / "copy"
    for name in ("many", "large"):
        def emptied(one, name=name):
            def prepare():
                subprocess.run([str(w) for w in one.remove(name)], capture_output=True, check=False)
                os.sync()
            return prepare

        def cleared():
            shutil.rmtree(copy, ignore_errors=True)
            os.sync()

        rows = {one.name: (emptied(one), one.pull(name)) for one in (img, podman, docker) if one}
        source = f"docker://{address}/library/{name}"
        words = ["skopeo", "copy", "--quiet", "--src-tls-verify=false", source, f"dir:{copy}"]
        rows["skopeo copy to a folder, not unpacked"] = (cleared, words)
        say(f"pull of '{name}'")
        times = race(rows, rounds)
        cleared()
        parts = data.pieces(store, name)
        bound = max(value for key, value in parts.items() if key != "inflate (zlib)" or "inflate (igzip)" not in parts)
        note = "The pieces in the same run: " + ", ".join(f"{key} {value:.2f} s" for key, value in parts.items()) + "."
        if "img" in times:
            note += f" img's median is {statistics.median(times['img']) / bound:.2f} times the slowest piece."
        what = f"{data.SMALL_FILES:,} small files" if name == "many" else f"{data.LARGE_BYTES >> 20} MiB in large files, on Debian"
        table(f"Pull of an image with {what}", times, "s", note)


def removals(contenders, rounds):
    entrants = [one for one in contenders[:3] if one]

    def pulled(one):
        def prepare():
            run(one.pull("many"))
            os.sync()
        return prepare

    say("removal")
    rows = {one.name: (pulled(one), one.remove("many")) for one in entrants}
    table(f"Removal of the image with {data.SMALL_FILES:,} small files", race(rows, rounds))


def facts(contenders):
    with open("/proc/cpuinfo", encoding="utf-8") as cpus:
        model = next((line.split(":")[1].strip() for line in cpus if line.startswith("model name")), "unknown processor")
    with open("/proc/meminfo", encoding="utf-8") as memory:
        size = int(next(memory).split()[1]) >> 20
    print(f"{os.cpu_count()} x {model}, {size} GiB, Linux {platform.release()}; load {os.getloadavg()[0]:.1f} at the start.")
    versions = [one.version() for one in contenders[:3] if one] + [run(["runc", "--version"]).splitlines()[0]]
    print("Versions: " + "; ".join(versions) + ".")


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--img", required=True, help="the release binary")
    parse.add_argument("--rounds", type=int, default=20, help="rounds for starts; a fifth of it for pulls and builds")
    parse.add_argument("--only", default="start,build,pull,remove", help="tables, separated by commas; build-steps, build-stages, build-context, build-large for one of build; parts, limits, deep, exec, many, staying; transfer, or transfer-pull, transfer-push, transfer-archive, transfer-disk, transfer-memory")
    parse.add_argument("--keep", default="target/bench", help="folder for test images and stores")
    parse.add_argument("--without", default="", help="contenders to leave out: podman, docker, img")
    options = parse.parse_args()
    if os.geteuid() != 0:
        sys.exit("error: root is needed")
    place = Path(options.keep).resolve()
    place.mkdir(parents=True, exist_ok=True)
    base = place.parent / "test-images"
    if INSIDE not in os.environ:
        # Debian's mirror is reached from out here only.
        run([Path(__file__).parent.parent / "scripts/base-images", base])
        data.images(base, place / "images")
        if "transfer" in options.only:
            data.moved(base, place / "images")
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, *sys.argv])

    # An end by signal cleans up too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    run(["ip", "link", "set", "lo", "up"])
    # /run is memory on every usual machine; here it is so for all contenders, wherever this runs.
    run(["mount", "-t", "tmpfs", "tmpfs", "/run"])
    binary = Path(options.img).resolve()
    left_out = options.without.split(",")
    work = Path(tempfile.mkdtemp(prefix="run.", dir=place))
    rootfs = work / "rootfs"
    rootfs.mkdir()
    run(["tar", "-xf", base / "busybox/rootfs.tar", "-C", rootfs])
    closing = []
    try:
        server = registry(work, place / "images/storage")
        closing.append(server.stop)
        address = server.answer
        data.push(place / "images", address)
        made = []
        for name, make in (
            ("img", lambda: Img(binary, work, address)),
            ("podman", lambda: Podman(work, address) if present("podman") else None),
            ("docker", lambda: Docker(work, address) if present("dockerd") else None),
        ):
            one = None if name in left_out else make()
            made.append(one)
            if one:
                closing.append(one.close)
        floor = Floor(work, rootfs)
        closing.append(floor.close)
        made += [Runc(work, rootfs), Bubblewrap(rootfs) if present("bwrap") else None, floor]
        facts(made)
        few = max(3, options.rounds // 5)
        wanted = options.only.split(",")
        if "start" in wanted:
            starts(made, options.rounds)
        if "parts" in wanted:
            parts(made, options.rounds)
        if "build" in wanted or any(word.startswith("build-") for word in wanted):
            builds(made, few, work, wanted)
        if "pull" in wanted:
            pulls(made, few, work, address, place / "images")
        if "remove" in wanted:
            removals(made, few)
        if "transfer" in options.only:
            data.push_moved(place / "images", address)
            ctr = Containerd(work, address) if present("containerd") and "ctr" not in left_out else None
            if ctr:
                closing.append(ctr.close)
            entrants = [one for one in [*made[:3], ctr] if one]
            transfers.transfers(entrants, few, work, address, place / "images", wanted)
        if {"limits", "deep", "exec", "many", "staying"} & set(wanted):
            for one in made[:3]:
                if one:
                    run(one.pull("busybox"))
        if "limits" in wanted:
            crowds.limits(made, options.rounds)
        if "deep" in wanted:
            crowds.deep(made, options.rounds, work, address)
        if "exec" in wanted:
            crowds.execs(made, options.rounds)
        if "many" in wanted:
            crowds.many(made, few)
        if "staying" in wanted:
            crowds.staying(made, options.rounds)
    finally:
        for close in reversed(closing):
            try:
                close()
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                say(f"cleaning up: {error}")
        subprocess.run(["sh", "-c", f"awk '{{print $2}}' /proc/self/mounts | grep '^{work}' | sort -r | xargs -r -n1 umount -l"], check=False)
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
