"""Holds Kubernetes objects against schemas: the built-in kinds strictly by kubernetes-validate, the others by schemas/KIND.json.

Reads a JSON array of objects on standard input, prints a JSON array of [index, problem].
"""

import json
import pathlib
import sys

import jsonschema
import kubernetes_validate

# The oldest release that deploy/README.md promises, as far as its tools go, and a recent one.
VERSIONS = ("1.32", "1.37")
SCHEMAS = {
    path.stem: json.loads(path.read_text()) for path in (pathlib.Path(__file__).parent / "schemas").glob("*.json")
}


def said(error):
    return f"/{'/'.join(str(part) for part in error.path)}: {error.message}"


def native(thing):
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(thing, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{said(error)} (Kubernetes {version})"
        except kubernetes_validate.SchemaNotFoundError:
            yield f"Kubernetes {version} knows no {thing.get('apiVersion')} {thing.get('kind')}"


def problems(thing):
    schema = SCHEMAS.get(thing.get("kind"))
    if schema is None:
        yield from native(thing)
        return
    yield from map(said, jsonschema.Draft202012Validator(schema).iter_errors(thing))
    if job := thing.get("spec", {}).get("jobTargetRef"):
        yield from native({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": job})


found = [[index, text] for index, thing in enumerate(json.load(sys.stdin)) for text in problems(thing)]
json.dump(found, sys.stdout)
