#!/usr/bin/env bash
# Installs Millwatch as a service; again and again, if need be. Run by `make install`, or from a bundle.
# Variables: PREFIX, DESTDIR, PYTHON, TORCH_BACKEND, GPU=1, WHEELS, UV; see common.sh. PREFIX and
# TORCH_BACKEND are those of what is installed already, unless they are set.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"

must_be_root
TORCH_BACKEND=${TORCH_BACKEND-$(kept_backend)}
release=$DESTDIR$PREFIX/releases/$(release_id)
before=$(current_release)
if [ -n "$before" ] && [ -d "$before" ] && [ "$before" != "$release" ]; then
    fail "$(basename "$before") is installed; upgrade.sh (make upgrade) brings $(basename "$release"), with a way back"
fi
say "building $release"
build_release "$release"
install_accounts "$release"
install_configuration "$release"
switch_to "$release"
install_units "$release"
apply_configuration "$release"
if ! has_systemd; then
    say "installed; systemd does not run here, so nothing was started"
    exit 0
fi
systemctl enable --quiet millwatch.service millwatch-retrain.path millwatch-backup.timer
systemctl start millwatch-retrain.path millwatch-backup.timer
if systemctl --quiet is-active millwatch.service; then
    say "installed already, and running${GPU:+; systemctl restart millwatch lets it at the card}"
    [ -z "$rebuilt" ] || say "systemctl restart millwatch runs what was built anew"
    exit 0
fi
if ! can_serve "$release"; then
    say "installed, and not started: mend $CONFIG as it says, then: systemctl start millwatch"
    exit 0
fi
systemctl start millwatch.service
say "installed and running; cameras and folders: $CONFIG. After a change there:"
say "  millwatch-configure    (what systemd must know of it, and a restart)"
