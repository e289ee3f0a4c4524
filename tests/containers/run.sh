#!/usr/bin/env bash
# Builds the images and runs the sample sweep in them with deploy/compose.yaml: undisturbed, and again while a worker is
# killed, another is cut off the network and the coordinator moves to another address. Both must end with the same
# results. Prints the sizes of the images.
#
# usage: tests/containers/run.sh [--cuda] [--images]
#
#   --cuda     build the image for GPUs too (its libtorch alone is some gigabytes)
#   --images   build the images and end
#
# It needs Docker's client and engine (apt-get install docker.io debootstrap); as root it starts an engine where none
# runs, and stops it. Images that cannot be pulled are made by debootstrap. Everything lies in the cache
# (DISTILSWEEP_CACHE, default ~/.cache/distilsweep); containers, networks and volumes go at the end.
set -euo pipefail
# shellcheck source=deploy/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../deploy/common.sh"
# shellcheck source=tests/containers/engine.sh
. "$root/tests/containers/engine.sh"

targets=(coordinator worker-cpu) only_images=''
for argument in "$@"; do
  case $argument in
    -h | --help) usage "$0"; exit 0 ;;
    --cuda) targets+=(worker-cuda) ;;
    --images) only_images=yes ;;
    *) echo "error: unknown argument '$argument': it must be --cuda or --images" >&2; exit 2 ;;
  esac
done

check_needs
check_disk 15000 "$cache"
mkdir -p "$cache/docker"
trap stop_engine EXIT
start_engine
add_plugins
export DOCKER_BUILDKIT=1

# The default of the Dockerfile's argument $1.
argument() { sed -n "s/^ARG $1=//p" "$root/deploy/Dockerfile" | head -n 1; }
debian=$(argument DEBIAN)
image "debian:$debian-slim" make_debian
image "rust:$(argument RUST)-slim-$debian" make_rust
image "$(sed -n 's/^ *image: \(ghcr.*\)/\1/p' "$root/deploy/compose.yaml")" make_mlflow

version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
for target in "${targets[@]}"; do
  echo "building distilsweep-$target:$version (many minutes the first time)" >&2
  docker build --quiet --file "$root/deploy/Dockerfile" --target "$target" --tag "distilsweep-$target:$version" \
    --build-arg "VERSION=$version" --build-arg "REVISION=$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)" \
    "$root" >/dev/null
done
for target in "${targets[@]}"; do
  docker image inspect "distilsweep-$target:$version" --format '{{ .Size }}' |
    awk -v name="distilsweep-$target" '{ printf "%-24s %5.0f MB\n", name, $1 / 1e6 }'
done
[ -z "$only_images" ] || exit 0
sample=$(python3 "$root/deploy/assets.py")
python3 "$root/tests/containers/drill.py" --compose "$root/deploy/compose.yaml" --sample "$sample" \
  --sweep "$root/deploy/examples/sentiment.yaml"
