"""Shares the Hub's cache with huggingface_hub, in both directions.

usage: hub_cache.py found|fetch ID      (HF_ENDPOINT and HF_HUB_CACHE name the Hub and the cache)

    found   everything is there and nobody is asked; prints the snapshot's directory
    fetch   downloads the model's files as transformers does; prints the snapshot's directory
"""

import sys

from huggingface_hub import snapshot_download

WANTED = ["config.json", "model.safetensors", "tokenizer.json", "vocab.txt"]


def main():
    command, repository = sys.argv[1:]
    print(snapshot_download(repository, allow_patterns=WANTED, local_files_only=command == "found"))


main()
