#!/usr/bin/env bash
# After a change of the configuration: checks it, tells systemd which folders it names, and restarts.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$(readlink -f "$0")")/common.sh"

must_be_root
release=$(current_release)
apply_configuration "$release"
# What is wrong is told here, too; whether it can run with it, the start decides.
as_millwatch "$release/bin/millwatch" check --config "$CONFIG" || true
systemctl restart millwatch.service || fail "it did not start: journalctl --unit=millwatch"
say "running with the new configuration"
