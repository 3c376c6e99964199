"""What is pulled and built: a many-files image, a large one, and a ten-step build. Made once, kept beside the results."""

import gzip
import hashlib
import io
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


def push(place, address):
    """Puts both images into the registry (blobs that are there already are not sent again)."""
    for name in ("many", "large"):
        run(["skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"oci:{place / name}:latest", f"docker://{address}/library/{name}"])


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
    for name in ("Buildfile", "Dockerfile"):
        (folder / name).write_text("\n".join(steps) + "\n")
    return folder


def pieces(place, name):
    """What a pull cannot do without, each alone, in seconds: inflate, hash, write and sync of the image's last tar."""
    tar = place / f"{name}.tar"
    packed = zlib_gzip(tar.read_bytes())
    results = {}

    began = time.perf_counter()
    inflate = zlib.decompressobj(31)
    for at in range(0, len(packed), 1 << 20):
        inflate.decompress(packed[at : at + (1 << 20)])
    results["inflate (zlib)"] = time.perf_counter() - began
    if shutil.which("igzip"):
        began = time.perf_counter()
        subprocess.run(["igzip", "-dc"], input=packed, stdout=subprocess.DEVNULL, check=True)
        results["inflate (igzip)"] = time.perf_counter() - began

    data = tar.read_bytes()
    began = time.perf_counter()
    digest = hashlib.sha256()
    for at in range(0, len(data), 1 << 20):
        digest.update(data[at : at + (1 << 20)])
    results["hash"] = time.perf_counter() - began

    target = Path(place) / "written"
    began = time.perf_counter()
    with open(target, "wb", buffering=0) as out:
        for at in range(0, len(data), 1 << 20):
            out.write(data[at : at + (1 << 20)])
        os.fsync(out.fileno())
    results["write and sync"] = time.perf_counter() - began
    target.unlink()
    return results


def zlib_gzip(data):
    """gzip at level 6, the level that registries' layers usually have."""
    return gzip.compress(data, 6)
