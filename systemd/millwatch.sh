#!/bin/sh
# `millwatch` on the line PC: with the line's configuration, and never as root, whose files the service
# could not write to. `doctor` tries as both.
set -eu
MILLWATCH_CONFIG=${MILLWATCH_CONFIG:-/etc/millwatch/millwatch.toml}
export MILLWATCH_CONFIG
if [ "$(id -u)" = 0 ] && [ "${1:-}" != doctor ]; then
    umask 0007
    exec setpriv --reuid=millwatch --regid=millwatch --init-groups /opt/millwatch/current/bin/millwatch "$@"
fi
exec /opt/millwatch/current/bin/millwatch "$@"
