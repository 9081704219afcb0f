#!/usr/bin/env bash
# Removes what install.sh put there. Configuration, database, images and accounts stay unless PURGE=1.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$(readlink -f "$0")")/common.sh"

must_be_root
if has_systemd; then
    for unit in "${OURS[@]}"; do
        systemctl disable --quiet --now "$unit" 2>/dev/null || true
    done
fi
for unit in "${OURS[@]}"; do
    rm -f "$DESTDIR$UNITS/$unit" "$DESTDIR$UNITS/$unit.d/50-configuration.conf" "$DESTDIR$UNITS/$unit.d/60-gpu.conf"
    rmdir "$DESTDIR$UNITS/$unit.d" 2>/dev/null || true # what others put there stays
done
rm -f "$DESTDIR/usr/local/bin/millwatch" "$CONFIGURE" \
    "$DESTDIR/usr/local/lib/sysusers.d/millwatch.conf" "$DESTDIR/usr/local/lib/tmpfiles.d/millwatch.conf"
rm -rf "$DESTDIR$PREFIX/releases" "$DESTDIR$PREFIX/current"
rmdir "$DESTDIR$PREFIX" 2>/dev/null || true
if has_systemd; then systemctl daemon-reload; fi
if [ "${PURGE:-}" = 1 ]; then
    # A disk's own folder cannot be removed; and what lies on a share belongs to others too.
    left=
    rm -rf --one-file-system "$DESTDIR/etc/millwatch" "$DESTDIR/var/lib/millwatch" "$DESTDIR/var/cache/millwatch" \
        "$DESTDIR/srv/millwatch" || left=", but for what rm names above, where something is mounted"
    if [ -z "$DESTDIR" ]; then
        userdel millwatch 2>/dev/null || true
        groupdel millwatch-review 2>/dev/null || true
    fi
    say "removed, with configuration, database and images$left. Folders that the configuration named elsewhere are left"
else
    say "removed. Left as they are: /etc/millwatch, /var/lib/millwatch, /srv/millwatch (PURGE=1 removes them)"
fi
