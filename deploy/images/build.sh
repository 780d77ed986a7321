#!/usr/bin/env bash
# Builds the container images of the parts around a media server from Debian, for machines that reach a Debian mirror and
# no registry:
#
#   deploy/images/build.sh [-base IMAGE] [-fresh] [part…]      # coturn redis mariadb haproxy callbench; all if none is named
#
# Each is callbench/PART, tagged with the version of its Debian package and as latest. The base is made by debootstrap, which
# wants root, or is IMAGE, any image of Debian bookworm (debian:bookworm-slim). What is built already is kept; -fresh makes the
# base anew, and with it everything, which is how security updates get in. DOCKER_HOST chooses the engine. Mirror and proxies
# are those of this machine's apt, or MIRROR says where packages are.
set -euo pipefail
self=$(realpath "$0")
cd "$(dirname "$self")"

suite=bookworm
base=callbench/base:$suite
parts=(coturn redis mariadb haproxy callbench)
given='' fresh=''
while [ $# -gt 0 ]; do
  case $1 in
    -base | --base) given=${2:?-base wants the name of an image}; shift 2 ;;
    -fresh | --fresh) fresh=1; shift ;;
    -*) sed -n '2,/^set /s/^# \{0,1\}//p' "$self"; exit 2 ;;
    *) break ;;
  esac
done
[ $# -eq 0 ] || parts=("$@")
for part in "${parts[@]}"; do
  [ -f "$part/Dockerfile" ] || { echo "there is no part $part; there are: $(dirname -- */Dockerfile | xargs)" >&2; exit 2; }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { printf '%5ss  %s\n' "$SECONDS" "$1"; }

# setting says what this machine's apt is told of a name.
setting() { command -v apt-config >/dev/null || return 0; local v=''; eval "$(apt-config shell v "$1")"; printf '%s' "$v"; }

# mirror is where this machine gets the packages of the suite from; empty, which leaves it to debootstrap, if it has none of them.
mirror() {
  [ -z "${MIRROR:-}" ] || { echo "$MIRROR"; return; }
  command -v apt-get >/dev/null || return 0
  apt-get indextargets --format '$(CODENAME) $(SUITE) $(COMPONENT) $(SITE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    awk -v suite="$suite" '$1 == suite && $3 == "main" && $5 !~ /security/ { sub("/$", "", $5); print $5; exit }'
}

# bootstrap makes the base image of packages alone, in about half a minute.
bootstrap() {
  command -v debootstrap >/dev/null || { echo "debootstrap is missing: apt-get install debootstrap, or name an image of Debian $suite with -base" >&2; exit 1; }
  [ "$(id -u)" = 0 ] || { echo "debootstrap wants root; or name an image of Debian $suite with -base" >&2; exit 1; }
  local from root=$work/root
  from=$(mirror)
  debootstrap --variant=minbase "$suite" "$root" ${from:+"$from"} >"$work/log" 2>&1 || { tail -20 "$work/log" >&2; exit 1; }
  from=${from:-$(awk '$1 == "deb" { print $2; exit }' "$root/etc/apt/sources.list")}
  { echo "deb $from $suite main"; echo "deb $from $suite-updates main"; echo "deb ${from%/debian}/debian-security $suite-security main"; } >"$root/etc/apt/sources.list"
  # Where this machine's apt does not ask whether an index is recent, as with a snapshot of a mirror, the images' need not.
  { apt-config dump | grep -E '^Acquire::(Check-Valid-Until|Check-Date|Retries) ' || true; } >"$root/etc/apt/apt.conf.d/50host"
  # An image is whole or not there: nothing has to be safe on the disk in between.
  echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/50images"
  tar -C "$root" --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' --exclude='./var/log/*' --exclude='./usr/share/doc/*' \
    --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' --exclude='./usr/share/info/*' --exclude='./proc/*' --exclude='./sys/*' -c . |
    docker import --change 'CMD ["bash"]' - "$base" >/dev/null
}

export http_proxy=${http_proxy:-$(setting Acquire::http::Proxy)} https_proxy=${https_proxy:-$(setting Acquire::https::Proxy)}
options=(--network host)
for name in http_proxy https_proxy no_proxy; do
  if [ -n "${!name:-}" ]; then options+=(--build-arg "$name"); else unset "$name"; fi
done

docker version --format 'engine {{.Server.Version}}'
if [ -n "$given" ]; then
  docker image inspect "$given" >/dev/null 2>&1 || docker pull -q "$given" >/dev/null
  docker tag "$given" "$base"
elif [ -n "$fresh" ] || ! docker image inspect "$base" >/dev/null 2>&1; then
  bootstrap
fi
say "$base"

# context lays what a part's image is made of into a folder.
context() {
  cp "$1"/* "$work/$1/"
  [ "$1" = callbench ] || return 0
  # The flags of `make image`, so that Go compiles once for both.
  (cd ../.. && CGO_ENABLED=0 "${GO:-go}" build -trimpath -ldflags '-s -w' -o "$work/$1/callbench" ./cmd/callbench)
}

# version is that of the package that a part is for, as a tag can hold it; of callbench, what Git calls this tree.
version() {
  if [ "$1" = callbench ]; then git describe --tags --always --dirty 2>/dev/null || echo unknown; return; fi
  local package=$1
  case $1 in redis) package=redis-server ;; mariadb) package=mariadb-server-core ;; esac
  docker run --rm --network none --entrypoint dpkg-query "callbench/$1" -W -f '${Version}' "$package" | sed 's/^[0-9]*://' | tr -c 'A-Za-z0-9_.-' -
}

for part in "${parts[@]}"; do
  mkdir "$work/$part"
  context "$part"
  docker build -q "${options[@]}" --build-arg BASE="$base" -t "callbench/$part" "$work/$part" >"$work/log" 2>&1 || { tail -30 "$work/log" >&2; exit 1; }
  tag=$(version "$part")
  docker tag "callbench/$part" "callbench/$part:$tag"
  say "callbench/$part:$tag"
done
