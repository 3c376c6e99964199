"""Moving images: pull of large, many-layered and differently compressed ones, push, save, load, removal, disk and memory.

The peers are podman, docker, containerd's ctr and skopeo (which does not unpack). What a peer cannot do is said and its row left out;
docker 20.10, which reads no zstd, is not asked for it.
"""

import os
import shutil
import statistics
import subprocess

import data
from builds import peak_memory
from contenders import registry, run
from race import race, say, table


def emptied(one, name):
    """Before each pull: the image is not there, and what its removal wrote is on the disk."""
    def prepare():
        subprocess.run([str(w) for w in one.remove(name)], capture_output=True, check=False)
        os.sync()
    return prepare


def pull(entrants, rounds, place, address, images, name, what):
    """One table: everybody pulls `name`, beside the bound of the same run."""
    copy = place / "copy"

    def cleared():
        shutil.rmtree(copy, ignore_errors=True)
        os.sync()

    # docker 20.10 fails at it only after it has looked for the image elsewhere.
    able = [one for one in entrants if not (one.name == "docker" and name.endswith("-zstd"))]
    rows = {one.name: (emptied(one, name), one.pull(name)) for one in able}
    words = ["skopeo", "copy", "--quiet", "--src-tls-verify=false", f"docker://{address}/library/{name}", f"dir:{copy}"]
    rows["skopeo copy to a folder, not unpacked"] = (cleared, words)
    say(f"pull of '{name}'")
    times = race(rows, rounds)
    cleared()
    # The next image may have the same layers, compressed otherwise.
    for one in entrants:
        emptied(one, name)()
    parts = data.pieces(images, name)
    inflaters = [value for key, value in parts.items() if key.startswith("inflate")]
    bound = max(min(inflaters, default=0), parts["hash"], parts["write and sync"])
    note = "The pieces in the same run: " + ", ".join(f"{key} {value:.2f} s" for key, value in parts.items()) + "."
    if "img" in times:
        note += f" img's median is {statistics.median(times['img']) / bound:.2f} times the slowest piece."
    table(f"Pull of {what}", times, "s", note)


def pushes(entrants, rounds, place, name):
    """A pulled image to an empty registry; then one that was loaded, whose layers nobody has compressed."""
    folder = place / "push-registry"
    folder.mkdir()
    server = registry(folder, folder / "storage")
    try:
        target = f"{server.answer}/bench/{name}"

        def forgotten():
            shutil.rmtree(folder / "storage", ignore_errors=True)
            os.sync()

        for one in entrants:
            run(one.pull(name))
            run(one.tag(name, target))
        say("push")
        table(f"Push of the pulled image '{name}' to an empty registry", race({one.name: (forgotten, one.push(target)) for one in entrants}, rounds), "s")
        for one in entrants:
            run(one.remove(target))
    finally:
        server.stop()


def archives(entrants, rounds, place, images, name):
    """Save to a docker-archive and load of one."""
    kept = place / "loaded.tar"
    run(["skopeo", "copy", "--quiet", f"oci:{images / name}:latest", f"docker-archive:{kept}:bench/{name}:latest"])
    saved = place / "saved.tar"

    def gone():
        saved.unlink(missing_ok=True)
        os.sync()

    for one in entrants:
        run(one.pull(name))
    say("save")
    table(f"Save of '{name}'", race({one.name: (gone, one.save(name, saved)) for one in entrants}, rounds), "s")
    gone()
    for one in entrants:
        run(one.remove(name))
    loaded = f"bench/{name}:latest"
    say("load")
    table(f"Load of '{name}' from a docker-archive", race({one.name: (emptied(one, loaded), one.load(kept)) for one in entrants}, rounds), "s")
    for one in entrants:
        run(one.remove(loaded))
    kept.unlink()


def disk(entrants, place):
    """What three images take that have the same files in different layers."""
    say("disk")
    print("\n### Disk used by three images with the same 20,000 files in three different layers\n")
    print("| | MiB for the first | MiB for all three |\n| --- | ---: | ---: |")
    for one in entrants:
        names = ["same-a", "same-b", "same-c"]
        sizes = []
        for name in names:
            run(one.pull(name))
            os.sync()
            words = run(["du", "--summarize", "--block-size=1M", "--one-file-system", one.storage()]).split()
            sizes.append(int(words[0]))
        empty_before = one.base_mib
        print(f"| {one.name} | {sizes[0] - empty_before} | {sizes[2] - empty_before} |")
        for name in names:
            run(one.remove(name))


def memory(entrants, place, address, name):
    """The process that pulls, alone; daemons are not counted, so docker and ctr are not in this table."""
    say("memory")
    copy = place / "copy"
    print(f"\n### Peak memory of the process that pulls '{name}'\n")
    print("| | MiB |\n| --- | ---: |")
    for one in entrants:
        if one.name in ("img", "podman"):
            emptied(one, name)()
            print(f"| {one.name} | {peak_memory(one.pull(name)):.0f} |")
    shutil.rmtree(copy, ignore_errors=True)
    words = ["skopeo", "copy", "--quiet", "--src-tls-verify=false", f"docker://{address}/library/{name}", f"dir:{copy}"]
    print(f"| skopeo copy | {peak_memory(words):.0f} |")
    shutil.rmtree(copy, ignore_errors=True)


def transfers(entrants, rounds, place, address, images, wanted):
    """All tables, or those named as transfer-WHAT."""
    def want(name):
        return "transfer" in wanted or f"transfer-{name}" in wanted

    for one in entrants:
        # The base of all images, so that each store is there and what follows is counted without it.
        run(one.pull("busybox"))
        os.sync()
        words = run(["du", "--summarize", "--block-size=1M", "--one-file-system", one.storage()]).split()
        one.base_mib = int(words[0])
    if want("disk"):
        disk(entrants, place)
    if want("pull"):
        for name, what in data.MOVED:
            pull(entrants, rounds, place, address, images, name, what)
    if want("push"):
        pushes(entrants, rounds, place, "half")
    if want("archive"):
        archives(entrants, rounds, place, images, "mixed")
    if want("memory"):
        memory(entrants, place, address, "mixed")
