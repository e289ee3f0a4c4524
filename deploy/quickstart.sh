#!/usr/bin/env bash
# Sets everything up and runs the sample sweep: fine-tunes a small pretrained encoder on human-rated sentences with
# several hyperparameters, records every run in MLflow and ranks them.
#
# usage: deploy/quickstart.sh [--cuda] [--keep-mlflow] [ARGUMENTS OF distilsweep run]
#
#   --cuda          train on the GPU (fetches the full libtorch, some gigabytes)
#   --keep-mlflow   leave MLflow running, to look at the runs; the next quickstart uses it again
#   --new           (of `distilsweep run`) a new sweep, where a finished one would only be shown again
#
# It needs Rust, a C++ compiler, Python 3.10 with pip and venv, and package registries. Libraries and the sample lie in
# the cache (DISTILSWEEP_CACHE, default ~/.cache/distilsweep), state in .distilsweep of this clone, so that
# `distilsweep results` there shows the ranking again. A second run fetches and builds nothing.
set -euo pipefail
# shellcheck source=deploy/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

variant=() keep='' arguments=()
for argument in "$@"; do
  case $argument in
    -h | --help) usage "$0"; exit 0 ;;
    --cuda) variant=(cuda) ;;
    --keep-mlflow) keep=yes ;;
    *) arguments+=("$argument") ;;
  esac
done

cd "$root"
state=$root/.distilsweep
target=${CARGO_TARGET_DIR:-$root/target}
check_needs
[ -f "$target/release/distilsweep" ] || check_disk 3000 "$target"
[ -f "$cache/python/mlflow-$mlflow_version/complete" ] || check_disk 3000 "$cache"

deploy/libtorch.sh ${variant[@]+"${variant[@]}"} >/dev/null
echo "building the release binaries (minutes the first time)" >&2
CARGO_TARGET_DIR=$target cargo build --release --locked --bins -p distilsweep -p distilsweep-worker
python3 deploy/assets.py --link "$state/sample" >/dev/null
environment=$(python_environment "mlflow-$mlflow_version" "mlflow==$mlflow_version")

# The MLflow of an earlier --keep-mlflow, if it still runs: its process id and port.
mkdir -p "$state/mlflow"
server=$state/mlflow/server
mlflow_pid='' mlflow_port='' ours=''
if [ -f "$server" ]; then
  read -r mlflow_pid mlflow_port <"$server" || true
  if ! kill -0 "$mlflow_pid" 2>/dev/null || ! mlflow_answers "http://127.0.0.1:$mlflow_port"; then mlflow_pid=''; fi
fi

# shellcheck disable=SC2317 # the trap calls it
stop_mlflow() {
  [ -n "$ours" ] || return 0
  # The group: MLflow's own children with it.
  kill -TERM -- "-$mlflow_pid" 2>/dev/null || true
  wait "$mlflow_pid" 2>/dev/null || true
  rm -f "$server"
}

if [ -z "$mlflow_pid" ]; then
  # The port of last time, so that links of earlier runs go on to work.
  mlflow_port=$(free_port "${mlflow_port:-5511}")
  log=$state/mlflow/server.log
  # In a session of its own: Ctrl-C is for the sweep, which still has something to tell MLflow.
  (
    cd "$state/mlflow"
    export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true
    exec setsid "$environment/bin/mlflow" server --host 127.0.0.1 --port "$mlflow_port" --workers 1 \
      --backend-store-uri "sqlite:///$state/mlflow/mlflow.db" --artifacts-destination "$state/mlflow/artifacts"
  ) >"$log" 2>&1 </dev/null &
  mlflow_pid=$!
  ours=yes
  trap stop_mlflow EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  echo "$mlflow_pid $mlflow_port" >"$server"
  echo "starting MLflow" >&2
  for ((left = 120; ; left--)); do
    if mlflow_answers "http://127.0.0.1:$mlflow_port"; then break; fi
    if ! kill -0 "$mlflow_pid" 2>/dev/null; then
      tail -n 20 "$log" >&2
      fail "MLflow ended at once; its log is $log"
    fi
    [ "$left" -gt 0 ] || fail "MLflow does not answer on port $mlflow_port; its log is $log"
    sleep 1
  done
fi

# In the background, so that a TERM to this script reaches the sweep; the terminal's Ctrl-C reaches it anyway.
"$target/release/distilsweep" run deploy/examples/sentiment.yaml --state "$state" \
  --mlflow "http://127.0.0.1:$mlflow_port" ${arguments[@]+"${arguments[@]}"} &
sweep=$!
trap 'kill -TERM "$sweep" 2>/dev/null || true' TERM
trap ':' INT
while :; do
  status=0
  wait "$sweep" || status=$?
  kill -0 "$sweep" 2>/dev/null || break
done
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -n "$keep" ]; then
  ours=
  echo "MLflow: http://127.0.0.1:$mlflow_port (still running; stop it with: kill -- -$mlflow_pid)"
elif [ -n "$ours" ]; then
  echo "MLflow: http://127.0.0.1:$mlflow_port (stopped; --keep-mlflow leaves it running, its data is $state/mlflow)"
else
  echo "MLflow: http://127.0.0.1:$mlflow_port (running since an earlier --keep-mlflow; stop it with: kill -- -$mlflow_pid)"
fi
exit "$status"
