#!/usr/bin/env python3
"""Trains the sample model with transformers' Trainer and with the worker, and compares them step by step.

usage: compare.py WORKER ASSETS [--steps N] [--threads N] [--batch N] [--keep-dropout] [--seeds N]

WORKER is the program distilsweep-worker, ASSETS the directory that deploy/assets.py made. Both train from the same
checkpoint in single precision, in the same order, on the same number of threads, one after the other. Prints the
largest differences of loss and gradient norm and both speeds. Dropout is zero, since the two draw it differently; with
--keep-dropout the last losses and scores of --seeds seeds are printed instead of differences. compare.sh has the
versions.
"""
import argparse, csv, json, os, subprocess, sys, tempfile, time

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from torch.utils.data import Dataset
from transformers import (AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer,
                          TrainerCallback, TrainingArguments, set_seed)

CLASSES = ["negative", "neutral", "positive"]
EVALUATED = 800


class Rows(Dataset):
    def __init__(self, path, tokenizer):
        with open(path, newline="", encoding="utf-8") as f:
            rows = list(csv.DictReader(f))
        self.ids = tokenizer([row["text"] for row in rows], truncation=True, max_length=128)["input_ids"]
        self.labels = [CLASSES.index(row["label"]) for row in rows]

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, i):
        return {"input_ids": self.ids[i], "attention_mask": [1] * len(self.ids[i]), "labels": self.labels[i]}


def weighted_f1(prediction):
    guess, truth = prediction.predictions.argmax(-1), prediction.label_ids
    total = 0.0
    for c in range(len(CLASSES)):
        hits, said, true = ((guess == c) & (truth == c)).sum(), (guess == c).sum(), (truth == c).sum()
        total += true * 2 * hits / (said + true) if said + true else 0.0
    return {"f1_score": float(total / len(truth))}


def train_with_trainer(converted, files, params, dropout, threads, out):
    """Returns the steps, the validation F1 and steps per second; leaves the start in out/start."""
    torch.set_num_threads(threads)
    tokenizer = AutoTokenizer.from_pretrained(converted)
    rates = {} if dropout else dict.fromkeys(("dropout", "attention_dropout", "seq_classif_dropout"), 0.0)
    config = AutoConfig.from_pretrained(converted, num_labels=len(CLASSES), **rates)
    config.id2label, config.label2id = dict(enumerate(CLASSES)), {name: i for i, name in enumerate(CLASSES)}
    set_seed(params["seed"])
    model = AutoModelForSequenceClassification.from_pretrained(converted, config=config)
    model.save_pretrained(os.path.join(out, "start"))
    tokenizer.save_pretrained(os.path.join(out, "start"))
    steps, losses = [], []

    class Log(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kw):
            if "grad_norm" in logs:
                steps.append({"loss": losses.pop(), "grad_norm": float(logs["grad_norm"]),
                              "learning_rate": float(logs["learning_rate"])})

    class Unrounded(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, **kw):
            computed = super().compute_loss(model, inputs, return_outputs=return_outputs, **kw)
            if model.training:
                losses.append(float((computed[0] if return_outputs else computed).detach()))
            return computed

    arguments = TrainingArguments(output_dir=os.path.join(out, "hf"), report_to="none", save_strategy="no",
                                  logging_steps=1, disable_tqdm=True, use_cpu=True, per_device_eval_batch_size=64, **params)
    trainer = Unrounded(model=model, args=arguments, train_dataset=Rows(files["train"], tokenizer),
                        eval_dataset=Rows(files["validation"], tokenizer), callbacks=[Log()],
                        data_collator=DataCollatorWithPadding(tokenizer), compute_metrics=weighted_f1)
    began = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - began
    return steps, trainer.evaluate()["eval_f1_score"], len(steps) / seconds


def train_with_worker(worker, files, params, dropout, threads, out):
    result = os.path.join(out, "worker")
    command = [worker, "train", "--model", os.path.join(out, "start"), "--train", files["train"], "--validation",
               files["validation"], "--labels", ",".join(CLASSES), "--params", json.dumps(params), "--max-length", "128",
               "--threads", str(threads), "--output", result, *([] if dropout else ["--dropout", "0"])]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    with open(os.path.join(result, "steps.jsonl")) as f:
        steps = [json.loads(line) for line in f]
    with open(os.path.join(result, "result.json")) as f:
        report = json.load(f)
    return steps, report["metrics"]["best_validation_f1"], report["steps_per_second"]


def compare(theirs, ours):
    """Largest differences over the steps."""
    if len(theirs) != len(ours):
        sys.exit(f"Trainer made {len(theirs)} steps, the worker {len(ours)}")
    pairs = list(zip(theirs, ours))
    return {"loss, absolute": max(abs(a["loss"] - b["loss"]) for a, b in pairs),
            "gradient norm, relative": max(abs(a["grad_norm"] - b["grad_norm"]) / a["grad_norm"] for a, b in pairs),
            "learning rate, relative": max(abs(a["learning_rate"] - b["learning_rate"]) / max(a["learning_rate"], 1e-30)
                                           for a, b in pairs)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worker")
    parser.add_argument("assets")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--keep-dropout", action="store_true")
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        converted = os.path.join(out, "converted")
        subprocess.run([given.worker, "convert", "--model", os.path.join(given.assets, "model"), "--output", converted],
                       check=True, stderr=subprocess.DEVNULL)
        files = {"train": os.path.join(given.assets, "train.csv"), "validation": os.path.join(out, "validation.csv")}
        with open(os.path.join(given.assets, "validation.csv"), newline="", encoding="utf-8") as f:
            head = list(csv.reader(f))[:EVALUATED + 1]
        with open(files["validation"], "w", newline="", encoding="utf-8") as f:
            csv.writer(f).writerows(head)
        for seed in range(42, 42 + given.seeds):
            here = os.path.join(out, str(seed))
            os.makedirs(here)
            params = {"learning_rate": 2e-4 if given.keep_dropout else 5e-5, "max_steps": given.steps, "seed": seed,
                      "per_device_train_batch_size": given.batch}
            a = train_with_trainer(converted, files, params, given.keep_dropout, given.threads, here)
            b = train_with_worker(given.worker, files, params, given.keep_dropout, given.threads, here)
            if given.keep_dropout:
                mean = lambda steps: sum(step["loss"] for step in steps[-20:]) / len(steps[-20:])
                print(f"seed {seed}: mean of the last 20 losses {mean(a[0]):.4f} Trainer, {mean(b[0]):.4f} worker; "
                      f"validation F1 {a[1]:.4f} and {b[1]:.4f}", flush=True)
            else:
                for what, difference in compare(a[0], b[0]).items():
                    print(f"seed {seed}: largest difference of {what}: {difference:.2e}")
                print(f"seed {seed}: validation F1 {a[1]:.6f} Trainer, {b[1]:.6f} worker")
            print(f"seed {seed}: steps per second {a[2]:.2f} Trainer, {b[2]:.2f} worker: {b[2] / a[2]:.2f} times", flush=True)


main()
