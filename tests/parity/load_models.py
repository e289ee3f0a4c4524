"""Loads a registered model through MLflow's own client in three ways and compares the predictions with recorded ones.

usage: load_models.py TRACKING_URI NAME RUN_ID PREDICTIONS.jsonl

PREDICTIONS are what `distilsweep-worker predict --format json` printed, a text a line.
"""

import json
import os
import sys

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
import mlflow

uri, name, run_id, recorded = sys.argv[1:]
mlflow.set_tracking_uri(uri)
with open(recorded) as lines:
    expected = [json.loads(line) for line in lines]
texts = [one["text"] for one in expected]


def compare(what, labels, scores):
    assert len(labels) == len(expected) > 0, (what, labels)
    for one, label, score in zip(expected, labels, scores):
        assert label == one["label"], (what, one, label)
        assert abs(score - one["probability"]) < 1e-5, (what, one, score)
    print(what, "agrees on", len(texts), "texts")


for address in (f"models:/{name}@champion", f"runs:/{run_id}/model"):
    found = mlflow.transformers.load_model(address)(texts)
    compare(address, [one["label"] for one in found], [one["score"] for one in found])
frame = mlflow.pyfunc.load_model(f"models:/{name}@champion").predict(texts)
compare("pyfunc", list(frame["label"]), list(frame["score"]))
version = mlflow.MlflowClient().get_model_version_by_alias(name, "champion")
assert version.run_id == run_id, (version.run_id, run_id)
