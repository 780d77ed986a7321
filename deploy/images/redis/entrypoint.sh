#!/bin/sh
# Runs Redis, which listens on all of the container's addresses: who can reach them is for the container's network to say.
set -eu
case "${1:-}" in
  '' | -* | *.conf) set -- redis-server "$@" ;;
esac
[ "$1" != redis-server ] || set -- "$@" --protected-mode no
exec "$@"
