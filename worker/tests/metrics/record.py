"""Records what scikit-learn measures on made-up guesses, into cases.json beside this file.

usage: python record.py      (scikit-learn 1.7.2)

Averages are taken as scikit-learn takes them by default: over the classes that occur in truth or prediction. Scores by
class are asked for every class, those that occur nowhere included.
"""

import json
import pathlib
import random

from sklearn.metrics import (accuracy_score, confusion_matrix, matthews_corrcoef, precision_recall_fscore_support)

draw = random.Random(20)


def guessed(classes, rows, right, weights=None):
    truth = draw.choices(range(classes), weights=weights, k=rows)
    return truth, [label if draw.random() < right else draw.randrange(classes) for label in truth]


def case(name, classes, truth, guesses):
    every = list(range(classes))
    averages = {}
    for average in ("weighted", "macro"):
        precision, recall, f1, _ = precision_recall_fscore_support(truth, guesses, average=average, zero_division=0)
        averages[average] = [float(precision), float(recall), float(f1)]
    by_class = precision_recall_fscore_support(truth, guesses, labels=every, average=None, zero_division=0)
    return {
        "name": name, "classes": classes, "truth": truth, "guesses": guesses,
        "accuracy": float(accuracy_score(truth, guesses)),
        "matthews_correlation": float(matthews_corrcoef(truth, guesses)),
        "confusion": confusion_matrix(truth, guesses, labels=every).tolist(),
        "per_class": [[float(p), float(r), float(f), int(s)] for p, r, f, s in zip(*by_class)],
        **averages,
    }


CASES = [
    case("random guesses", 3, *guessed(3, 60, 0.0)),
    case("mostly right", 4, *guessed(4, 80, 0.7)),
    case("unequal classes", 5, *guessed(5, 120, 0.6, [50, 20, 10, 3, 1])),
    case("many classes", 28, *guessed(28, 300, 0.5)),
    case("binary", 2, *guessed(2, 50, 0.6)),
    case("binary, one class hardly ever", 2, *guessed(2, 90, 0.8, [30, 1])),
    case("perfect", 3, [0, 1, 2, 2, 1, 0], [0, 1, 2, 2, 1, 0]),
    case("all wrong", 3, [0, 1, 2, 2, 1, 0], [1, 2, 0, 1, 0, 2]),
    case("binary, all wrong", 2, [0, 1, 1, 0], [1, 0, 0, 1]),
    case("one class in truth and prediction", 3, [1, 1, 1], [1, 1, 1]),
    case("one class in truth", 3, [1, 1, 1, 1], [1, 0, 2, 1]),
    case("one class in prediction", 3, [0, 1, 2, 2, 1, 0, 0], [0] * 7),
    case("a class never predicted", 3, [0, 0, 1, 1, 2, 2], [0, 0, 1, 0, 1, 1]),
    case("a class only predicted", 3, [0, 0, 1, 1, 0, 1], [0, 2, 1, 2, 0, 1]),
    case("a class that occurs nowhere", 4, [0, 1, 3, 3, 0], [0, 3, 3, 1, 0]),
    case("a single row that is right", 2, [1], [1]),
    case("a single row that is wrong", 3, [0], [2]),
]

with open(pathlib.Path(__file__).parent / "cases.json", "w") as file:
    file.write("[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in CASES) + "\n]\n")
