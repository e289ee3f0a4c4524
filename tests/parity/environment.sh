# What the comparisons with transformers need; sourced, never run. Builds the release worker, makes the sample and
# installs the reference (torch 2.11.0, transformers 4.57.6, accelerate 1.12.0; some gigabytes) into the cache where
# they are missing. Sets `worker`, `assets` and `python`, and goes to the repository's root.
# shellcheck shell=bash
# shellcheck source=deploy/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../deploy/common.sh"

cd "$root" || exit 1
check_needs
deploy/libtorch.sh >/dev/null
cargo build --release --locked --quiet -p distilsweep-worker
# shellcheck disable=SC2034
worker=${CARGO_TARGET_DIR:-target}/release/distilsweep-worker assets=$(python3 deploy/assets.py --link .distilsweep/sample)
reference=$(python_environment reference torch==2.11.0 transformers==4.57.6 accelerate==1.12.0)
# shellcheck disable=SC2034
python=$reference/bin/python
