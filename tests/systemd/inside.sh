# shellcheck shell=bash
# The steps of run.sh, as root in the container. What they print is shown when one fails, and lines that
# begin with "note: " always.

CAMERA=/srv/millwatch/cameras/top-1
REVIEW=/srv/millwatch/review
CONFIG=/etc/millwatch/millwatch.toml
DROPPED=/opt/dropped

# until_true SECONDS COMMAND...
until_true() {
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $until ] || { echo "in vain: $*"; return 1; }
        read -rt 0.2 <> <(:) || true
    done
}

shown() { systemctl show --value --property="$1" "${2:-millwatch.service}"; }

is() { [ "$(shown "$1" "${3:-millwatch.service}")" = "$2" ] || { echo "$1 is $(shown "$1" "${3:-millwatch.service}"), not $2"; return 1; }; }

serves() { is ActiveState active && is SubState running; }

# For a command that must fail: `!` alone would not end a step.
refused() { if "$@"; then return 1; fi; }

said() { journalctl --unit=millwatch.service --output=cat | grep -e "$1"; }

# drop COUNT [FOLDER]: as the camera's user, whose share makes files for the group.
drop() {
    local number count folder=${2:-$CAMERA} examples=(/source/docs/examples/*.png)
    count=$(cat $DROPPED 2>/dev/null || echo 0)
    for ((number = count; number < count + $1; number++)); do
        install -o camera -g millwatch -m 664 "${examples[number % ${#examples[@]}]}" "$folder/.$number.part"
        mv "$folder/.$number.part" "$folder/image-$number.png"
    done
    echo $((count + $1)) >$DROPPED
}

accounted() { python3 /opt/account.py "$(cat $DROPPED)"; }

query() { python3 -c 'import sqlite3, sys; print(*(row[0] for row in sqlite3.connect("file:/var/lib/millwatch/millwatch.db?mode=ro", uri=True).execute(sys.argv[1])), sep="\n")' "$1"; }

install_it() {
    useradd --system camera
    /source/systemd/install.sh
    serves
    millwatch check
    echo "note: $(shown StatusText), $(basename "$(readlink -f /opt/millwatch/current)")"
}

install_again() {
    local before after
    echo "# mine" >>$CONFIG
    before=$(sha256sum $CONFIG) main=$(shown MainPID)
    /source/systemd/install.sh
    after=$(sha256sum $CONFIG)
    [ "$before" = "$after" ]
    [ "$main" = "$(shown MainPID)" ]
}

judges_four() {
    local path
    drop 4
    until_true 30 accounted
    for path in $(query "SELECT path FROM inspections"); do
        case $path in "$REVIEW"/to_check/*) ;; *) echo "$path"; return 1 ;; esac
        [ "$(stat -c %G "$(dirname "$path")")" = millwatch-review ]
        [ -g "$(dirname "$path")" ]
    done
    [ "$(stat -c %U:%G:%a $REVIEW)" = millwatch:millwatch-review:2770 ]
    # Linked, not copied: it is still the camera's file.
    [ "$(stat -c %U "$path")" = camera ]
    echo "note: $(query "SELECT group_concat(predicted_class || ' ' || verdict, ', ') FROM inspections")"
}

exposure() {
    local unit
    for unit in millwatch millwatch-retrain millwatch-backup; do
        echo "note: $(systemd-analyze security --no-pager $unit.service | tail -n 1 | tr -cd '[:print:]')"
    done
    systemd-analyze security --threshold=15 --no-pager millwatch.service >/dev/null
}

kill_it() {
    local restarts
    restarts=$(shown NRestarts)
    drop 40
    systemctl kill --signal=KILL millwatch.service
    until_true 30 is NRestarts $((restarts + 1))
    until_true 60 accounted
    serves
}

hang_it() {
    local restarts
    mkdir -p /etc/systemd/system/millwatch.service.d
    printf '[Service]\nWatchdogSec=4\n' >/etc/systemd/system/millwatch.service.d/99-test.conf
    systemctl daemon-reload
    systemctl restart millwatch.service
    restarts=$(shown NRestarts)
    drop 4
    kill -STOP "$(shown MainPID)"
    until_true 30 is NRestarts $((restarts + 1))
    until_true 30 accounted
    said "Watchdog timeout"
    rm /etc/systemd/system/millwatch.service.d/99-test.conf
    systemctl daemon-reload # in force from the next start on
}

bad_configuration() {
    sed -i 's|^open_on_loopback = false|open_on_loopback = true|' $CONFIG # to label without a password, later
    cp -a $CONFIG /opt/good.toml
    sed -i '1i colour = "blue"' $CONFIG
    refused millwatch-configure # the line goes on with the configuration before
    serves
    refused systemctl restart millwatch.service
    is ExecMainStatus 78
    is ActiveState failed
    read -rt 5 <> <(:) || true # RestartSec is 2
    is NRestarts 0
    is ActiveState failed
    cat /opt/good.toml >$CONFIG
    systemctl start millwatch.service
}

move_review() {
    mkdir -p /data
    sed -i 's|^folder = "/srv/millwatch/review"|folder = "/data/review"|' $CONFIG
    refused systemctl restart millwatch.service
    is ExecMainStatus 78
    said millwatch-configure
    millwatch-configure
    serves
    [ "$(stat -c %U:%G:%a /data/review)" = millwatch:millwatch-review:2770 ]
    drop 2
    until_true 30 accounted
    ls /data/review/to_check/*
    cat /opt/good.toml >$CONFIG
}

late_share() {
    cat >>$CONFIG <<'EOF'
[[cameras]]
name = "side-1"
folder = "/mnt/nas/side-1"
EOF
    mkdir -p /mnt/nas
    millwatch-configure # that it is not there yet is no reason not to run
    serves
    mount -t tmpfs -o mode=755 share /mnt/nas
    install -d -o root -g millwatch -m 2775 /mnt/nas/side-1
    drop 2 /mnt/nas/side-1
    until_true 40 accounted
    umount /mnt/nas
}

reload_it() {
    local main
    cat /opt/good.toml >$CONFIG
    sed -i 's|^max_missed_defect_rate = 0.005|max_missed_defect_rate = 0.02|' $CONFIG
    main=$(shown MainPID)
    systemctl reload millwatch.service
    until_true 20 said '"changed": \["policy.max_missed_defect_rate"\], "needs_a_restart": \["cameras"\]'
    [ "$main" = "$(shown MainPID)" ]
    serves
    # A mistake in it is told, and the line goes on as it was.
    sed -i '1i colour = "blue"' $CONFIG
    systemctl reload millwatch.service
    until_true 20 said 'it was read again and is not used'
    serves
    cat /opt/good.toml >$CONFIG
    systemctl reload millwatch.service
}

# label ID CLASS: as the page does it.
label() {
    python3 - "$1" "$2" <<'EOF'
import json, sys, urllib.request
number, name = sys.argv[1:]
asked = urllib.request.Request(
    f"http://127.0.0.1:8470/api/inspections/{number}/label",
    data=json.dumps({"label": name, "seen": 0}).encode(),
    headers={"content-type": "application/json"},
)
print(urllib.request.urlopen(asked, timeout=20).read().decode())
EOF
}

trains() { tr '\0' ' ' </proc/"$(shown MainPID millwatch-retrain.service)"/cmdline | grep -e "-m training"; }

retrain_it() {
    local image classes=(crazing no_defect patches scratches) number asked
    for image in $(query "SELECT id FROM inspections ORDER BY id LIMIT 20"); do
        number=$(query "SELECT filename FROM inspections WHERE id = $image" | tr -cd '0-9')
        label "$image" "${classes[number % 4]}"
    done
    millwatch retrain --now >/opt/retrained 2>&1 &
    asked=$!
    until_true 30 is ActiveState activating millwatch-retrain.service
    is ControlGroup /millwatch.slice/millwatch-retrain.slice/millwatch-retrain.service millwatch-retrain.service
    until_true 60 trains
    # It would take minutes. What is ended from outside is told; the line does not notice.
    systemctl kill --signal=KILL millwatch-retrain.service
    wait "$asked" || true
    grep "ended from outside (signal); the current model is as it was" /opt/retrained
    serves
}

backup_it() {
    systemctl start millwatch-backup.service
    ls -l /var/lib/millwatch/backups
    is Result success millwatch-backup.service
    systemctl list-timers --no-pager millwatch-backup.timer | grep millwatch-backup
}

after_reboot() {
    until_true 60 serves
    drop 4
    until_true 30 accounted
    is ActiveState active millwatch-retrain.path
    is ActiveState active millwatch-backup.timer
}

# tree VERSION: a later release, with one more migration.
tree() {
    local head
    cp -r /source "/next-$1"
    sed -i "s/^version = .*/version = \"$1\"/" "/next-$1/pyproject.toml"
    head=$(query "SELECT version_num FROM alembic_version")
    cat >"/next-$1/migrations/versions/m$2_test.py" <<EOF
"""One more table."""
from alembic import op
revision = "$2"
down_revision = "$head"
def upgrade() -> None:
    op.execute("CREATE TABLE test_$2 (id INTEGER)")
EOF
}

upgrade_it() {
    local before
    before=$(readlink -f /opt/millwatch/current)
    tree 0.1.91 9001
    printf '[[cameras]]\nname = "away-1"\nfolder = "/mnt/away/away-1"\n' >>$CONFIG # is no reason not to upgrade
    /next-0.1.91/systemd/upgrade.sh
    serves
    cat /opt/good.toml >$CONFIG
    millwatch-configure
    [ "$(query "SELECT version_num FROM alembic_version")" = 9001 ]
    [ "$(readlink -f /proc/"$(shown MainPID)"/root/opt/millwatch/current)" != "$before" ]
    ls -d "$before" /var/lib/millwatch/backups/*.db
    drop 4
    until_true 30 accounted
    echo "note: $(basename "$(readlink -f /opt/millwatch/current)")"
}

failing_upgrade() {
    local before
    before=$(readlink -f /opt/millwatch/current)
    cp -r /next-0.1.91/migrations/versions/m9001_test.py /source/migrations/versions/
    tree 0.1.92 9002
    sed -i 's/^def _make_folders.*/&\n    raise RuntimeError("this release is broken")/' /next-0.1.92/daemon/starting.py
    sed -i 's/^    state_dir: AbsolutePath/    colour: str = Field(default="", description="Of the next release.")\n&/' /next-0.1.92/config/settings.py
    # What serves does not know the new release's key, and could not be gone back to.
    sed -i '1i colour = "blue"' $CONFIG
    # In its tree, as by `make upgrade`.
    refused env --chdir=/next-0.1.92 systemd/upgrade.sh >/opt/said 2>&1
    grep "there would be no way back" /opt/said
    cat /opt/good.toml >$CONFIG
    # It cannot be backed up: the line does not stand still for that.
    chmod 500 /var/lib/millwatch/backups
    refused /next-0.1.92/systemd/upgrade.sh >/opt/said 2>&1
    grep "could not be backed up" /opt/said
    serves
    chmod 750 /var/lib/millwatch/backups
    refused /next-0.1.92/systemd/upgrade.sh >/opt/said 2>&1
    grep "this release is broken" /opt/said
    grep "serves again" /opt/said
    [ "$(readlink -f /opt/millwatch/current)" = "$before" ]
    [ "$(query "SELECT version_num FROM alembic_version")" = 9001 ]
    serves
    drop 4
    until_true 30 accounted
}

mending_upgrade() {
    local current
    current=$(readlink -f /opt/millwatch/current)
    sed -i 's/^def _make_folders.*/&\n    raise RuntimeError("this one is broken too")/' "$current"/lib/python3*/site-packages/daemon/starting.py
    refused systemctl restart millwatch.service
    until_true 10 is ActiveState activating
    tree 0.1.93 9003
    /next-0.1.93/systemd/upgrade.sh
    serves
    drop 4
    until_true 30 accounted
}

upgrade_of_a_stopped() {
    systemctl stop millwatch.service
    cp -r /next-0.1.93/migrations/versions/m9003_test.py /source/migrations/versions/
    tree 0.1.94 9004
    /next-0.1.94/systemd/upgrade.sh >/opt/said
    grep "was stopped, and is again" /opt/said
    is ActiveState inactive
    systemctl start millwatch.service
}

uninstall_it() {
    /opt/millwatch/current/share/millwatch/systemd/uninstall.sh
    refused systemctl cat millwatch.service
    [ ! -e /opt/millwatch ] && [ ! -e /usr/local/bin/millwatch ]
    [ -z "$(ls -d /etc/systemd/system/millwatch* 2>/dev/null)" ]
    accounted
    ls $CONFIG
}
