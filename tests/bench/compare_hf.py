#!/usr/bin/env python3
"""Trains by turns with transformers' Trainer and with the worker, and prints the ratio of their speeds.

usage: compare_hf.py WORKER ASSETS [--shapes base,minilm] [--precisions fp32,bf16] [--steps N] [--rounds N]
                     [--threads N] [--batch N]

Every training is a process of its own, from the same checkpoint, on the same rows in the same order, dropout on. A
round is one training by each; a ratio is taken within a round, so that what else the machine does falls on both.
Samples a second are those from the first step to the last, loading and evaluation left out. The peak is VmHWM of the
process; neither writes checkpoints. For bf16 a last line compares with the faster of Trainer's two modes.
compare_hf.sh has the versions.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "parity"))
import reference


def trainer_in_a_process(job):
    done = subprocess.run([sys.executable, os.path.abspath(__file__), "--trainer", json.dumps(job)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"Trainer ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.splitlines()[-1])


def summary(values):
    low, high = min(values), max(values)
    return f"{statistics.median(values):.2f}" + (f" ({low:.2f} to {high:.2f})" if len(values) > 1 else "")


def compare(given, shape, files, out):
    """Prints a line a precision; bf16 also against the faster mode."""
    checkpoint = reference.start(given.worker, given.assets, shape, 42, os.path.join(out, f"start-{shape}"))
    params = {"learning_rate": 5e-5, "max_steps": given.steps, "seed": 42,
              "per_device_train_batch_size": given.batch}
    found = {}
    for turn in range(given.rounds):
        for precision in given.precisions:
            here = os.path.join(out, f"{shape}-{precision}-{turn}")
            os.makedirs(here)
            job = {"checkpoint": checkpoint, "files": files, "params": params, "precision": precision,
                   "threads": given.threads, "dropout": True, "out": here}
            theirs, ours = trainer_in_a_process(job), reference.by_worker(given.worker, **job)
            found.setdefault(precision, []).append((theirs, ours))
            print(f"  {shape} {precision} round {turn + 1}: {theirs['samples_per_second']:.2f} Trainer, "
                  f"{ours['samples_per_second']:.2f} worker", file=sys.stderr, flush=True)
    for precision, rounds in found.items():
        speed = lambda side: summary([pair[side]["samples_per_second"] for pair in rounds])
        peak = lambda side: max(pair[side]["peak_mib"] for pair in rounds)
        ratio = summary([ours["samples_per_second"] / theirs["samples_per_second"] for theirs, ours in rounds])
        print(f"{shape:8}{precision:6}{speed(0):>24}{speed(1):>24}{ratio:>22}{peak(0):>10.0f}{peak(1):>10.0f}", flush=True)
    if "fp32" in found and "bf16" in found:
        ratios = [bf16[1]["samples_per_second"] / max(fp32[0]["samples_per_second"], bf16[0]["samples_per_second"])
                  for fp32, bf16 in zip(found["fp32"], found["bf16"])]
        print(f"{shape:8}bf16 against the faster mode of Trainer: {summary(ratios)}", flush=True)


def main():
    if sys.argv[1:2] == ["--trainer"]:
        print(json.dumps(reference.by_trainer(**json.loads(sys.argv[2]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worker")
    parser.add_argument("assets")
    names = lambda known: lambda text: [name if name in known else parser.error(f"{name} is none of {', '.join(known)}")
                                        for name in text.split(",")]
    parser.add_argument("--shapes", type=names(["base", "minilm"]), default=["base", "minilm"])
    parser.add_argument("--precisions", type=names(["fp32", "bf16"]), default=["fp32", "bf16"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--batch", type=int, default=16)
    given = parser.parse_args()
    print(f"{given.rounds} rounds of {given.steps} steps, batch {given.batch}, {given.threads} threads; "
          "median (lowest to highest)")
    print(f"{'shape':8}{'':6}{'Trainer, samples/s':>24}{'worker, samples/s':>24}{'ratio':>22}{'peak MiB':>10}{'worker':>10}")
    with tempfile.TemporaryDirectory() as out:
        files = reference.sample(given.assets, out, validation=64)
        for shape in given.shapes:
            compare(given, shape, files, out)


main()
