"""What the benchmarks share: models, contenders of other makers, measuring, tables.

Turns of all contenders are interleaved, so that whatever else the machine does hits all alike:
compare ratios, not seconds.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DROP_CACHES = Path("/proc/sys/vm/drop_caches")
MIB = 1 << 20


def main(doc, binaries, contestants, peers, models):
    """Measures every contender on every model. `contestants(place, cores)` gives name -> what makes the
    command for a model and its number of files; those named in `peers` are what the others are held
    against."""
    options = arguments(doc)
    build(binaries)
    cores = len(os.sched_getaffinity(0))
    figures = {"cores": cores, "quick": options.quick, "rounds": options.rounds, "models": {}}
    with tempfile.TemporaryDirectory(prefix="sealwright-bench-", dir=options.directory) as place:
        place = Path(place)
        contenders = contestants(place, cores)
        for name, make in models(16 if options.quick else 1).items():
            model = place / name
            model.mkdir()
            apart(lambda: make(model))
            figures["models"][name] = measure(name, model, contenders, peers, options.rounds)
            shutil.rmtree(model)
    # Processor time is what is left to compare by when other work keeps the cores busy.
    figures["ratios"] = ratios(figures["models"], peers, "seconds")
    figures["cpu_ratios"] = ratios(figures["models"], peers, "cpu")
    print(json.dumps(figures))


def arguments(doc):
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a sixteenth of the sizes")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender")
    parser.add_argument("--directory", help="where the models are made (default: $TMPDIR)")
    return parser.parse_args()


def build(targets):
    for target in targets:
        command = ["cargo", "build", "--quiet", "--release", "--locked", *target]
        subprocess.run(command, cwd=ROOT, check=True)


def release():
    """Where the built programs are."""
    metadata = ["cargo", "metadata", "--format-version=1", "--no-deps", "--locked"]
    found = subprocess.run(metadata, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return Path(json.loads(found.stdout)["target_directory"]) / "release"


def openssl(cores):
    def command(model, count):
        # Enough files for each process that starting it does not count.
        each = max(1, min(500, count // (4 * cores)))
        script = 'find "$1" -type f -print0 | xargs -0 -n "$2" -P "$3" openssl dgst -sha256'
        return ["sh", "-c", script, "sh", str(model), str(each), str(cores)]

    return command


def generate_key(place):
    """A P-256 key in PEM, and its public half."""
    key, public = place / "key.pem", place / "key.pub"
    generate = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key]
    subprocess.run(generate, check=True)
    export = ["openssl", "ec", "-in", key, "-pubout", "-out", public]
    subprocess.run(export, check=True, stderr=subprocess.DEVNULL)
    return str(key), str(public)


def model_signing():
    return peer("SEALWRIGHT_TEST_MODEL_SIGNING", "model-signing/bin/model_signing")


def go_peer(variable, name):
    """A program that `./test peers` builds with Go."""
    return peer(variable, f"go/bin/{name}")


def peer(variable, usual):
    """The program that a variable of the environment names, or `./test` leaves in its cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sealwright"
    path = os.environ.get(variable) or str(cache / usual)
    return path if os.access(path, os.X_OK) else None


def large_models(part):
    """Name -> what fills a directory. No two files are equal, and none is sparse."""

    def write(path, size, turn, blob):
        # A rotation of the blob, over and over: other bytes in every file and in every repetition.
        with open(path, "wb") as file:
            while size > 0:
                cut = turn * 4099 % len(blob)
                for piece in (blob[cut:], blob[:cut]):
                    size -= file.write(piece[:size])
                turn += 1

    def many(count, size):
        def make(directory):
            blob = os.urandom(64 * MIB)
            for index in range(count):
                write(directory / f"{index:05}", size, index, blob)

        return make

    return {
        "one_huge": many(1, 4096 * MIB // part),
        "many_large": many(64, 64 * MIB // part),
        "many_tiny": many(20_000 // part, 100),
    }


def apart(work):
    """In a process of its own: ours stays small, since what it forks inherits its peak memory."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        sys.exit("the models could not be made")


def measure(name, model, contenders, peers, rounds):
    count = sum(1 for _ in model.iterdir())
    states = ["warm"] + (["cold"] if os.access(DROP_CACHES, os.W_OK) else [])
    figures = {}
    for state in states:
        best = {}
        run(contenders["openssl"](model, count))  # fills the page cache
        for _ in range(rounds):
            for contender, command in contenders.items():
                if state == "cold":
                    os.sync()
                    DROP_CACHES.write_text("1")
                new = run(command(model, count))
                old = best.get(contender, new)
                best[contender] = {key: min(old[key], new[key]) for key in ("seconds", "cpu")}
                best[contender]["mib"] = max(old["mib"], new["mib"])
        show(f"{name}, {state}", best, peers)
        figures[state] = best
    return figures


def run(command):
    """Seconds, processor seconds of all its processes, and the largest of them in MiB."""
    start = time.perf_counter()
    child = os.fork()
    if child == 0:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        os.execvp(command[0], [os.fspath(part) for part in command])
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        sys.exit(f"failed: {command}")
    cpu = usage.ru_utime + usage.ru_stime
    return {"seconds": round(seconds, 4), "cpu": round(cpu, 4), "mib": usage.ru_maxrss // 1024}


def show(title, best, peers):
    width = max(len(name) for name in best)
    against = [peer for peer in peers if peer in best]
    columns = "".join(f" {peer + '/it':>{len(peer) + 4}}" for peer in against)
    print(f"\n{title}\n  {'':{width}} {'seconds':>8} {'cpu':>8} {'MiB':>5}{columns}")
    for contender, figures in best.items():
        numbers = f"{figures['seconds']:8.3f} {figures['cpu']:8.3f} {figures['mib']:5}"
        for peer in against:
            ratio = compare(best, peer, contender, "seconds")
            numbers += f" {'' if ratio is None else f'{ratio:.2f}':>{len(peer) + 4}}"
        print(f"  {contender:{width}} {numbers}", flush=True)


def compare(best, peer, contender, figure):
    """How many times longer the peer takes."""
    if peer not in best or peer == contender:
        return None
    return best[peer][figure] / best[contender][figure]


def ratios(models, peers, figure):
    found = {}
    for name, states in models.items():
        for state, best in states.items():
            for contender in best:
                for peer in peers:
                    ratio = compare(best, peer, contender, figure)
                    if ratio is not None and contender not in peers:
                        found[f"{name}.{state}.{peer}/{contender}"] = round(ratio, 3)
    return found
