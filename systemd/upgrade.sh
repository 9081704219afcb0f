#!/usr/bin/env bash
# Brings the release in this tree into service. If it does not become ready, what served before serves
# again, with the database as it was.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

main() {
    local before after backup
    [ -z "$DESTDIR" ] || fail "there is nothing to upgrade in DESTDIR"
    must_be_root
    has_systemd || fail "systemd does not run here"
    TORCH_BACKEND=${TORCH_BACKEND-$(kept_backend)}
    before=$(current_release)
    [ -d "$before" ] || fail "nothing is installed in $PREFIX; install.sh (make install) does so"
    after=$PREFIX/releases/$(release_id)
    if [ "$after" = "$before" ]; then
        is_whole "$before" || fail "files of $(basename "$before") are lost; install.sh (make install) builds it anew"
        say "$(basename "$after") serves already"
        return
    fi
    say "building $after; $(basename "$before") serves meanwhile"
    build_release "$after"
    can_serve "$after" ||
        fail "nothing was changed: the new release cannot serve with this configuration, as it says above"
    setting "$before" database_file >/dev/null ||
        fail "nothing was changed: $(basename "$before") does not understand this configuration, so there would be no way" \
            "back. Take out what only $(basename "$after") knows, upgrade, and put it in again"
    # One that fails again and again, or was given up (78), is to run; one that somebody stopped is not.
    stopped=
    [ "$(systemctl is-active millwatch.service || true)" != inactive ] || stopped=1
    # Whatever ends this from here on, on the way back too, the line does not stand still for it.
    trap 'systemctl start millwatch-retrain.path; [ -n "$stopped" ] || systemctl start millwatch.service' EXIT
    systemctl stop millwatch-retrain.path millwatch-retrain.service millwatch.service
    backup=$(back_up "$before") || fail "nothing was changed: the database could not be backed up"
    [ -z "$backup" ] || say "database backed up to $backup"
    put_in_service "$after"
    if systemctl start millwatch.service; then
        trap - EXIT
        prune "$before" "$after"
        say "$(basename "$after") serves; $(basename "$before") is kept"
        stop_again
        return
    fi
    go_back "$before" "$backup" "$after"
}

# Nothing runs, so nothing comes after it.
back_up() {
    [ -e "$(setting "$1" database_file)" ] || return 0
    as_millwatch "$1/bin/millwatch" db backup --config "$CONFIG" | head -n 1
}

# What was stopped before was only tried.
stop_again() {
    [ -n "$stopped" ] || return 0
    systemctl stop millwatch.service
    say "millwatch.service was stopped, and is again: systemctl start millwatch"
}

# The link last: until then another try brings all of it.
put_in_service() {
    install_units "$1"
    install_accounts "$1"
    apply_configuration "$1"
    switch_to "$1"
    systemctl enable --quiet millwatch.service millwatch-retrain.path millwatch-backup.timer
    systemctl start millwatch-retrain.path millwatch-backup.timer
}

# It judged nothing: an image is recorded after READY only. So the copy is the whole truth.
go_back() {
    local before=$1 backup=$2 database
    # At once: systemd starts it again after two seconds, and one that then is ready would judge.
    systemctl stop millwatch.service
    say "it did not become ready; going back to $(basename "$before"). What it said:"
    journalctl --unit=millwatch.service --lines=20 --output=cat --no-pager || true
    database=$(setting "$before" database_file)
    if [ -n "$backup" ] && [ "$(schema "$before" "$backup")" != "$(schema "$before" "$database")" ]; then
        as_millwatch "$before/bin/millwatch" db restore "$backup" --config "$CONFIG" || {
            put_in_service "$before"
            trap - EXIT
            fail "$(basename "$before") is back and its database is not; mend what it says above, then:" \
                "millwatch db restore $backup && systemctl start millwatch"
        }
    fi
    put_in_service "$before"
    rm -rf "$3"
    trap - EXIT
    systemctl start millwatch.service ||
        fail "nor does $(basename "$before") start any more: journalctl -u millwatch"
    stop_again
    fail "not upgraded: $(basename "$before") serves again${stopped:+ once it is started}"
}

schema() {
    "$1/bin/python" -I -c '
import sqlite3, sys
print(sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True).execute("SELECT version_num FROM alembic_version").fetchone())' "$2" 2>/dev/null || say "none"
}

prune() {
    local each
    for each in "$PREFIX"/releases/*; do
        [ "$each" = "$1" ] || [ "$each" = "$2" ] || rm -rf "$each"
    done
}

[ "${BASH_SOURCE[0]}" != "$0" ] || main
