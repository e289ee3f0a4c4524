#!/usr/bin/env bash
# Fetches libtorch 2.11.0 from its PyPI wheel and tells cargo where it is.
#
# usage: deploy/libtorch.sh [cpu|cuda]
#
# The library lies in the cache (DISTILSWEEP_CACHE, default ~/.cache/distilsweep), one directory a variant, so that
# every clone on the machine shares it. `.cargo/config.toml` of this clone then names it: torch-sys takes minutes to
# build and is built anew whenever the name changes. Without an argument the variant of last time stays, cpu at first.
# Prints the directory.
set -euo pipefail
# shellcheck source=deploy/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

version=2.11.0
configured=$(sed -n "s|^LIBTORCH = .*/$version-\(cpu\|cuda\)/torch\"|\1|p" "$root/.cargo/config.toml" 2>/dev/null || true)
variant=${1:-${configured:-cpu}}
case $variant in
  -h | --help) usage "$0"; exit 0 ;;
  cpu | cuda) ;;
  *) echo "error: unknown variant '$variant': it must be cpu or cuda" >&2; exit 2 ;;
esac

directory=$cache/libtorch/$version-$variant

fetch_cpu() { # into the directory $1
  local machine platforms=() tag
  machine=$(uname -m)
  for tag in manylinux_2_28 manylinux_2_25 manylinux_2_17 manylinux2014; do platforms+=(--platform "${tag}_$machine"); done
  # The library is the same in the wheels for all versions of Python, so no particular one needs to be here.
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$1/wheels" \
    --python-version 3.11 --implementation cp --abi cp311 --abi none "${platforms[@]}" \
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
        names = z.namelist()
        for prefix in prefixes:
            if not any(n.startswith(prefix) for n in names):
                sys.exit(f"error: {os.path.basename(wheel)} has no {prefix}")
        z.extractall(root, [n for n in names if n.startswith(prefixes)])
PY
}

fetch_cuda() { # into the directory $1
  python3 -m pip install --quiet --disable-pip-version-check --only-binary :all: --target "$1" "torch==$version"
}

fetch() {
  command -v python3 >/dev/null || fail "python3 is missing: apt-get install python3 python3-pip"
  python3 -m pip --version >/dev/null 2>&1 || fail "pip is missing: apt-get install python3-pip"
  command -v cc >/dev/null || fail "a C compiler is missing: apt-get install build-essential"
  case $variant in cpu) check_disk 1500 "$cache" ;; cuda) check_disk 12000 "$cache" ;; esac
  echo "fetching libtorch $version ($variant) into $directory" >&2
  # Under the lock nobody works in these: an earlier run broke off.
  rm -rf "$directory" "$directory".partial.*
  local partial=$directory.partial.$$
  mkdir "$partial"
  "fetch_$variant" "$partial"
  rm -rf "$partial/wheels"
  # The linker is given -ltorch; everything that we use is in the parts.
  [ -e "$partial/torch/lib/libtorch.so" ] || cc -shared -x c /dev/null -o "$partial/torch/lib/libtorch.so"
  touch "$partial/complete"
  mv "$partial" "$directory"
}

mkdir -p "$cache/libtorch"
exec 9>"$cache/libtorch/.lock"
flock 9
[ -f "$directory/complete" ] || fetch

config="[env]
LIBTORCH = \"$directory/torch\""
if [ "$(cat "$root/.cargo/config.toml" 2>/dev/null)" != "$config" ]; then
  mkdir -p "$root/.cargo"
  printf '%s\n' "$config" >"$root/.cargo/config.toml"
fi
echo "$directory/torch"
