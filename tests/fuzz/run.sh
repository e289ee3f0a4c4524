#!/usr/bin/env bash
# Runs each fuzz target for a while, from the examples and from what earlier runs found; fails at the first crash, whose
# input then lies below artifacts/.
#
# usage: tests/fuzz/run.sh [--seconds N] [TARGET ...]
#
#   --seconds N   time of each target, 600 where nothing is said
#   TARGET        sweep_file or worker_messages; both where none is named
#
# It needs cargo-fuzz (cargo install cargo-fuzz) and a nightly toolchain (rustup toolchain install nightly).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=deploy/common.sh
. ../../deploy/common.sh

seconds=600 targets=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage "$0"; exit 0 ;;
    --seconds) seconds=${2:?--seconds needs a number}; shift ;;
    *) targets+=("$1") ;;
  esac
  shift
done
[ ${#targets[@]} -gt 0 ] || targets=(sweep_file worker_messages)
cargo fuzz --version >/dev/null 2>&1 || fail "cargo-fuzz is missing: cargo install cargo-fuzz"
rustup run nightly cargo --version >/dev/null 2>&1 || fail "a nightly toolchain is missing: rustup toolchain install nightly"

mkdir -p corpus/sweep_file corpus/worker_messages
cp "$root"/deploy/examples/*.yaml sweeps/*.yaml corpus/sweep_file/
cp seeds/* corpus/worker_messages/
for target in "${targets[@]}"; do
  echo "$target: $seconds s"
  cargo +nightly fuzz run --fuzz-dir . --sanitizer none "$target" -- \
    -max_total_time="$seconds" -max_len=8192 -rss_limit_mb=2048 -timeout=20 -print_final_stats=1 -verbosity=1
done
