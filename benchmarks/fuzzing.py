"""Fuzz the readers of safetensors files and TensorFlow checkpoints with mutated files.

    python benchmarks/fuzzing.py                                       # 10,000 rounds of each, some seconds
    python benchmarks/fuzzing.py --rounds=1000000 --state=build/fuzz   # the long run; the same command goes on
    python benchmarks/fuzzing.py --reader=tf_checkpoint --replay=4711  # one round again, with its traceback

A round is fixed by its number (tests/support/fuzz_readers.py). It fails on any error but `PresetError`, on more than two
seconds of processor time, on more than 256 MB of memory beside what the process had, and if the process dies. Rounds
run in child processes of some thousand, one at a time, which note the round that they are in.

22 November 2026, CPU. In the first 10,000 rounds it found shapes such as [0, 2^63], which passed both readers' checks and
left them as NumPy's ValueError; zoo/store/names.py refuses them now. Since then 1,000,000 rounds of each reader without a
failure: safetensors 918,091 refused and 81,909 read, slowest 9 ms, memory +1 MB; tf_checkpoint 979,066 refused and 20,934
read, slowest 49 ms, memory +3 MB. Six minutes of processor time.
"""

import json
import mmap
import os
import pathlib
import resource
import signal
import struct
import sys
import time
import traceback

from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests"))

from support.fuzz_readers import READERS, run_round  # noqa: E402

FLAGS = flags.FLAGS
flags.DEFINE_integer("rounds", 10_000, "of each reader, those of earlier runs with this --state included")
flags.DEFINE_enum("reader", None, list(READERS), "only this one")
flags.DEFINE_string("state", None, "folder that remembers what was done")
flags.DEFINE_integer("replay", None, "run this round of --reader alone")

CHUNK = 5_000
LONGEST_ROUND = 2  # seconds of processor time
MEMORY = 256 << 20
DIED, FINISHED = 1, 0


class Hang(Exception):
    pass


def hang(*_):
    raise Hang(f"more than {LONGEST_ROUND} s")


def memory_in_use():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def run_chunk(name, first, last, place, pipe):
    """In a child: run rounds, write what came out as JSON into the pipe, and the number of each round into `place`."""
    signal.signal(signal.SIGVTALRM, hang)
    reader, counts, failures = READERS[name](), {"refused": 0, "read": 0}, []
    run_round(name, reader, 0)  # tables that are made once
    limit = memory_in_use() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    slowest, before = 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(first, last):
        place[:8] = struct.pack("<q", number)
        start = time.process_time()
        signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST_ROUND)
        try:
            counts[run_round(name, reader, number)] += 1
        except (Exception, MemoryError) as error:  # whatever it is, it is what is looked for
            failures.append({"round": number, "error": f"{type(error).__name__}: {error}"[:500]})
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        slowest = max(slowest, time.process_time() - start)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    result = {**counts, "failures": failures, "slowest_ms": 1000 * slowest, "grown_mb": grown}
    os.write(pipe, json.dumps(result).encode())


def chunk_in_child(name, first, last):
    """The result of rounds first .. last-1; a child that dies is a failure of the round it was in."""
    place = mmap.mmap(-1, 8)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            run_chunk(name, first, last, place, write_end)
        except BaseException:
            traceback.print_exc()
            os._exit(DIED)
        os._exit(FINISHED)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as file:
        content = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == FINISHED:
        return last, json.loads(content)
    (number,) = struct.unpack("<q", place[:8])
    failure = {"round": number, "error": f"the process ended with {status}"}
    # The rounds before it are lost from the counts, so they are run again without it.
    until, result = chunk_in_child(name, first, number) if number > first else (number, empty())
    result["failures"].append(failure)
    return until + 1, result


def empty():
    return {"refused": 0, "read": 0, "failures": [], "slowest_ms": 0.0, "grown_mb": 0.0}


def add(total, part):
    for key in ("refused", "read"):
        total[key] += part[key]
    for key in ("slowest_ms", "grown_mb"):
        total[key] = max(total[key], part[key])
    total["failures"] += part["failures"]


def load_state():
    path = FLAGS.state and pathlib.Path(FLAGS.state, "fuzzing.json")
    if path and path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    return {name: {"rounds": 0, "seconds": 0.0, **empty()} for name in READERS}


def save_state(state):
    if FLAGS.state:
        folder = pathlib.Path(FLAGS.state)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "fuzzing.json.new").write_text(json.dumps(state, indent=1), encoding="utf-8")
        os.replace(folder / "fuzzing.json.new", folder / "fuzzing.json")


def main(_):
    names = [FLAGS.reader] if FLAGS.reader else list(READERS)
    if FLAGS.replay is not None:
        for name in names:
            print(name, FLAGS.replay, run_round(name, READERS[name](), FLAGS.replay))
        return
    state = load_state()
    # Chunks of the readers in turn, so that a run that is cut short has done as much of each.
    while unfinished := [name for name in names if state[name]["rounds"] < FLAGS.rounds]:
        for name in unfinished:
            total = state[name]
            start = time.process_time() + os.times().children_user
            total["rounds"], part = chunk_in_child(name, total["rounds"], min(total["rounds"] + CHUNK, FLAGS.rounds))
            add(total, part)
            total["seconds"] += time.process_time() + os.times().children_user - start
            save_state(state)
    for name in names:
        total = state[name]
        print(
            f"{name:13s} {total['rounds']:,} rounds: {total['refused']:,} refused, {total['read']:,} read, "
            f"{len(total['failures'])} failures; slowest {total['slowest_ms']:.0f} ms, "
            f"memory +{total['grown_mb']:.0f} MB, {total['seconds']:.0f} s of processor time"
        )
        for failure in total["failures"][:20]:
            print("   ", failure)
    if any(state[name]["failures"] for name in names):
        sys.exit(1)


if __name__ == "__main__":
    app.run(main)
