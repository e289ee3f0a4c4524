#!/usr/bin/env python3
"""Loads a model that the worker saved with transformers, and compares its scores with those that the worker reported.

usage: load_saved.py MODEL FILE.csv RESULT.json [eval|test]

RESULT.json is what `distilsweep-worker train` wrote, FILE.csv the split whose scores (default: eval) are compared. Needs
torch and transformers; record.sh names the versions.
"""
import csv, json, os, sys

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

directory, path, result = sys.argv[1:4]
prefix = sys.argv[4] if len(sys.argv) > 4 else "eval"
reported = json.load(open(result))["metrics"]
with open(path, newline="", encoding="utf-8") as f:
    rows = list(csv.DictReader(f))
model, info = AutoModelForSequenceClassification.from_pretrained(directory, output_loading_info=True)
assert not any(info.values()), f"weights do not fit: {info}"
model.eval()
tokenizer = AutoTokenizer.from_pretrained(directory)
names = [model.config.id2label[i] for i in range(model.config.num_labels)]
truth = torch.tensor([names.index(row["label"]) for row in rows])
logits = []
with torch.no_grad():
    for i in range(0, len(rows), 64):
        texts = [row["text"] for row in rows[i:i + 64]]
        logits.append(model(**tokenizer(texts, truncation=True, max_length=128, padding=True, return_tensors="pt")).logits)
logits = torch.cat(logits).double()
guess = logits.argmax(-1)
loss = float(torch.nn.functional.cross_entropy(logits, truth))
accuracy = float((guess == truth).double().mean())
print(f"loss {loss:.9f}, reported {reported[prefix + '_loss']:.9f}; accuracy {accuracy:.9f}, reported {reported[prefix + '_accuracy']:.9f}")
assert abs(loss - reported[prefix + "_loss"]) < 1e-5 and abs(accuracy - reported[prefix + "_accuracy"]) < 1e-9
first = pipeline("text-classification", model=directory, tokenizer=directory)(rows[0]["text"], truncation=True)[0]
assert first["label"] == names[int(guess[0])], first
print(f"pipeline: {first} for {rows[0]['text']!r}")
