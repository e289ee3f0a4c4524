#!/usr/bin/env python3
"""Records what transformers' Trainer does, in double precision, on a tiny model and our own sentences.

usage: record.py OUT

Writes OUT/start (a DistilBERT of some 30,000 weights with its tokenizer), OUT/train.csv, OUT/validation.csv and, for
each case, OUT/CASE/{params.json,steps.jsonl,order.json,evals.jsonl}. The same versions write the same numbers up to
rounding. record.sh pins the versions.
"""
import csv, json, os, random, shutil, sys

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from torch.utils.data import Dataset
from transformers import (DataCollatorWithPadding, DistilBertConfig, DistilBertForSequenceClassification,
                          DistilBertTokenizerFast, Trainer, TrainerCallback, TrainingArguments, set_seed)

CLASSES = ["praise", "blame", "fact"]
CASES = {
    # An epoch is 13 steps, the last of 5 examples.
    "linear": {"max_steps": 200, "learning_rate": 2e-3, "per_device_train_batch_size": 6, "weight_decay": 0.1,
               "warmup_ratio": 0.1, "seed": 42},
    # An epoch is 5 steps, the last of one micro-batch of 5.
    "accumulated": {"num_train_epochs": 6.5, "learning_rate": 1e-3, "per_device_train_batch_size": 6,
                    "gradient_accumulation_steps": 3, "lr_scheduler_type": "cosine", "warmup_steps": 4, "max_grad_norm": 0.5,
                    "seed": 7, "data_seed": 11},
    # Trainer sums smoothed losses in single precision, whatever the model's.
    "smoothed": {"max_steps": 30, "learning_rate": 1e-3, "per_device_train_batch_size": 8,
                 "lr_scheduler_type": "polynomial", "label_smoothing_factor": 0.1, "adam_beta1": 0.85, "adam_beta2": 0.98,
                 "adam_epsilon": 1e-6, "seed": 3},
}
WORDS = {
    "subject": "the baker|our train|this lamp|her garden|the old bridge|a small boat|my neighbour|the library".split("|"),
    "praise": "sings beautifully|helped us gladly|shines all night|made everyone happy|is a joy to visit".split("|"),
    "blame": "broke again|was rude to us|leaks every week|ruined the evening|is never on time".split("|"),
    "fact": "stands near the river|opened in spring|has two doors|was painted green|weighs nine pounds".split("|"),
    "place": ["", "in the village", "behind the tall grey station", "today", "since monday morning", "for ten years now"],
}


def sentences(seed, count):
    draw = random.Random(seed)
    for _ in range(count):
        label = draw.choices(range(3), weights=[5, 3, 2])[0]
        # One sentence in six says the opposite of its label, so that the loss does not vanish.
        shown = CLASSES[label] if draw.random() > 1 / 6 else draw.choice(CLASSES)
        parts = (draw.choice(WORDS["subject"]), draw.choice(WORDS[shown]), draw.choice(WORDS["place"]))
        yield " ".join(part for part in parts if part) + draw.choice([".", "!", ""]), label


class Rows(Dataset):
    def __init__(self, rows, tokenizer, numbered):
        self.numbered = numbered
        self.ids = tokenizer([text for text, _ in rows])["input_ids"]
        self.labels = [label for _, label in rows]

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, i):
        return {"input_ids": self.ids[i], "attention_mask": [1] * len(self.ids[i]), "labels": self.labels[i],
                "index": i if self.numbered else None}


class Recorded(Trainer):
    """Keeps losses unrounded; the order as the collator saw it."""
    losses = []

    def compute_loss(self, model, inputs, return_outputs=False, **kw):
        out = super().compute_loss(model, inputs, return_outputs=return_outputs, **kw)
        if model.training:
            Recorded.losses.append(float((out[0] if return_outputs else out).detach()))
        return out


def scores(prediction):
    guess, truth = prediction.predictions.argmax(-1), prediction.label_ids
    counts = [(int(((guess == c) & (truth == c)).sum()), int((guess == c).sum()), int((truth == c).sum())) for c in range(3)]
    f1 = [2 * hits / (said + true) if said + true else 0.0 for hits, said, true in counts]
    occurring = [score for score, (_, said, true) in zip(f1, counts) if said + true]
    return {"accuracy": float((guess == truth).mean()), "f1_macro": sum(occurring) / len(occurring),
            "f1_score": sum(score * true for score, (_, _, true) in zip(f1, counts)) / len(truth)}


def record(case, params, out, tokenizer, train, validation):
    directory = os.path.join(out, case)
    os.makedirs(directory)
    model = DistilBertForSequenceClassification.from_pretrained(os.path.join(out, "start")).double()
    order, steps, evals = [], [], []
    pad = DataCollatorWithPadding(tokenizer)

    def collate(features):
        index = [feature.pop("index") for feature in features]
        if None not in index:
            order.append(index)
        return pad(features)

    class Log(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kw):
            if "eval_loss" in logs:
                keys = ("eval_loss", "eval_accuracy", "eval_f1_score", "eval_f1_macro")
                evals.append({"step": state.global_step, "epoch": state.epoch,
                              **{key.removeprefix("eval_"): float(logs[key]) for key in keys}})
            elif "grad_norm" in logs:
                steps.append({"step": state.global_step, "loss": sum(Recorded.losses) / len(Recorded.losses),
                              "grad_norm": float(logs["grad_norm"]), "learning_rate": float(logs["learning_rate"])})
                Recorded.losses.clear()

    arguments = TrainingArguments(output_dir=os.path.join(out, "hf"), report_to="none", save_strategy="no",
                                  eval_strategy="epoch", logging_steps=1, disable_tqdm=True, use_cpu=True,
                                  remove_unused_columns=False, per_device_eval_batch_size=16, **params)
    trainer = Recorded(model=model, args=arguments, train_dataset=train, eval_dataset=validation, data_collator=collate,
                       compute_metrics=scores, callbacks=[Log()])
    trainer.train()
    # The loader fetches one batch more than training uses.
    per_epoch = -(-len(train) // arguments.per_device_train_batch_size)
    order = order[:round(trainer.state.epoch * per_epoch)]
    json.dump(params, open(os.path.join(directory, "params.json"), "w"))
    for name, rows in (("steps", steps), ("evals", evals)):
        with open(os.path.join(directory, f"{name}.jsonl"), "w") as f:
            f.writelines(json.dumps(row) + "\n" for row in rows)
    json.dump(order, open(os.path.join(directory, "order.json"), "w"), separators=(",", ":"))


def main():
    out = sys.argv[1]
    os.makedirs(out)
    torch.set_num_threads(1)
    rows = {"train": list(sentences(1, 77)), "validation": list(sentences(2, 31))}
    for split, pairs in rows.items():
        with open(os.path.join(out, f"{split}.csv"), "w", newline="") as f:
            writer = csv.writer(f, lineterminator="\n")
            writer.writerow(["text", "label"])
            writer.writerows((text, CLASSES[label]) for text, label in pairs)
    words = sorted({word for group in WORDS.values() for phrase in group for word in phrase.split()})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "!", *words]
    vocabulary = os.path.join(out, "vocab.txt")
    with open(vocabulary, "w") as f:
        f.writelines(piece + "\n" for piece in pieces)
    tokenizer = DistilBertTokenizerFast(vocabulary, model_max_length=40)
    os.remove(vocabulary)
    config = DistilBertConfig(vocab_size=len(pieces), max_position_embeddings=40, dim=32, hidden_dim=64, n_layers=2,
                              n_heads=4, initializer_range=0.1, dropout=0.0, attention_dropout=0.0,
                              seq_classif_dropout=0.0, id2label=dict(enumerate(CLASSES)),
                              label2id={name: i for i, name in enumerate(CLASSES)})
    set_seed(5)
    start = os.path.join(out, "start")
    DistilBertForSequenceClassification(config).save_pretrained(start)
    tokenizer.save_pretrained(start)
    train, validation = Rows(rows["train"], tokenizer, True), Rows(rows["validation"], tokenizer, False)
    for case, params in CASES.items():
        record(case, params, out, tokenizer, train, validation)
    shutil.rmtree(os.path.join(out, "hf"), ignore_errors=True)
    os.chmod(os.path.join(start, "model.safetensors"), 0o644)


main()
