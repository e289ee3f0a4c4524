#!/usr/bin/env bash
# Records tests/parity/fixture anew with the reference's pinned versions.
#
# usage: tests/parity/record.sh [PYTHON]
#
# PYTHON is an interpreter that has the versions below; left out, they are installed into a temporary environment
# (some 1.5 GB, removed at the end).
set -euo pipefail

case "${1:-}" in
  -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
esac

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=${1:-}
if [ -z "$python" ]; then
  python3 -m venv "$work/environment"
  python=$work/environment/bin/python
  "$python" -m pip install --quiet torch==2.11.0 transformers==4.57.6 accelerate==1.12.0
fi
"$python" "$here/record.py" "$work/fixture" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
rm -rf "$here/fixture"
mv "$work/fixture" "$here/fixture"
echo "recorded $here/fixture"
