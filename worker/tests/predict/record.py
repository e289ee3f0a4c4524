"""Records what transformers' pipeline says of texts, and how its model does on a labelled file, into recorded.json
beside this file. The model is the tiny one of tests/parity/fixture/start.

usage: python record.py      (transformers 4.57.6, torch 2.11.0)
"""

import csv
import json
import os
import pathlib

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

HERE = pathlib.Path(__file__).parent
FIXTURE = HERE / "../../../tests/parity/fixture"
TEXTS = [
    "the baker sings beautifully",
    "our train broke again today.",
    "HER GARDEN, stands near the river!",
    "",
    " ",
    "   the   lamp\tleaks  ",
    "Café naïve Straße 電影很好",
    "so happy 😀😀 🤷‍♀️",
    "e\u0301clair and \u200bzero width",
    "مرحبا بالعالم",
    '"quoted", with commas; and a \\ backslash',
    "[CLS] the old bridge [SEP] is never on time [MASK]",
    "the library opened in spring and " * 40,
    "x" * 3000,
]

torch.set_num_threads(1)
classify = pipeline("text-classification", model=str(FIXTURE / "start"), device="cpu")
# One text at a time: then no padding takes part.
predictions = [classify(text, top_k=None, truncation=True) for text in TEXTS]

tokenizer = AutoTokenizer.from_pretrained(FIXTURE / "start")
model = AutoModelForSequenceClassification.from_pretrained(FIXTURE / "start").eval()
with open(FIXTURE / "validation.csv", newline="") as file:
    rows = list(csv.DictReader(file))
with torch.no_grad():
    logits = torch.cat([model(**tokenizer(row["text"], truncation=True, return_tensors="pt")).logits for row in rows])
truth = torch.tensor([model.config.label2id[row["label"]] for row in rows])
guesses = logits.argmax(-1)
confusion = [[int(((truth == t) & (guesses == g)).sum()) for g in range(3)] for t in range(3)]

with open(HERE / "recorded.json", "w") as file:
    json.dump(
        {
            "predictions": [{"text": text, "scores": scores} for text, scores in zip(TEXTS, predictions)],
            "validation": {
                "loss": float(torch.nn.functional.cross_entropy(logits, truth)),
                "accuracy": float((guesses == truth).float().mean()),
                "confusion": confusion,
            },
        },
        file,
        indent=1,
    )
    file.write("\n")
