#!/usr/bin/env python3
"""Reads a directory that `distilsweep export` wrote as its card says to, and as the Hub reads the card.

usage: read_exported.py MODEL PREDICTIONS

PREDICTIONS are what `distilsweep-worker predict --json` printed of the same directory, a text a line. Needs torch and
transformers; record.sh names the versions.
"""
import json, os, re, sys

os.environ["HF_HUB_OFFLINE"] = "1"
from huggingface_hub import ModelCard
from transformers import pipeline

directory, predictions = sys.argv[1:3]
card = ModelCard.load(os.path.join(directory, "README.md"))
assert card.data.pipeline_tag == "text-classification" and card.data.library_name == "transformers", card.data
results = {(r.dataset_split, r.metric_type, r.metric_name): r.metric_value for r in card.data.eval_results}
assert ("test", "accuracy", "accuracy") in results and ("validation", "f1", "F1, weighted") in results, results

code = re.search(r"```python\n(.*?)```", card.text, re.S).group(1).replace('"DIR"', repr(directory))
scope = {}
exec(code, scope)
for line in open(predictions, encoding="utf-8"):
    expected = json.loads(line)
    (got,) = scope["classify"](expected["text"])
    assert got["label"] == expected["label"], (got, expected)
    assert abs(got["score"] - expected["probability"]) < 1e-5, (got, expected)
    print(f"{got} for {expected['text']!r}")
