#!/bin/bash
# Asks what runs here whether it can work: the server at /readyz, the mock for anything, for it takes WebSockets only.
set -euo pipefail
mapfile -d '' -t line </proc/1/cmdline
case ${line[1]:-} in
  mock) port=8888 path=/kurento want=426 ;;
  *) port=${CALLBENCH_LISTEN##*:} path=/readyz want=200 ;;
esac
exec 3<>"/dev/tcp/127.0.0.1/$port"
printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$path" >&3
read -r _ status _ <&3
[ "$status" = "$want" ]
