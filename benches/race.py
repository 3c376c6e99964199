"""Taking times: contenders run in turns, and a table shows them."""

import statistics
import subprocess
import sys
import tempfile
import time


def say(text):
    print(text, file=sys.stderr, flush=True)


def timed(words):
    """Wall seconds of one run to its end."""
    words = [str(word) for word in words]
    with tempfile.TemporaryFile() as log:
        began = time.perf_counter()
        status = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False).returncode
        took = time.perf_counter() - began
        if status != 0:
            log.seek(0)
            raise RuntimeError(f"{' '.join(words)} ended with {status}:\n{log.read().decode(errors='replace')[-2000:]}")
    return took


def race(rows, rounds):
    """rows: name -> (prepare or None, words). Returns name -> list of seconds; a row that fails is dropped, saying so."""
    times = {name: [] for name in rows}
    broken = {}
    for number in range(rounds + 1):
        for name, (prepare, words) in rows.items():
            if name in broken:
                continue
            try:
                if prepare:
                    prepare()
                took = timed(words)
            except RuntimeError as error:
                say(f"{name}: {error}")
                broken[name] = error
                continue
            # The first round warms caches and is not counted.
            if number > 0:
                times[name].append(took)
        say(f"  round {number} of {rounds}")
    return {name: values for name, values in times.items() if values and name not in broken}


def table(title, times, unit="ms", note=""):
    scale = {"ms": 1000, "s": 1}[unit]
    own = statistics.median(times["img"]) if "img" in times else None
    print(f"\n### {title}\n")
    if note:
        print(f"{note}\n")
    print(f"| | min {unit} | median {unit} | times img |\n| --- | ---: | ---: | ---: |")
    for name, values in times.items():
        middle = statistics.median(values)
        ratio = f"{middle / own:.2f}" if own else ""
        print(f"| {name} | {min(values) * scale:.2f} | {middle * scale:.2f} | {ratio} |")
    sys.stdout.flush()
