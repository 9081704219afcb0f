#!/usr/bin/env bash
# After a change of the configuration: tells systemd which folders it names, and restarts.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$(readlink -f "$0")")/common.sh"

must_be_root
release=$(current_release)
apply_configuration "$release"
can_serve "$release" || fail "nothing was restarted: mend $CONFIG as it says above"
if ! systemctl restart millwatch.service; then
    journalctl --unit=millwatch.service --lines=20 --output=cat --no-pager || true
    fail "it does not run; mend $CONFIG as it says above"
fi
say "running with the new configuration; millwatch doctor tries all of it"
