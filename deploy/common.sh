# What the set-up scripts share; sourced, never run. Sets `root` (this clone) and `cache` (shared by all clones).
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${DISTILSWEEP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/distilsweep}
mlflow_version=3.17.2

fail() {
  echo "error: $*" >&2
  exit 1
}

# Prints the comment at the head of the script $1, for --help.
usage() {
  awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "$1"
}

# Says what is missing before anything is fetched or built.
check_needs() {
  command -v cargo >/dev/null || fail "cargo is missing: install Rust 1.95 or newer with rustup"
  local rust
  rust=$(cd "$root" && cargo --version | awk '{ print $2 }')
  printf '1.95.0\n%s\n' "$rust" | sort -CV || fail "cargo is $rust, it must be 1.95 or newer: rustup update stable"
  command -v c++ >/dev/null || fail "a C++ compiler is missing: apt-get install build-essential"
  command -v python3 >/dev/null || fail "python3 is missing: apt-get install python3 python3-pip python3-venv"
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "python3 is $(python3 -V), it must be 3.10 or newer (MLflow $mlflow_version needs that): apt-get install python3"
  python3 -m pip --version >/dev/null 2>&1 || fail "pip is missing: apt-get install python3-pip"
  python3 -c 'import venv, ensurepip' 2>/dev/null || fail "Python's venv is missing: apt-get install python3-venv"
}

# Fails unless $1 MiB are free where the directory $2 is or will be.
check_disk() {
  local directory=$2 free
  while [ ! -d "$directory" ]; do directory=$(dirname "$directory"); done
  free=$(df -Pm "$directory" | awk 'NR == 2 { print $4 }')
  [ "$free" -ge "$1" ] || fail "$directory has $free MiB free, $1 are needed: make room, or set DISTILSWEEP_CACHE and CARGO_TARGET_DIR to another disk"
}

# Makes a virtual environment $1 in the cache with the packages that follow, once. Prints its directory.
python_environment() {
  local name=$1
  shift
  local directory=$cache/python/$name
  mkdir -p "$cache/python"
  exec 8>"$cache/python/.$name.lock"
  flock 8
  # An environment whose Python has gone or changed is none.
  if [ ! -f "$directory/complete" ] || ! "$directory/bin/python" -c '' 2>/dev/null; then
    echo "installing $name into $directory" >&2
    rm -rf "$directory"
    # Chained: bash does not heed `set -e` in all the places that this may be called from.
    if ! {
      python3 -m venv "$directory" >&2 &&
        "$directory/bin/python" -m pip install --quiet --disable-pip-version-check "$@" >&2 &&
        touch "$directory/complete"
    }; then
      fail "$name cannot be installed; the message is above"
    fi
  fi
  exec 8>&-
  echo "$directory"
}

# What the tests need of MLflow: all of the server and its REST interface, without its pages and the machine learning
# packages beside it.
# shellcheck disable=SC2034 # the containers' tests read it
light_mlflow_packages=("mlflow-skinny==$mlflow_version" 'Flask<4' 'Flask-CORS<7' 'sqlalchemy<3' 'alembic<2' 'graphene<4'
  'huey<4' aiohttp numpy pandas)

# Installs that, once, and prints its program.
light_mlflow() {
  local environment
  environment=$(python_environment "mlflow-light-$mlflow_version" "${light_mlflow_packages[@]}") &&
    echo "$environment/bin/mlflow"
}

# A free port of the loopback; $1 when that one is free.
free_port() {
  python3 - "$1" <<'PY'
import socket, sys
for port in (int(sys.argv[1]), 0):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            continue
        print(s.getsockname()[1])
        break
PY
}

# Whether MLflow answers at the address $1.
mlflow_answers() {
  python3 - "$1/health" <<'PY' 2>/dev/null
import sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
sys.exit(opener.open(sys.argv[1], timeout=5).read() != b"OK")
PY
}
