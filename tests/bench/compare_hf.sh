#!/usr/bin/env bash
# Trains by turns with transformers' Trainer and with the worker, and prints the ratio of their speeds and both peaks of
# memory, for two shapes of model and two precisions.
#
# usage: tests/bench/compare_hf.sh [--shapes base,minilm] [--precisions fp32,bf16] [--steps N] [--rounds N]
#                                  [--threads N] [--batch N]
#
# Builds the release worker and installs the reference (torch 2.11.0, transformers 4.57.6, accelerate 1.12.0; some
# gigabytes) into the cache where they are missing. See compare_hf.py --help.
set -euo pipefail

case "${1:-}" in -h | --help) awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "$0"; exit 0 ;; esac

# shellcheck source=tests/parity/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/../parity/environment.sh"
exec "$python" tests/bench/compare_hf.py "$worker" "$assets" "$@"
