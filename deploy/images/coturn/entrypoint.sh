#!/bin/sh
# Runs Coturn with what the environment has and the arguments after that. A file of settings comes as "-c FILE".
#
#   TURN_SECRET       the secret of TURN REST credentials
#   TURN_REALM        callbench
#   TURN_PORT         3478
#   TURN_MIN_PORT     49152, and TURN_MAX_PORT 65535: where relayed media is
#   TURN_EXTERNAL_IP  PUBLIC or PUBLIC/OWN, where clients do not see the container's own address
set -eu
case " $* " in
  *" -c "* | *" --config"*) ;;
  *) set -- -n "$@" ;;
esac
[ -z "${TURN_EXTERNAL_IP:-}" ] || set -- "--external-ip=$TURN_EXTERNAL_IP" "$@"
[ -z "${TURN_SECRET:-}" ] || set -- --use-auth-secret "--static-auth-secret=$TURN_SECRET" "$@"
exec turnserver --log-file=stdout --simple-log --pidfile=/tmp/turnserver.pid --no-cli --no-tls --no-dtls --fingerprint --verbose \
  "--realm=${TURN_REALM:-callbench}" "--listening-port=${TURN_PORT:-3478}" "--min-port=${TURN_MIN_PORT:-49152}" "--max-port=${TURN_MAX_PORT:-65535}" "$@"
