#!/usr/bin/env bash
# Millwatch on a real systemd: installed, killed, hung, rebooted, upgraded, rolled back, uninstalled. A Debian
# made by debootstrap in memory, booted by systemd-nspawn, without a network. One line a step, with its seconds;
# ends with 1 at the first that fails, with 77 where the machine cannot boot a container. KEEP=1 leaves it running.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
SOURCE=$(cd "$HERE/../.." && pwd)
UV=$SOURCE/.venv/bin/uv
SUITE=${SUITE:-$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")}
MIRROR=${MIRROR:-$(sed -nE 's/^(URIs:|deb) +(http[^ ]+debian)\/?( .*)?$/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n 1 || true)}
DEBIAN=$SOURCE/build/debian-$SUITE.tar
WORK=
NSPAWN=
LEADER=

skip() {
    echo "not run: $*"
    exit 77
}

[ "$(id -u)" = 0 ] || skip "it needs root"
for program in debootstrap systemd-nspawn nsenter; do
    command -v "$program" >/dev/null || skip "$program is not installed"
done
[ -x "$UV" ] || skip "there is no .venv: make setup"

cleanup() {
    local status=$?
    if [ "${KEEP:-}" = 1 ] && [ "$status" != 0 ]; then
        echo "left running: nsenter -t $LEADER -a; then: kill -KILL $LEADER; umount -R $WORK"
        exit "$status"
    fi
    [ -z "$LEADER" ] || kill -KILL "$LEADER" 2>/dev/null || true # with all that runs in there
    [ -z "$NSPAWN" ] || wait "$NSPAWN" 2>/dev/null || true
    if [ -n "$WORK" ]; then
        umount -R "$WORK" 2>/dev/null || umount -lR "$WORK" || true
        rmdir "$WORK"
    fi
    exit "$status"
}

inside() {
    nsenter --target "$LEADER" --all env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        UV=/opt/uv UV_CACHE_DIR=/var/cache/uv UV_OFFLINE=1 UV_LINK_MODE=symlink UV_COMPILE_BYTECODE=0 "$@"
}

# A line of bash in the container, with the words of tests/systemd/inside.sh.
shell() { inside bash -euo pipefail -c ". /opt/inside.sh; $1"; }

step() {
    local name=$1 began=$EPOCHREALTIME
    shift
    if ! "$@" >"$WORK/out" 2>&1; then
        printf 'FAILED after %.1f s: %s\n' "$(since "$began")" "$name"
        tail -n 40 "$WORK/out"
        echo "--- the journal:"
        inside journalctl --unit=millwatch.service --unit=millwatch-retrain.service --lines=40 --output=cat --no-pager || true
        exit 1
    fi
    printf '%6.1f s  %s\n' "$(since "$began")" "$name"
    sed -n 's/^note: /          /p' "$WORK/out"
}

# A step without which this machine cannot run the others.
where_possible() {
    local name=$1 began=$EPOCHREALTIME
    shift
    if ! "$@" >"$WORK/out" 2>&1; then
        tail -n 5 "$WORK/out"
        skip "this machine cannot have: $name"
    fi
    printf '%6.1f s  %s\n' "$(since "$began")" "$name"
}

since() { echo "$EPOCHREALTIME $1" | awk '{ print $1 - $2 }'; }

# Kept for the next time: `make clean` removes it.
make_root() {
    mkdir -p "$(dirname "$DEBIAN")"
    if [ ! -e "$DEBIAN" ]; then
        debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,python3 "$SUITE" "$WORK/root" "$MIRROR" || return
        rm -rf "$WORK/root/var/cache/apt/archives" "$WORK/root/var/lib/apt/lists"
        tar -C "$WORK/root" --one-file-system -cf "$DEBIAN.part" .
        mv "$DEBIAN.part" "$DEBIAN"
    else
        mkdir "$WORK/root"
        tar -C "$WORK/root" -xf "$DEBIAN"
    fi
    cp "$HERE/inside.sh" "$HERE/account.py" "$WORK/root/opt/"
    cp "$UV" "$WORK/root/opt/uv"
    mkdir -p "$WORK/root/source" "$WORK/root/var/cache/uv" "$WORK/root/var/log/journal" "$WORK/cache"
    git -C "$SOURCE" ls-files -z --cached --others --exclude-standard -- \
        config models training daemon migrations systemd docs ./pyproject.toml ./Makefile ./*.md ./LICENSE ./*.lock |
        tar -C "$SOURCE" --null --files-from=- -cf - | tar -C "$WORK/root/source" -xf -
}

boot() {
    local until=$((SECONDS + 60))
    # keep-unit: without it, it asks the systemd of this machine for a scope, and there may be none.
    systemd-nspawn --quiet --register=no --keep-unit --boot --directory="$WORK/root" --machine=millwatch-test \
        --private-network --overlay="$CACHE:$WORK/cache:/var/cache/uv" >"$WORK/console" 2>&1 </dev/null &
    NSPAWN=$!
    until LEADER=$(pgrep -P "$NSPAWN" -x systemd) && inside test -S /run/systemd/private; do
        { [ $SECONDS -lt $until ] && kill -0 "$NSPAWN" 2>/dev/null; } || { cat "$WORK/console"; return 1; }
        read -rt 0.1 <> <(:) || true
    done
    inside systemctl is-system-running --wait || inside systemctl --failed
}

# What `make setup` fetched lies in uv's cache; there is no network in there.
packages() {
    inside /opt/uv venv --quiet --python python3 /tmp/probe &&
        inside /opt/uv pip install --quiet --dry-run --python /tmp/probe/bin/python --require-hashes -r /source/requirements-line.lock
}

reboot_it() {
    inside systemctl reboot || true
    wait "$NSPAWN" || [ $? = 133 ]
    boot
}

CACHE=$("$UV" cache dir)
trap cleanup EXIT
WORK=$(mktemp -d)
mount -t tmpfs -o size=4G,mode=755 millwatch-test "$WORK"
[ -n "$MIRROR" ] || skip "no Debian mirror is configured"
BEGAN=$EPOCHREALTIME
where_possible "a Debian ($SUITE) with systemd and Python" make_root
where_possible "booted" boot
where_possible "the locked packages at hand, for its Python" packages

step "installed, without a network; started; READY" shell install_it
step "installed once more: nothing changes" shell install_again
step "four images: rows, review files, moved by link, setgid" shell judges_four
step "exposure of the running units" shell exposure
step "killed with 40 images on their way: restarted, nothing lost" shell kill_it
step "hung: the watchdog restarts it, nothing lost" shell hang_it
step "a configuration error: 78, and no second try" shell bad_configuration
step "the review folder moved in the TOML: told to write the units, then runs" shell move_review
step "a share that is mounted later" shell late_share
step "reload" shell reload_it
step "a retraining by the path unit, in its slice; killed, and the daemon is told" shell retrain_it
step "backup by its timer's service" shell backup_it
step "rebooted" reboot_it
step "it runs again, and judges" shell after_reboot
step "upgraded, with a new schema" shell upgrade_it
step "an upgrade that does not become ready: back to the release and the database before" shell failing_upgrade
step "an upgrade of a release that fails again and again: the line runs afterwards" shell mending_upgrade
step "an upgrade of a line that somebody stopped: tried, and stopped again" shell upgrade_of_a_stopped
step "uninstalled: what belongs to the user stays" shell uninstall_it
echo "all of it in $(since "$BEGAN") s"
