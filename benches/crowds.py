"""Containers beyond one short run: limits, deep images, exec, many after each other, many at once, many that stay."""

import statistics
import subprocess
import time
from pathlib import Path

from contenders import run
from race import race, say, table, timed

SEQUENCE = 100
AT_ONCE = 8
RUNNING = 500
LISTED = 1000
LAYERS = 60


def limits(contenders, rounds):
    """Starts with limits of memory, processor time and processes, which are three groups of version 1 here."""
    img, podman, docker, _, _, floor = contenders
    flags = ["--memory", "64m", "--cpus", "1", "--pids-limit", "100"]
    rows = {"img": (None, with_flags(img, flags))} if img else {}
    rows[floor.name] = (None, floor.start("none", limited=True))
    rows |= {one.name: (None, with_flags(one, flags)) for one in (podman, docker) if one}
    say("start with limits")
    table("Start with limits of memory, processor time and processes, `--network none`", race(rows, rounds))


def with_flags(one, flags):
    words = one.start("none")
    at = words.index("run") + 1
    return [*words[:at], *flags, *words[at:]]


def deep(contenders, rounds, work, address):
    """Starts of an image of sixty layers beside one of a single layer."""
    img, podman, docker = contenders[:3]
    if not img:
        return
    context = work / "deep"
    context.mkdir()
    (context / "file").write_text("x")
    lines = ["FROM busybox"] + [f"COPY file /layer{number}" for number in range(1, LAYERS)]
    (context / "Dockerfile").write_text("\n".join(lines) + "\n")
    name = f"{address}/deep:latest"
    run(img.words("build", "--quiet", "--tag", name, context))
    run(img.words("push", "--quiet", name))
    rows = {"img": (None, deepened(img, name)), "img, one layer": (None, img.start("none"))}
    for one in (podman, docker):
        if one:
            run(one.pull(name))
            rows[one.name] = (None, deepened(one, name))
    say("deep images")
    table(f"Start of an image of {LAYERS} layers, `--network none`", race(rows, rounds))


def deepened(one, name):
    return [name if word == "busybox" else word for word in one.start("none")]


def execs(contenders, rounds):
    """A program more in a container that runs."""
    rows, ends = {}, []
    for one in contenders[:3]:
        if one:
            began = run(detached(one)).split()[-1]
            ends.append(one.words("rm", "--force", began))
            rows[one.name] = (None, one.words("exec", began, "true"))
    say("exec")
    try:
        table("`exec` of `true` in a running container", race(rows, rounds))
    finally:
        for words in ends:
            run(words)


def detached(one):
    words = [word for word in one.start("none") if word != "--rm"]
    at = words.index("run") + 1
    return [*words[:at], "--detach", *words[at:-1], "sleep", "86400"]


def many(contenders, rounds):
    """A hundred short containers, after each other and eight at a time."""
    for title, side in ((f"{SEQUENCE} short containers after each other", 1), (f"{SEQUENCE} short containers, {AT_ONCE} at a time", AT_ONCE)):
        say(title)
        rows = {}
        for one in contenders[:3]:
            if one:
                words = " ".join(f"'{word}'" for word in one.start("none"))
                rows[one.name] = (None, ["sh", "-c", f"seq {SEQUENCE} | xargs -P {side} -I N {words} >/dev/null"])
        table(title, race(rows, rounds), "s")


def staying(contenders, rounds):
    """Whether a start gets slower as containers pile up, what listing many costs, and what an idle one takes.

    The floor and bubblewrap beside it know nothing of the containers that run: what they lose is the kernel's."""
    img, _, _, _, bwrap, floor = contenders
    if not img:
        return
    title = f"{RUNNING} running containers"
    say(title)
    print(f"\n### Start and listing with {RUNNING} running containers\n")
    rows = {one.name: one.start("none") for one in (img, floor, bwrap) if one}
    print(f"| containers that run | {' | '.join(f'{name}, median ms' for name in rows)} | `ps`, median ms |")
    print("| ---: |" + " ---: |" * (len(rows) + 1))
    made, began = [], time.perf_counter()
    try:
        for wanted in (0, 100, RUNNING):
            while len(made) < wanted:
                made.append(run(detached(img)).split()[-1])
            times = race({name: (None, words) for name, words in rows.items()}, max(10, rounds))
            lists = [timed(img.words("ps")) * 1000 for _ in range(5)]
            middles = " | ".join(f"{statistics.median(times[name]) * 1000:.2f}" for name in rows)
            print(f"| {wanted} | {middles} | {statistics.median(lists):.1f} |")
        took = time.perf_counter() - began
        sizes = [size for size in map(monitor_kib, map(img_pid(img), made[:50])) if size]
        print(f"\nStarting them, with the measurements, took {took:.1f} s. The monitor of an idle detached container takes "
              f"{statistics.median(sizes):.0f} KiB (Pss, median of {len(sizes)}; {max(sizes)} at most).")
        while len(made) < LISTED:
            words = [word for word in img.start("none") if word != "--rm"]
            words[words.index("run")] = "create"
            made.append(run(words).split()[-1])
        lists = [timed(img.words("ps", "--all")) * 1000 for _ in range(10)]
        print(f"`ps --all` over {LISTED} containers: {min(lists):.1f} ms at least, {statistics.median(lists):.1f} median.")
    finally:
        if made:
            run(img.words("rm", "--force", *made))


def img_pid(img):
    return lambda name: int(run(img.words("inspect", "--format", "{{.State.Pid}}", name)))


def monitor_kib(pid):
    """Pss in KiB of the parent of a container's first process; None if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        for line in Path(f"/proc/{fields[1]}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except (OSError, subprocess.SubprocessError):
        pass
    return None

