#!/usr/bin/env python3
"""Checks the worker's training on a device and measures it against transformers' Trainer.

usage: measure.py WORKER ASSETS [--device cuda] [--checks parity,lanes,speed] [--shape base] [--lanes 1,2,4,8]
                  [--steps N] [--batch N] [--check-steps N] [--check-shape minilm]

parity  the worker on the device against Trainer on the processor, dropout zero: in fp64 loss, gradient norm and
        evaluation loss within 1e-8 and metrics equal; what fp32 differs by is printed.
lanes   trials in packs of 2, 4 and 7, batched, against each trial alone, dropout on, lanes of different learning rate,
        seed, smoothing and number of steps: losses within 1e-8 relative in fp64 and 2e-4 in fp32.
speed   trial-samples per second of packs in bf16, and of Trainer in bf16 on the same device. A pack is trained twice,
        with few and with all steps; the rate is that of the steps between, so that neither loading nor evaluation
        counts. Trainer logs every ten steps and is timed from its first tenth to its end.

Ends with 1 where parity or lanes fail; speeds are only printed. run.sh has the versions.
"""
import argparse, json, os, subprocess, sys, tempfile, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "parity"))
import reference

TOLERANCE = {"fp64": 1e-8, "fp32": 2e-4}


def trained(given, checkpoint, files, params, out, *, precision, batched=None, dropout=True):
    """Trains a pack with one entry of `params` a lane. Returns each lane's directory and the seconds of it all."""
    command = [given.worker, "train", "--model", checkpoint, "--train", files["train"], "--validation",
               files["validation"], "--labels", ",".join(reference.CLASSES), "--max-length",
               str(reference.MAX_LENGTH), "--device", given.device, "--precision", precision, "--output", out]
    for lane in params:
        command += ["--params", json.dumps(lane)]
    command += ["--lanes", "batched" if batched else "in-turn"] if batched is not None else []
    command += [] if dropout else ["--dropout", "0"]
    began = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        sys.exit(f"the worker ended with {done.returncode}: {' '.join(done.stderr.strip().splitlines()[-3:])}")
    return [out] if len(params) == 1 else [os.path.join(out, f"lane-{i}") for i in range(len(params))], seconds


def records(directory, name):
    with open(os.path.join(directory, name)) as f:
        return [json.loads(line) for line in f]


def parity(given, files, out):
    fine = True
    checkpoint = reference.start(given.worker, given.assets, given.check_shape, 42, os.path.join(out, "start"))
    params = {"learning_rate": 5e-5, "max_steps": given.check_steps, "seed": 42, "weight_decay": 0.01,
              "warmup_ratio": 0.1, "per_device_train_batch_size": given.batch}
    for precision in ("fp64", "fp32"):
        here = os.path.join(out, precision)
        os.makedirs(here)
        theirs = reference.by_trainer(checkpoint, files, params, precision=precision, threads=os.cpu_count(),
                                      dropout=False, out=here)
        [lane], _ = trained(given, checkpoint, files, [params], os.path.join(here, "worker"), precision=precision,
                            dropout=False)
        ours = {"steps": records(lane, "steps.jsonl"), "evals": records(lane, "evals.jsonl")}
        found = reference.differences(theirs, ours)
        print(f"parity {precision}, {given.check_steps} steps: "
              + ", ".join(f"{name} {difference:.1e}" for name, difference in found.items()), flush=True)
        strict = {name: 0.0 if name == "metrics" else TOLERANCE["fp64"] for name in found}
        if precision == "fp64" and not all(found[name] <= strict[name] for name in found):
            fine = False
            print(f"FAILED: in fp64 at most {TOLERANCE['fp64']:.0e} is right, and metrics must be equal")
    return fine


def lanes(given, files, out):
    fine = True
    checkpoint = reference.start(given.worker, given.assets, given.check_shape, 42, os.path.join(out, "start"))
    trials = [{"learning_rate": 5e-5 * (1 + i), "max_steps": given.check_steps - i % 3, "seed": 42 + i,
               "label_smoothing_factor": 0.1 * (i % 2), "weight_decay": 0.01 * i,
               "per_device_train_batch_size": given.batch} for i in range(7)]
    for precision in ("fp64", "fp32"):
        alone = []
        for i, trial in enumerate(trials):
            [lane], _ = trained(given, checkpoint, files, [trial], os.path.join(out, f"{precision}-alone-{i}"),
                                precision=precision)
            alone.append(records(lane, "steps.jsonl"))
        for count in (2, 4, 7):
            packed, _ = trained(given, checkpoint, files, trials[:count], os.path.join(out, f"{precision}-{count}"),
                                precision=precision, batched=True)
            pairs = [(one, other) for lane, expected in zip(packed, alone)
                     for one, other in zip(records(lane, "steps.jsonl"), expected, strict=True)]
            largest = max(abs(one["loss"] - other["loss"]) / abs(other["loss"]) for one, other in pairs)
            print(f"lanes {precision}, pack of {count}, {given.check_steps} steps: "
                  f"losses within {largest:.1e} of each trial alone", flush=True)
            # Not `largest > …`: a NaN must not pass.
            if not largest <= TOLERANCE[precision]:
                fine = False
                print(f"FAILED: at most {TOLERANCE[precision]:.0e} is right")
    return fine


def trainer_rate(job):
    """Samples a second of Trainer, as a user would run it."""
    import torch
    from transformers import (AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer,
                              TrainerCallback, TrainingArguments)
    tokenizer = AutoTokenizer.from_pretrained(job["checkpoint"])
    model = AutoModelForSequenceClassification.from_pretrained(job["checkpoint"])
    cuda = job["device"] != "cpu"
    moments = {}

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **kw):
            if state.global_step in (max(1, job["steps"] // 10), job["steps"]):
                if cuda:
                    torch.cuda.synchronize()
                moments[state.global_step] = time.perf_counter()

    arguments = TrainingArguments(output_dir=job["out"], report_to="none", save_strategy="no", eval_strategy="no",
                                  logging_steps=10, disable_tqdm=True, use_cpu=not cuda, bf16=True,
                                  max_steps=job["steps"], per_device_train_batch_size=job["batch"])
    Trainer(model=model, args=arguments, train_dataset=reference.Rows(job["files"]["train"], tokenizer),
            callbacks=[Clock()], data_collator=DataCollatorWithPadding(tokenizer)).train()
    (first, began), (last, ended) = sorted(moments.items())
    return job["batch"] * (last - first) / (ended - began)


def speed(given, files, out):
    checkpoint = reference.start(given.worker, given.assets, given.shape, 42, os.path.join(out, "start"))
    job = {"checkpoint": checkpoint, "files": files, "device": given.device, "steps": given.steps,
           "batch": given.batch, "out": os.path.join(out, "trainer")}
    # A process of its own, so that the card is empty when the worker comes. It takes a card by the variable alone.
    number = given.device.partition(":")[2]
    environment = {**os.environ, **({"CUDA_VISIBLE_DEVICES": number} if number else {})}
    done = subprocess.run([sys.executable, os.path.abspath(__file__), "--trainer", json.dumps(job)], env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"Trainer ended with {done.returncode}: {' '.join(done.stderr.strip().splitlines()[-3:])}")
    theirs = json.loads(done.stdout.splitlines()[-1])
    print(f"{given.shape}, batch {given.batch}, bf16, {given.steps} steps, {card(given)}")
    print(f"{'Trainer':10}{theirs:12.1f} samples/s", flush=True)
    few = max(1, given.steps // 10)
    for count in given.lanes:
        seconds = []
        for steps in (few, given.steps):
            params = [{"learning_rate": 5e-5 * (1 + i), "seed": 42 + i, "max_steps": steps, "logging_steps": 10,
                       "per_device_train_batch_size": given.batch} for i in range(count)]
            here = os.path.join(out, f"{count}-{steps}")
            seconds.append(trained(given, checkpoint, files, params, here, precision="bf16", batched=count > 1)[1])
        rate = count * given.batch * (given.steps - few) / (seconds[1] - seconds[0])
        name = "1 trial" if count == 1 else f"{count} trials"
        print(f"{name:10}{rate:12.1f} samples/s, {rate / theirs:.2f} times Trainer", flush=True)
    return True


def card(given):
    """The device's own name."""
    said = json.loads(subprocess.run([given.worker, "devices", "--json"], check=True, stdout=subprocess.PIPE).stdout)
    wanted = "cuda:0" if given.device == "cuda" else given.device
    for device in said["devices"]:
        if device["name"] == wanted:
            return device["model"] or wanted
    sys.exit(f"the worker has no device {wanted}: {said['no_cuda']}")


def main():
    if sys.argv[1:2] == ["--trainer"]:
        print(json.dumps(trainer_rate(json.loads(sys.argv[2]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worker")
    parser.add_argument("assets")
    checks = {"parity": parity, "lanes": lanes, "speed": speed}
    names = lambda text: [name if name in checks else parser.error(f"{name} is none of {', '.join(checks)}")
                          for name in text.split(",")]
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--checks", type=names, default=list(checks))
    parser.add_argument("--shape", default="base", choices=["base", "minilm", "small"])
    parser.add_argument("--lanes", type=lambda text: [int(count) for count in text.split(",")], default=[1, 2, 4, 8])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--check-steps", type=int, default=100)
    parser.add_argument("--check-shape", default="minilm", choices=["base", "minilm", "small"])
    given = parser.parse_args()
    if given.steps < 2 or given.check_steps < 4 or min(given.lanes) < 1:
        parser.error("--steps must be at least 2, --check-steps 4, --lanes 1")
    card(given)
    failed = []
    for name in given.checks:
        with tempfile.TemporaryDirectory() as out:
            # What is checked needs no more rows, and every training reads them all.
            files = reference.sample(given.assets, out, train=None if name == "speed" else 4000, validation=64)
            if not checks[name](given, files, out):
                failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


main()
