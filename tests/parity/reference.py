"""What the comparisons with transformers' Trainer share: starting checkpoints, the data, and one training by each.

Both sides start from the same checkpoint, head included, read the same files and take the same hyperparameters, under
Hugging Face's names. Wants the environment that compare.sh sets up.
"""
import csv, json, os, subprocess, sys, time

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
import torch
from torch.utils.data import Dataset
from transformers import (AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding,
                          DistilBertConfig, DistilBertForSequenceClassification, PrinterCallback, Trainer,
                          TrainerCallback, TrainingArguments, set_seed)
from transformers.utils import logging
from transformers.trainer_pt_utils import LabelSmoother, LengthGroupedSampler

logging.set_verbosity_error()
CLASSES = ["negative", "neutral", "positive"]
MAX_LENGTH = 128
# Shapes without a checkpoint at hand; all take the sample model's tokenizer.
SHAPES = {"base": {"dim": 768, "hidden_dim": 3072, "n_heads": 12, "n_layers": 6},
          "small": {"dim": 64, "hidden_dim": 128, "n_heads": 4, "n_layers": 2, "max_position_embeddings": 128}}


class Rows(Dataset):
    def __init__(self, path, tokenizer):
        rows = read(path)
        self.ids = tokenizer([row["text"] for row in rows], truncation=True, max_length=MAX_LENGTH)["input_ids"]
        self.labels = [CLASSES.index(row["label"]) for row in rows]

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, i):
        return {"input_ids": self.ids[i], "attention_mask": [1] * len(self.ids[i]), "labels": self.labels[i]}


class WideSmoother(LabelSmoother):
    """Sums in double precision; LabelSmoother's single would be all that the double runs differ by."""

    def __call__(self, output, labels, shift_labels=False):
        logs = -torch.nn.functional.log_softmax(output["logits"], dim=-1)
        nll = logs.gather(-1, labels.unsqueeze(-1)).mean()
        return (1 - self.epsilon) * nll + self.epsilon * logs.mean()


class GroupedByEpoch(LengthGroupedSampler):
    """Shuffles with the generator that Trainer has without group_by_length: seed plus epoch, counted from 0. Trainer's
    own sampler takes torch's global one, which dropout and every loader advance, so that no two programs agree."""

    def __init__(self, seed, *args, **kw):
        super().__init__(*args, **kw)
        self.seed = seed

    def __iter__(self):
        self.generator = torch.Generator().manual_seed(self.seed)
        self.seed += 1
        return super().__iter__()


def read(path):
    with open(path, newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def sample(assets, out, train=None, validation=800):
    """The sample's files, the first rows of each split where a number is given."""
    files = {}
    for split, limit in (("train", train), ("validation", validation)):
        rows = read(os.path.join(assets, f"{split}.csv"))[:limit]
        files[split] = os.path.join(out, f"{split}.csv")
        with open(files[split], "w", newline="", encoding="utf-8") as f:
            writer = csv.DictWriter(f, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    return files


def start(worker, assets, shape, seed, out):
    """Makes the checkpoint that both start from: `minilm`, the sample model with a new head, or a random one."""
    if os.path.exists(os.path.join(out, "config.json")):
        return out
    names = {"id2label": dict(enumerate(CLASSES)), "label2id": {name: i for i, name in enumerate(CLASSES)}}
    source = os.path.join(assets, "model")
    set_seed(seed)
    if shape == "minilm":
        converted = out + ".converted"
        subprocess.run([worker, "convert", "--model", source, "--output", converted], check=True,
                       stderr=subprocess.DEVNULL)
        config = AutoConfig.from_pretrained(converted, num_labels=len(CLASSES), **names)
        model = AutoModelForSequenceClassification.from_pretrained(converted, config=config)
    else:
        # A wider start than transformers' own keeps gradients of a small random model from vanishing.
        spread = {"initializer_range": 0.1} if shape == "small" else {}
        model = DistilBertForSequenceClassification(DistilBertConfig(**SHAPES[shape], **spread, **names))
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(source).save_pretrained(out)
    return out


def scores(prediction):
    """Accuracy and F1, weighted and macro over the classes that occur, as scikit-learn has them."""
    guess, truth = prediction.predictions.argmax(-1), prediction.label_ids
    counts = [(int(((guess == c) & (truth == c)).sum()), int((guess == c).sum()), int((truth == c).sum()))
              for c in range(len(CLASSES))]
    f1 = [2 * hits / (said + true) if said + true else 0.0 for hits, said, true in counts]
    occurring = [score for score, (_, said, true) in zip(f1, counts) if said + true]
    return {"accuracy": float((guess == truth).mean()), "f1_macro": sum(occurring) / len(occurring),
            "f1_score": sum(score * true for score, (_, _, true) in zip(f1, counts)) / len(truth)}


def by_trainer(checkpoint, files, params, *, precision, threads, dropout, out):
    """Trains with Trainer. Returns steps, evaluations and the examples a second from the first step to the last."""
    torch.set_num_threads(threads)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    rates = {} if dropout else dict.fromkeys(("dropout", "attention_dropout", "seq_classif_dropout"), 0.0)
    config = AutoConfig.from_pretrained(checkpoint, **rates)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, config=config)
    steps, evals, losses, moments = [], [], [], []
    if precision == "fp64":
        model = model.double()

    class Log(TrainerCallback):
        def on_train_begin(self, args, state, control, **kw):
            moments.append(time.perf_counter())

        def on_step_end(self, args, state, control, **kw):
            moments.append(time.perf_counter())

        def on_log(self, args, state, control, logs=None, **kw):
            if "eval_loss" in logs:
                evals.append({"step": state.global_step, **{key.removeprefix("eval_"): float(logs[key]) for key in (
                    "eval_loss", "eval_accuracy", "eval_f1_score", "eval_f1_macro")}})
            elif "grad_norm" in logs:
                steps.append({"loss": sum(losses) / len(losses), "grad_norm": float(logs["grad_norm"]),
                              "learning_rate": float(logs["learning_rate"])})
                losses.clear()

    class Unrounded(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, **kw):
            computed = super().compute_loss(model, inputs, return_outputs=return_outputs, **kw)
            if model.training:
                losses.append(float((computed[0] if return_outputs else computed).detach()))
            return computed

        def _get_train_sampler(self, train_dataset=None):
            if not self.args.group_by_length:
                return super()._get_train_sampler(train_dataset)
            seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
            return GroupedByEpoch(seed, self.args.train_batch_size * self.args.gradient_accumulation_steps,
                                  dataset=self.train_dataset)

    arguments = TrainingArguments(
        output_dir=os.path.join(out, "trainer"), report_to="none", save_strategy="no", logging_steps=1,
        disable_tqdm=True, use_cpu=True,
        **{"per_device_eval_batch_size": 64, "eval_strategy": "epoch", "bf16": precision == "bf16", **params})
    trainer = Unrounded(model=model, args=arguments, train_dataset=Rows(files["train"], tokenizer),
                        eval_dataset=Rows(files["validation"], tokenizer), callbacks=[Log()],
                        data_collator=DataCollatorWithPadding(tokenizer), compute_metrics=scores)
    if precision == "fp64" and trainer.label_smoother is not None:
        trainer.label_smoother = WideSmoother(epsilon=trainer.label_smoother.epsilon)
    # Its lines of numbers would stand among ours.
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    batch = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps
    return {"steps": steps, "evals": evals,
            "samples_per_second": batch * len(steps) / (moments[-1] - moments[0]), "peak_mib": peak_mib()}


def by_worker(worker, checkpoint, files, params, *, precision, threads, dropout, out):
    """Trains with the worker. Returns the same as `by_trainer`."""
    result = os.path.join(out, "worker")
    command = [worker, "train", "--model", checkpoint, "--train", files["train"], "--validation", files["validation"],
               "--labels", ",".join(CLASSES), "--params", json.dumps(params), "--max-length", str(MAX_LENGTH),
               "--precision", precision, "--threads", str(threads), "--output", result,
               *([] if dropout else ["--dropout", "0"])]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"the worker ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
    lines = lambda name: [json.loads(line) for line in open(os.path.join(result, name))]
    with open(os.path.join(result, "result.json")) as f:
        report = json.load(f)
    return {"steps": lines("steps.jsonl"), "evals": lines("evals.jsonl"),
            "samples_per_second": report["samples_per_second"], "peak_mib": report["peak_rss_mib"]}


def peak_mib():
    """The most memory that this process had resident."""
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) / 1024 for line in f if line.startswith("VmHWM:"))


def differences(theirs, ours):
    """Largest differences over the steps and the evaluations."""
    for what in ("steps", "evals"):
        if len(theirs[what]) != len(ours[what]):
            sys.exit(f"Trainer made {len(theirs[what])} {what}, the worker {len(ours[what])}")
    pairs, relative = list(zip(theirs["steps"], ours["steps"])), lambda a, b: abs(a - b) / max(abs(a), 1e-30)
    evaluations = list(zip(theirs["evals"], ours["evals"]))
    return {"loss": max(abs(a["loss"] - b["loss"]) for a, b in pairs),
            "grad_norm": max(relative(a["grad_norm"], b["grad_norm"]) for a, b in pairs),
            "learning_rate": max(relative(a["learning_rate"], b["learning_rate"]) for a, b in pairs),
            "eval_loss": max((abs(a["loss"] - b["loss"]) for a, b in evaluations), default=0.0),
            "metrics": max((abs(a[key] - b[key]) for a, b in evaluations for key in ("accuracy", "f1_score", "f1_macro")),
                           default=0.0)}
