#!/usr/bin/env bash
# Checks and measures training on this machine's GPU: the shim's kernels against the CPU's, steps against transformers'
# Trainer, packs of trials against each trial alone, and the samples a second of 1, 2, 4 and 8 trials in lockstep
# against Trainer in bfloat16 on the same card.
#
# usage: tests/gpu/run.sh [--device cuda|cuda:N|cpu] [--checks parity,lanes,speed] [--shape base] [--lanes 1,2,4,8]
#                         [--steps N] [--batch N]
#
# Without a GPU it says that it was skipped and why, and ends with 0; --device cpu goes through the same motions on the
# processor. Fetches libtorch with its CUDA half, builds the release worker for it and installs the reference (torch
# 2.11.0, transformers 4.57.6; some gigabytes) into the cache where they are missing. Ends with 1 where a check fails.
# See measure.py --help.
set -euo pipefail

case "${1:-}" in -h | --help) awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "$0"; exit 0 ;; esac

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
device=cuda
previous=''
for argument in "$@"; do
  [ "$previous" != --device ] || device=$argument
  case $argument in --device=*) device=${argument#--device=} ;; esac
  previous=$argument
done

skipped() {
  echo "skipped: $1; nothing was measured on a GPU"
  exit 0
}

if [ "$device" != cpu ]; then
  command -v nvidia-smi >/dev/null || skipped "there is no nvidia-smi on PATH, hence no NVIDIA driver"
  cards=$(nvidia-smi -L 2>&1) || skipped "nvidia-smi fails: ${cards%%$'\n'*}"
  case $cards in GPU*) echo "$cards" ;; *) skipped "nvidia-smi finds no GPU" ;; esac
  # The clone is then built for it; `deploy/libtorch.sh cpu` goes back.
  "$root/deploy/libtorch.sh" cuda >/dev/null
fi

# shellcheck source=tests/parity/environment.sh
. "$root/tests/parity/environment.sh"

if [ "$device" != cpu ]; then
  DISTILSWEEP_TEST_GPU=1 cargo test --locked --quiet -p distilsweep-native --test cuda -- --nocapture
fi
"$worker" devices
exec "$python" tests/gpu/measure.py "$worker" "$assets" "$@"
