#!/usr/bin/env python3
"""Writes the learning curves of a finished sweep as curves.csv has them.

    distilsweep run tests/search/curves.yaml --state DIR --workers 2 --threads 1
    tests/search/record.py target/release/distilsweep DIR > tests/search/curves.csv

The first took an hour on 2 cores that were busy with other work too.
"""

import csv
import json
import subprocess
import sys

SWEEP = "curves"
METRICS = ["eval_f1_score", "eval_loss"]


def shown(program, state, name):
    command = [program, "results", name, "--state", state, "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    program, state = sys.argv[1:]
    sweep = shown(program, state, SWEEP)
    if sweep["state"] != "completed":
        sys.exit(f"sweep {sweep['sweep']} is {sweep['state']}, its curves are not whole")
    print("# One row an epoch of each trial of curves.yaml, on 2 cores of an AMD EPYC in bf16: `distilsweep run curves.yaml`, "
          "then record.py, which says how.")
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["trial", *sweep["varied"], "epoch", *METRICS])
    for number in range(sweep["total"]):
        trial = shown(program, state, f"{SWEEP}/{number}")
        curves = [[value for _, value in trial["curves"][metric]] for metric in METRICS]
        point = [trial["params"][name] for name in sweep["varied"]]
        for epoch, values in enumerate(zip(*curves), start=1):
            table.writerow([number, *point, epoch, *(f"{value:.6f}" for value in values)])


if __name__ == "__main__":
    main()
