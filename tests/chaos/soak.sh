#!/usr/bin/env bash
# Sweeps under seeded faults, as many as wanted: SIGKILL, SIGSTOP and SIGTERM of workers and coordinator, connections that
# break, hang and slow down, full disks, MLflow that is away. One line a seed; exit code 1 where one failed.
#
# usage: tests/chaos/soak.sh [--seeds N] [--from SEED] [--jobs N] [--logs DIR] | --seed SEED | --plan …
#
#   --seeds N    how many (default 20), from --from SEED (default 0)
#   --jobs N     seeds at a time (default 3)
#   --seed SEED  one alone, with the output of all processes
#   --plan       print the schedules and run none
#   --logs DIR   where the output of seeds that fail goes (default soak-failures)
#
# It needs what tests/run.sh needs. Every fourth seed has a real MLflow.
set -euo pipefail
# shellcheck source=deploy/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../deploy/common.sh"
case ${1:-} in
  -h | --help) usage "$0"; exit 0 ;;
esac

here=$PWD
cd "$root"
check_needs
deploy/libtorch.sh >/dev/null
DISTILSWEEP_TEST_MLFLOW=$(light_mlflow)
export DISTILSWEEP_TEST_MLFLOW
cargo build --locked --workspace --bins
soak=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/debug/soak
cd "$here"
exec "$soak" "$@"
