#!/usr/bin/env bash
# Trains the sample model with transformers' Trainer and with the worker and compares them step by step, and in speed.
#
# usage: tests/parity/compare.sh [--steps N] [--threads N] [--batch N] [--keep-dropout] [--seeds N]
#
# Builds the release worker and installs the reference (torch 2.11.0, transformers 4.57.6, accelerate 1.12.0; some
# gigabytes) into the cache where they are missing. See compare.py --help.
set -euo pipefail
# shellcheck source=deploy/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../deploy/common.sh"

case "${1:-}" in -h | --help) usage "$0"; exit 0 ;; esac

cd "$root"
check_needs
deploy/libtorch.sh >/dev/null
cargo build --release --locked --quiet -p distilsweep-worker
assets=$(python3 deploy/assets.py --link .distilsweep/sample)
reference=$(python_environment reference torch==2.11.0 transformers==4.57.6 accelerate==1.12.0)
exec "$reference/bin/python" tests/parity/compare.py "${CARGO_TARGET_DIR:-target}/release/distilsweep-worker" "$assets" "$@"
