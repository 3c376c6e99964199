#!/usr/bin/env python3
"""Cuts the power of a disk whose writes were logged (QEMU's blklogwrites), at many points, and looks at what is left.

At each cut the disk has all writes up to the last flush before it, and of those after that a part chosen at random: all, none,
or some, the last of them perhaps torn. It is mounted and everything asked that tests/power/commands promises by then.
"""
import argparse
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import time

FLUSH, DISCARD = 1, 4
MAGIC = 0x6A736677736872


def entries(path):
    """(sector, bytes, flags) of each logged write, in order."""
    with open(path, "rb") as log:
        magic, version, count, size = struct.unpack("<QQQI", log.read(28))
        if magic != MAGIC or version != 1:
            sys.exit(f"error: {path} is no log of writes")
        at = size
        for _ in range(count):
            log.seek(at)
            sector, sectors, flags, length = struct.unpack("<QQQQ", log.read(32))
            at += size
            data = b""
            if not flags & DISCARD:
                log.seek(at)
                data = log.read(sectors * size)
                at += sectors * size
            yield sector * size, data, flags, (sectors * size if flags & DISCARD else length)


def commands(path):
    """The commands, and for each what is promised after it and what it ends."""
    found, ends = [], []
    for line in open(path):
        line = line.rstrip("\n")
        if line.startswith("+ "):
            name, check = line[2:].split(": ", 1)
            found[-1]["promises"].append((name, check))
        elif line.startswith("- "):
            ends.append(line[2:])
        elif line and not line.startswith("#"):
            found.append({"line": line, "promises": [], "ends": ends})
            ends = []
    return found


def apply(disk, entry):
    at, data, flags, length = entry
    if flags & DISCARD:
        # A discarded block may read as anything; zeros are what this disk gives.
        os.pwrite(disk, bytes(length), at)
    elif data:
        os.pwrite(disk, data, at)


def part(pending, how, chance):
    """Which of the writes that nothing has flushed reached the disk."""
    if how == "all":
        return pending
    if how == "none":
        return []
    kept = [entry for entry in pending if chance.random() < 0.5]
    if kept and how == "torn":
        at, data, flags, length = kept[-1]
        # A disk writes sectors whole; a write of many may end in the middle.
        kept[-1] = (at, data[: len(data) // 2 // 4096 * 4096], flags, length)
    chance.shuffle(kept)
    return kept


class Look:
    """One cut disk, mounted, with img's store on it."""

    def __init__(self, options, disk):
        self.options, self.disk = options, disk
        self.place = os.path.join(options.work, "mounted")
        self.env = {
            "PATH": os.path.join(options.work, "bin") + ":/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": options.work,
            "NO_COLOR": "1",
            "IMG_ROOT": os.path.join(self.place, "store"),
            "IMG_RUNROOT": os.path.join(options.work, "run"),
            "IMG_CONFIG": os.path.join(options.work, "config.toml"),
        }
        self.problems = []

    def shell(self, line):
        for name in ("context2", "context", "rootfs.tar", "layout.tar"):
            line = re.sub(rf"(?<=\s)/{re.escape(name)}(?=\s|$)", os.path.join(self.options.work, name), line)
        return subprocess.run(["sh", "-c", line], env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)

    def ask(self, what, line):
        done = self.shell(line)
        if done.returncode != 0:
            self.problems.append(f"{what}: {line}: {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
        return done

    def look(self, known, last):
        os.makedirs(self.place, exist_ok=True)
        mounted = subprocess.run(["mount", "-o", "loop", self.disk, self.place], capture_output=True, text=True)
        if mounted.returncode != 0:
            self.problems.append(f"mount: {mounted.stderr}")
            return
        try:
            if last == 0 and not os.path.exists(self.env["IMG_ROOT"]):
                return
            self.asks(known, last)
        finally:
            self.shell("img network prune --force")
            self.shell("img system unmount")
            subprocess.run(["umount", self.place], check=True)
            shutil.rmtree(self.env["IMG_RUNROOT"], ignore_errors=True)

    def asks(self, known, last):
        self.ask("sound", "img system check")
        ended = {name for command in known[: last + 1] for name in command["ends"]}
        for command in known[:last]:
            for name, check in command["promises"]:
                if name not in ended:
                    self.ask(f"promised by {command['line']!r}", check)
        if last < len(known):
            line = known[last]["line"]
            again = self.shell(line)
            # It may have been done already, or have undone what it was about.
            done = re.search(r"already|no such|in use by|is here", again.stderr)
            if again.returncode != 0 and not done:
                self.problems.append(f"again: {line}: {again.returncode}\n{again.stderr}")
        self.ask("cleared", "img ps -a && img system prune --force")
        self.ask("sound after all", "img system check")
        root = self.env["IMG_ROOT"]
        for name in ("tmp", "trash"):
            left = os.listdir(os.path.join(root, name)) if os.path.isdir(os.path.join(root, name)) else []
            if left:
                self.problems.append(f"left in {name}: {left}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", required=True)
    parser.add_argument("--disk", required=True, help="the disk as it was before the first write")
    parser.add_argument("--commands", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--cuts", default="100", help="how many, or `all`: at each write, with each kind of rest")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report")
    options = parser.parse_args()
    known = commands(options.commands)
    log = list(entries(options.log))
    chance = random.Random(options.seed)
    # Command by command, where its success was told.
    told = {}
    for index, (_, data, _, _) in enumerate(log):
        mark = re.match(rb"img-power success (\d+) ", data[:64])
        if mark:
            told[int(mark.group(1))] = index
    if sorted(told) != list(range(1, len(known) + 1)):
        sys.exit(f"error: of {len(known)} commands these have told of success: {sorted(told)}")
    flushes = sum(1 for entry in log if entry[2] & FLUSH)
    hows = ["all", "none", "some", "torn"]
    if options.cuts == "all":
        cuts = [(point, how) for point in range(len(log)) for how in hows]
    else:
        # Right after each success, with nothing of what was not flushed; the rest at random.
        cuts = [(point, "none") for point in told.values()]
        more = max(0, int(options.cuts) - len(cuts))
        cuts = sorted(cuts + [(chance.randrange(1, len(log)), chance.choice(hows)) for _ in range(more)])
    copy = os.path.join(options.work, "cut")
    kept = os.path.join(options.work, "kept")
    subprocess.run(["cp", "--sparse=always", options.disk, kept], check=True)
    disk = os.open(kept, os.O_RDWR)
    pending, done, wrong, began = [], 0, [], time.time()
    tally = dict.fromkeys(hows, 0)
    for number, (point, how) in enumerate(cuts):
        for entry in log[done : point + 1]:
            if entry[2] & FLUSH:
                for write in pending:
                    apply(disk, write)
                pending = []
            pending.append(entry)
        done = point + 1
        last = sum(1 for at in told.values() if at <= point)
        tally[how] += 1
        # A new file each time, so that no loop device of an earlier look is taken again.
        if os.path.exists(copy):
            os.remove(copy)
        subprocess.run(["cp", "--sparse=always", kept, copy], check=True)
        cut = os.open(copy, os.O_RDWR)
        for write in part(pending, how, chance):
            apply(cut, write)
        os.close(cut)
        look = Look(options, copy)
        look.look(known, last)
        for problem in look.problems:
            wrong.append(f"cut at write {point} ({how} of {len(pending)} unflushed), {last} commands done: {problem}")
            print(wrong[-1], flush=True)
        if number % 100 == 99:
            print(f"{number + 1} of {len(cuts)} cuts, {len(wrong)} problems, {time.time() - began:.0f} s", flush=True)
    summary = (
        f"{len(cuts)} cuts of {len(log)} writes with {flushes} flushes, seed {options.seed}: "
        + ", ".join(f"{count} with {how}" for how, count in tally.items())
        + f" of what was not flushed; {len(wrong)} problems"
    )
    print(summary)
    if options.report:
        with open(options.report, "w") as report:
            report.write(summary + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
