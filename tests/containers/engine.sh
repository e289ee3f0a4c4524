# A Docker engine and the images that others publish, for run.sh; sourced, never run. What is missing it makes, in the
# cache. Of the machine nothing is changed but what an engine needs while it runs: a bridge and rules of its packet filter.
# shellcheck shell=bash

# Sets DOCKER_HOST to an engine: the machine's own if it answers, else one that is started here and stopped with us.
start_engine() {
  command -v docker >/dev/null || fail "docker is missing: apt-get install docker.io debootstrap"
  ! docker info >/dev/null 2>&1 || return 0
  if [ "$(id -u)" != 0 ] || ! command -v dockerd >/dev/null; then
    fail "no Docker engine answers: start one (systemctl start docker), join its group (usermod -aG docker $USER), or run this as root with dockerd installed (apt-get install docker.io), which starts one for its own time"
  fi
  local home=$cache/docker
  mkdir -p "$home/run"
  exec 7>"$home/.lock"
  flock 7
  export DOCKER_HOST=unix://$home/run/docker.sock
  dockerd --host "$DOCKER_HOST" --data-root "$home/data" --exec-root "$home/run/exec" --pidfile "$home/run/pid" \
    >"$home/log" 2>&1 7>&- &
  engine=$!
  local waited=0
  until docker info >/dev/null 2>&1; do
    kill -0 "$engine" 2>/dev/null && [ "$waited" -lt 120 ] || fail "dockerd does not start: $(tail -n 1 "$home/log")"
    sleep 0.5
    waited=$((waited + 1))
  done
}

stop_engine() {
  [ -n "${engine:-}" ] || return 0
  kill -TERM "$engine" 2>/dev/null || true
  wait "$engine" 2>/dev/null || true
}

# Puts Compose and BuildKit at docker's side where they are missing: as Debian 13 has them, which need a C library alone.
add_plugins() {
  if docker compose version >/dev/null 2>&1 && docker buildx version >/dev/null 2>&1; then return 0; fi
  local home=$cache/docker/client
  if [ ! -f "$home/complete" ]; then
    command -v apt-get >/dev/null || fail "docker compose or docker buildx is missing: install both plugins of Docker"
    echo "fetching docker compose and docker buildx" >&2
    rm -rf "$home"
    mkdir -p "$home/apt/lists/partial" "$home/apt/archives/partial" "$home/cli-plugins"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main" \
      >"$home/apt/sources.list"
    local options=(-qq -o "Dir::Etc::SourceList=$home/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
      -o "Dir::State::Lists=$home/apt/lists" -o "Dir::Cache=$home/apt" -o APT::Sandbox::User=root)
    (
      cd "$home/apt"
      apt-get "${options[@]}" update
      apt-get "${options[@]}" download docker-compose docker-buildx
      for package in *.deb; do dpkg-deb --extract "$package" files; done
      cp files/usr/libexec/docker/cli-plugins/* ../cli-plugins/
    ) >&2 || fail "docker compose and docker buildx cannot be fetched; the message is above"
    rm -rf "$home/apt"
    touch "$home/complete"
  fi
  export DOCKER_CONFIG=$home
}

# Sees to the image $1, which somebody publishes: it is there, or is pulled, or the function $2 makes its like.
image() {
  ! docker image inspect "$1" >/dev/null 2>&1 || return 0
  ! docker pull --quiet "$1" >/dev/null 2>&1 || return 0
  echo "$1 cannot be pulled: making its like" >&2
  "$2" "$1"
}

# Debian, of the release $debian, by debootstrap. It trusts the authorities that this machine trusts: behind a proxy builds need them.
make_debian() {
  command -v debootstrap >/dev/null || fail "debootstrap is missing: apt-get install debootstrap"
  [ "$(id -u)" = 0 ] || fail "debootstrap needs root"
  local tree
  tree=$(mktemp -d -p "$cache/docker")
  debootstrap --variant=minbase --include=ca-certificates "$debian" "$tree" http://deb.debian.org/debian \
    >"$cache/docker/debootstrap.log" || fail "debootstrap fails: $(tail -n 1 "$cache/docker/debootstrap.log")"
  find /usr/local/share/ca-certificates -name '*.crt' -exec cp -t "$tree/usr/local/share/ca-certificates" {} +
  chroot "$tree" update-ca-certificates >/dev/null 2>&1
  rm -rf "$tree"/var/cache/apt/archives/*.deb "$tree"/var/lib/apt/lists/*
  tar --create --directory "$tree" . | docker import - "$1" >/dev/null
  rm -rf "$tree"
}

# Rust as it is on this machine, on that Debian.
make_rust() {
  local found wanted=${1#rust:}
  found=$(cd "$root" && rustc --version | awk '{ print $2 }')
  [ "${wanted%-slim-*}" = "$found" ] || fail "rust is $found here and ${wanted%-slim-*} in deploy/Dockerfile: rustup install ${wanted%-slim-*}"
  local context
  context=$(mktemp -d)
  cat >"$context/Dockerfile" <<IMAGE
FROM debian:$debian-slim
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY bin /usr/local/bin
COPY lib /usr/local/lib
IMAGE
  tar --create --directory "$context" Dockerfile --directory "$(rustc --print sysroot)" bin lib |
    docker build --quiet --tag "$1" - >/dev/null
  rm -rf "$context"
}

# MLflow's server with its REST interface, without its pages.
make_mlflow() {
  docker build --quiet --tag "$1" --build-arg "BASE=debian:$debian-slim" \
    --build-arg "PACKAGES=${light_mlflow_packages[*]}" - >/dev/null <<'IMAGE'
ARG BASE
FROM $BASE
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/mlflow
ENV PATH=/opt/mlflow/bin:$PATH
ARG PACKAGES
RUN pip install --no-cache-dir $PACKAGES
IMAGE
}
