#!/usr/bin/env bash
# Fetches libtorch 2.11.0 from its PyPI wheel and tells cargo where it is.
#
# usage: deploy/libtorch.sh [cpu|cuda]
#
# The library lies in the cache (DISTILSWEEP_CACHE, default ~/.cache/distilsweep), one directory a variant, so that
# every clone on the machine shares it. `.cargo/config.toml` of this clone then names it: torch-sys takes minutes to
# build and is built anew whenever the name changes.
set -euo pipefail

case "${1:-cpu}" in
  -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
  cpu | cuda) variant=${1:-cpu} ;;
  *) echo "error: unknown variant '$1': it must be cpu or cuda" >&2; exit 2 ;;
esac

version=2.11.0
root=$(cd "$(dirname "$0")/.." && pwd)
cache=${DISTILSWEEP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/distilsweep}
directory=$cache/libtorch/$version-$variant

fetch_cpu() { # into the directory $1
  python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$1/wheels" \
    "torch==$version" nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85
  # Only what a CPU program loads: libtorch_cpu.so itself wants the two small CUDA libraries, by its own RPATH.
  python3 - "$1" <<'PY'
import glob, os, sys, zipfile
root = sys.argv[1]
wanted = {
    "torch-": ("torch/lib/libtorch_cpu.so", "torch/lib/libc10.so", "torch/lib/libgomp", "torch/include/"),
    "nvidia_cuda_runtime-": ("nvidia/cu13/lib/libcudart.so.13",),
    "nvidia_cuda_cupti-": ("nvidia/cu13/lib/libcupti.so.13",),
}
for wheel in glob.glob(os.path.join(root, "wheels", "*.whl")):
    prefixes = next(p for name, p in wanted.items() if os.path.basename(wheel).startswith(name))
    with zipfile.ZipFile(wheel) as z:
        members = [n for n in z.namelist() if n.startswith(prefixes)]
        if not members:
            sys.exit(f"error: {os.path.basename(wheel)} holds none of {', '.join(prefixes)}")
        z.extractall(root, members)
PY
}

fetch_cuda() {
  python3 -m pip install --quiet --only-binary :all: --target "$1" "torch==$version"
}

if [ ! -f "$directory/complete" ]; then
  command -v python3 >/dev/null || { echo "error: python3 is missing: apt-get install python3 python3-pip" >&2; exit 1; }
  python3 -m pip --version >/dev/null 2>&1 || { echo "error: pip is missing: apt-get install python3-pip" >&2; exit 1; }
  command -v cc >/dev/null || { echo "error: a C compiler is missing: apt-get install build-essential" >&2; exit 1; }
  echo "fetching libtorch $version ($variant) into $directory" >&2
  mkdir -p "$cache/libtorch"
  partial=$(mktemp -d "$directory.partial.XXXXXX")
  trap 'rm -rf "$partial"' EXIT
  "fetch_$variant" "$partial"
  rm -rf "$partial/wheels"
  # The linker is given -ltorch; everything that we use is in the parts.
  [ -e "$partial/torch/lib/libtorch.so" ] || cc -shared -x c /dev/null -o "$partial/torch/lib/libtorch.so"
  touch "$partial/complete"
  rm -rf "$directory"
  mv "$partial" "$directory"
  trap - EXIT
fi

config="[env]
LIBTORCH = \"$directory/torch\""
if [ "$(cat "$root/.cargo/config.toml" 2>/dev/null)" != "$config" ]; then
  mkdir -p "$root/.cargo"
  printf '%s\n' "$config" >"$root/.cargo/config.toml"
fi
echo "$directory/torch"
