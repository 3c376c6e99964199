"""What is pulled and built: a many-files image, a large one, and a ten-step build. Made once, kept beside the results."""

import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import time
import zlib
from pathlib import Path

from contenders import run

SMALL_FILES = 20_000
LARGE_BYTES = 400 << 20


def _tar(path, fill):
    beside = path.with_suffix(".making")
    with tarfile.open(beside, "w", format=tarfile.PAX_FORMAT) as tar:
        fill(tar)
    beside.rename(path)


def _many(tar):
    """20,000 text files of about 4.7 KB in 200 folders, of words, so that they compress as text does."""
    chance = random.Random(1)
    words = [bytes(chance.choices(b"abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 11))) for _ in range(4000)]
    for folder in range(200):
        info = tarfile.TarInfo(f"many/{folder:03}")
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(info)
        for number in range(SMALL_FILES // 200):
            data = b" ".join(chance.choices(words, k=chance.randint(400, 1000)))
            info = tarfile.TarInfo(f"many/{folder:03}/{number:03}.txt")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def _large(tar):
    """Files of 8 MiB, half noise and half repeated, so that they compress about two to one, as programs do."""
    chance = random.Random(2)
    for number in range(LARGE_BYTES >> 23):
        noise = chance.randbytes(4 << 20)
        data = b"".join(noise[at : at + 4096] + noise[at : at + 4096] for at in range(0, len(noise), 4096))
        info = tarfile.TarInfo(f"large/{number:03}")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))


def images(base_images, place):
    """OCI layouts `many` and `large` on top of busybox and debian; returns the registry's storage with all of them."""
    storage = place / "storage"
    done = place / "made"
    if done.exists():
        return storage
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    shutil.copytree(base_images / "registry", storage)
    for name, base, fill in (("many", "busybox", _many), ("large", "debian", _large)):
        print(f"making the image '{name}'", file=sys.stderr)
        layer = place / f"{name}.tar"
        _tar(layer, fill)
        shutil.copytree(base_images / base, place / name)
        run(["umoci", "raw", "add-layer", "--image", f"{place / name}:latest", layer])
    done.touch()
    return storage


# Name and what it is, of the images that only `transfers.py` moves.
MOVED = [
    ("mixed", "650 MB in six layers (1 GB of tar, 20,000 small files among it), gzip"),
    ("half", "one layer of 500 MB, gzip"),
    ("half-zstd", "one layer of 500 MB, zstd"),
    ("eight", "eight layers of 60 MB, gzip"),
    ("eight-zstd", "eight layers of 60 MB, zstd"),
]


def _noise(seed, total, share):
    """A filler: files of 8 MB of which `share` is noise and the rest repeats it, so that it compresses to about `share`."""
    def fill(tar):
        chance = random.Random(seed)
        left, number = total, 0
        while left > 0:
            size = min(left, 8_000_000)
            content = bytearray()
            while len(content) < size:
                # Short enough for the window of deflate, 32 KiB.
                block = chance.randbytes(16_000)
                content += block + block[: int(len(block) / share) - len(block)]
            info = tarfile.TarInfo(f"noise/{seed}/{number:03}")
            info.size = size
            tar.addfile(info, io.BytesIO(bytes(content[:size])))
            left -= size
            number += 1
    return fill


def _same(extra):
    """The files of `many` and one more, which makes a layer of its own of them."""
    def fill(tar):
        info = tarfile.TarInfo(f"extra-{extra}")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
        _many(tar)
    return fill


def moved(base_images, place):
    """OCI layouts of MOVED and of same-a, same-b, same-c (the same files in three layers)."""
    done = place / "moved"
    if done.exists():
        return
    plans = {
        "mixed": ("debian", [_many, *(_noise(10 + n, 195_000_000, 0.65) for n in range(4))]),
        "half": ("busybox", [_noise(20, 500_000_000, 0.6)]),
        "eight": ("busybox", [_noise(30 + n, 60_000_000, 0.6) for n in range(8)]),
        **{f"same-{one}": ("busybox", [_same(one)]) for one in "abc"},
    }
    for name, (base, layers) in plans.items():
        print(f"making the image '{name}'", file=sys.stderr)
        shutil.rmtree(place / name, ignore_errors=True)
        shutil.copytree(base_images / base, place / name)
        for fill in layers:
            layer = place / f"{name}.tar"
            _tar(layer, fill)
            run(["umoci", "raw", "add-layer", "--image", f"{place / name}:latest", layer])
            layer.unlink()
    for name in ("half", "eight"):
        words = ["skopeo", "copy", "--quiet", "--dest-compress", "--dest-compress-format", "zstd"]
        shutil.rmtree(place / f"{name}-plain", ignore_errors=True)
        shutil.rmtree(place / f"{name}-zstd", ignore_errors=True)
        run(["skopeo", "copy", "--quiet", "--dest-decompress", f"oci:{place / name}:latest", f"dir:{place / name}-plain"])
        run([*words, f"dir:{place / name}-plain", f"oci:{place / name}-zstd:latest"])
        shutil.rmtree(place / f"{name}-plain")
    done.touch()


def push_moved(place, address):
    """Puts the images of `moved` into the registry."""
    for name in [*(name for name, _ in MOVED), "same-a", "same-b", "same-c"]:
        words = ["skopeo", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"]
        run([*words, f"oci:{place / name}:latest", f"docker://{address}/library/{name}"])


def push(place, address):
    """Puts both images into the registry (blobs that are there already are not sent again)."""
    for name in ("many", "large"):
        run(["skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"oci:{place / name}:latest", f"docker://{address}/library/{name}"])


def buildfile(folder, *steps):
    """Writes the steps under both names."""
    for name in ("Buildfile", "Dockerfile"):
        (folder / name).write_text("\n".join(steps) + "\n")
    return folder


def empty(place, name):
    folder = place / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def stages(place):
    """Four stages that sleep for a second each, and one that reads them all."""
    names = ["one", "two", "three", "four"]
    steps = [line for name in names for line in (f"FROM busybox AS {name}", f"RUN sleep 1 && echo {name} > /{name}")]
    steps += ["FROM busybox", *(f"COPY --from={name} /{name} /" for name in names)]
    return buildfile(empty(place, "stages"), *steps)


def many_files(place):
    """A context of 20,000 small files in 200 folders."""
    folder = empty(place, "many-context")
    for number in range(200):
        inside = folder / "data" / f"{number:03}"
        inside.mkdir(parents=True)
        for file in range(SMALL_FILES // 200):
            (inside / f"{file:03}.txt").write_bytes(b"%d %d\n" % (number, file) * 200)
    return buildfile(folder, "FROM busybox", "COPY data /data")


def one_large(place):
    """A context of one file of 500 MB that does not compress."""
    folder = empty(place, "large-context")
    with open(folder / "large", "wb") as out:
        chance = random.Random(3)
        for _ in range(500):
            out.write(chance.randbytes(1_000_000))
    return buildfile(folder, "FROM busybox", "COPY large /large")


def run_large(place):
    """A step that writes 500 MB, and one that writes 20,000 files."""
    return (
        buildfile(empty(place, "run-large"), "FROM busybox", "RUN head -c 500000000 /dev/urandom > /large"),
        buildfile(
            empty(place, "run-many"),
            "FROM busybox",
            "RUN for d in $(seq 200); do mkdir -p /m/$d; for f in $(seq 100); do echo $d $f > /m/$d/$f; done; done",
        ),
    )


def context(place):
    """A build of ten steps on busybox that writes as much as typical ones do: a few files a step."""
    folder = place / "context"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "src").mkdir(parents=True)
    for number in range(200):
        (folder / "src" / f"{number}.txt").write_text(f"file {number}\n" * 50)
    (folder / "config").write_text("key = value\n")
    steps = [
        "FROM busybox",
        "ENV STAGE=bench",
        "WORKDIR /app",
        "COPY config /etc/app/config",
        "RUN mkdir -p /var/lib/app && echo ready > /var/lib/app/state",
        "COPY src/ /app/src/",
        "RUN cat src/*.txt | sha256sum > /app/sum",
        "RUN for n in 1 2 3 4 5 6 7 8 9 10; do echo $n > /app/$n; done",
        "RUN cp -r src copy && rm -r src",
        "RUN echo done >> /var/lib/app/state",
        'CMD ["cat", "/var/lib/app/state"]',
    ]
    return buildfile(folder, *steps)


def pieces(place, name):
    """What a pull cannot do without, each alone, in seconds: inflate, hash, and write and sync of all layers' tars."""
    layout = place / name
    index = json.loads((layout / "index.json").read_text())
    blob = lambda digest: layout / "blobs" / digest.replace(":", "/")  # noqa: E731
    layers = json.loads(blob(index["manifests"][0]["digest"]).read_text())["layers"]
    results = dict.fromkeys(["inflate (zlib)", *(["inflate (igzip)"] if shutil.which("igzip") else []), "hash", "write and sync"], 0)
    for layer in layers:
        packed = blob(layer["digest"]).read_bytes()
        gzip, zstd = packed[:2] == b"\x1f\x8b", packed[:4] == b"\x28\xb5\x2f\xfd"
        if zstd:
            began = time.perf_counter()
            data = subprocess.run(["zstd", "-dc"], input=packed, stdout=subprocess.PIPE, check=True).stdout
            results["inflate (zstd)"] = results.get("inflate (zstd)", 0) + time.perf_counter() - began
        else:
            began = time.perf_counter()
            data = zlib.decompress(packed, 31) if gzip else packed
            results["inflate (zlib)"] += time.perf_counter() - began
        if "inflate (igzip)" in results and gzip:
            began = time.perf_counter()
            subprocess.run(["igzip", "-dc"], input=packed, stdout=subprocess.DEVNULL, check=True)
            results["inflate (igzip)"] += time.perf_counter() - began
        began = time.perf_counter()
        hashlib.sha256(data).digest()
        results["hash"] += time.perf_counter() - began
        target = Path(place) / "written"
        began = time.perf_counter()
        with open(target, "wb", buffering=0) as out:
            for at in range(0, len(data), 1 << 20):
                out.write(data[at : at + (1 << 20)])
            os.fsync(out.fileno())
        results["write and sync"] += time.perf_counter() - began
        target.unlink()
    # An image of zstd alone has nothing for the others to inflate.
    return {key: value for key, value in results.items() if value}
