"""Builds beside BuildKit (through docker's own client) and buildah: steps, stages, contexts, large layers, and memory."""

import os
import subprocess

import data
from race import race, say, table


def entrants(contenders, folder, fresh):
    """Rows of one build for all builders."""
    img, podman, docker = contenders[:3]
    rows = {one.name: (None, one.build(folder, fresh)) for one in (img, podman, docker) if one}
    names = {"podman": "buildah bud, chroot", "docker": "BuildKit"}
    return {names.get(name, name): row for name, row in rows.items()}


def measure(title, contenders, folder, fresh, rounds, prepare=None, unit="ms"):
    say(title)
    rows = {name: (prepare, words) for name, (_, words) in entrants(contenders, folder, fresh).items()}
    table(title, race(rows, rounds), unit)


def peak_memory(words):
    """MiB at the most of one process, without those it starts."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        child = subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        os.write(writer, f"{status} {usage.ru_maxrss}".encode())
        os._exit(0)
    os.close(writer)
    text = os.read(reader, 100).decode()
    os.close(reader)
    os.waitpid(pid, 0)
    status, kilobytes = map(int, text.split())
    if status != 0:
        raise RuntimeError(f"{words} ended with {status}")
    return kilobytes / 1024


def builds(contenders, rounds, place, wanted):
    def want(name):
        return "build" in wanted or f"build-{name}" in wanted

    if want("steps"):
        folder = data.context(place)
        measure("Build of ten steps, cold", contenders, folder, True, rounds)
        measure("Build of ten steps, all cached", contenders, folder, False, rounds)
    if want("stages"):
        measure("Four stages of `sleep 1`", contenders, data.stages(place), True, rounds, unit="s")
    if want("context"):
        folder = data.many_files(place)
        touched = folder / "data/100/050.txt"

        def touch():
            touched.write_text(f"{os.urandom(8).hex()}\n")

        measure("COPY of 20,000 files, cold", contenders, folder, True, rounds, unit="s")
        measure("COPY of 20,000 files, cached", contenders, folder, False, rounds)
        measure("COPY of 20,000 files, one of them changed", contenders, folder, False, rounds, touch, "s")
    if want("large"):
        folder = data.one_large(place)
        measure("COPY of one file of 500 MB", contenders, folder, True, rounds, unit="s")
        if contenders[0]:
            most = peak_memory(contenders[0].build(folder, True))
            print(f"\nPeak memory of img in that build: {most:.0f} MiB (of one process; page cache not counted).")
        large, many = data.run_large(place)
        measure("A RUN that writes 500 MB", contenders, large, True, rounds, unit="s")
        measure("A RUN that writes 20,000 files", contenders, many, True, rounds, unit="s")
