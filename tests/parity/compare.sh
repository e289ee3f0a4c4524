#!/usr/bin/env bash
# Trains with transformers' Trainer and with the worker over a table of settings, and compares them step by step.
#
# usage: tests/parity/compare.sh [--only NAME[,NAME…]] [--threads N]
#        tests/parity/compare.sh --keep-dropout [--steps N] [--seeds N] [--threads N]
#
# Builds the release worker and installs the reference (torch 2.11.0, transformers 4.57.6, accelerate 1.12.0; some
# gigabytes) into the cache where they are missing. See compare.py --help.
set -euo pipefail

case "${1:-}" in -h | --help) awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "$0"; exit 0 ;; esac

# shellcheck source=tests/parity/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
exec "$python" tests/parity/compare.py "$worker" "$assets" "$@"
