# shellcheck shell=bash
# What install.sh, upgrade.sh and uninstall.sh share. A release is one environment with everything in it:
# $PREFIX/releases/<version>-<digest of what it was made from>; `current` points to the one that serves.

SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
DESTDIR=${DESTDIR:-}                 # packaging: files only, under this folder
CONFIGURE=$DESTDIR/usr/local/sbin/millwatch-configure
# What is installed stays where it is.
PREFIX=${PREFIX:-$({ readlink "$CONFIGURE" || true; } | sed 's|/current/.*||')}
PREFIX=${PREFIX:-/opt/millwatch}
PYTHON=${PYTHON:-python3}
WHEELS=${WHEELS:-$SOURCE/wheels}     # of a bundle; where there are none, they are fetched
BACKEND=share/millwatch/torch-backend # below a release: the TORCH_BACKEND that it was made with
GPU=${GPU:-}                         # 1: let the units at the card
CONFIG=/etc/millwatch/millwatch.toml
UNITS=/etc/systemd/system
PACKAGES=(config models training daemon migrations)
OURS=(millwatch.service millwatch-retrain.path millwatch-retrain.service millwatch-retrain.slice
    millwatch-backup.service millwatch-backup.timer)

rebuilt=

# Whatever the shell of whoever installs: the service's user is to read all of it.
umask 022

say() { printf '%s\n' "$*"; }

fail() {
    printf 'millwatch: %s\n' "$*" >&2
    exit 1
}

must_be_root() {
    [ "$(id -u)" = 0 ] || [ -n "$DESTDIR" ] || fail "this makes a system user and units: run it as root"
}

has_systemd() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; }

as_millwatch() { setpriv --reuid=millwatch --regid=millwatch --init-groups --reset-env "$@"; }

# As in the Makefile: a bundle was made with its own, and what is installed keeps its own.
kept_backend() {
    cat "$WHEELS/torch-backend" 2>/dev/null || cat "$DESTDIR$PREFIX/current/$BACKEND" 2>/dev/null || true
}

# Of everything that a release is made from, wherever that lies.
release_id() {
    local version digest lock
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$SOURCE/pyproject.toml")
    lock=$(lock_file)
    digest=$(cd "$SOURCE" && {
        find "${PACKAGES[@]}" systemd docs pyproject.toml README.md CHANGELOG.md LICENSE -type f ! -path '*/__pycache__/*' -print0
    } | LC_ALL=C sort -z | xargs -0 sha256sum | { cat; sha256sum <"$lock"; say "$TORCH_BACKEND"; } | sha256sum)
    say "$version-${digest:0:10}"
}

lock_file() {
    if [ -e "$WHEELS/requirements.lock" ]; then say "$WHEELS/requirements.lock"; else say "$SOURCE/requirements-line.lock"; fi
}

# $1: a folder for what is fetched or unpacked. Leaves the program's path in UV.
find_uv() {
    local version wheel
    [ -z "${UV:-}" ] || return 0
    version=$(sed -n 's/^UV_VERSION := //p' "$SOURCE/Makefile")
    wheel=$(find "$WHEELS" -maxdepth 1 -name "uv-$version-*.whl" 2>/dev/null | head -n 1 || true)
    if [ -n "$wheel" ]; then
        "$PYTHON" -m zipfile -e "$wheel" "$1/uv"
        UV=$1/uv/uv-$version.data/scripts/uv
        chmod +x "$UV"
    else
        "$PYTHON" -m venv "$1/uv" || fail "Python has no venv; on Debian: apt install python3-venv"
        "$1/uv/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$version"
        UV=$1/uv/bin/uv
    fi
}

# $1: the release's folder. Whether the files of its packages are there, and as long as they were.
is_whole() {
    [ -x "$1/bin/python" ] && [ -e "$1/share/millwatch/systemd/configure.sh" ] && "$PYTHON" -I -c '
import csv, pathlib, sys
for record in pathlib.Path(sys.argv[1]).glob("lib/python3*/site-packages/*.dist-info/RECORD"):
    for path, _, size in csv.reader(record.open(encoding="utf-8", newline="")):
        if size and (record.parents[1] / path).stat().st_size != int(size):
            sys.exit(f"{path} is not what was installed")' "$1" 2>/dev/null
}

# $1: the release's folder, which then is whole.
build_release() {
    local release=$1 part=$1.part work offline=()
    if [ -e "$release" ]; then
        ! is_whole "$release" || return 0
        say "files of it are lost: it is built anew"
        # shellcheck disable=SC2034 # install.sh tells of it
        rebuilt=1
    fi
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Millwatch needs Python 3.11 or later; name one with PYTHON=/path/to/python3"
    case $("$PYTHON" -c 'import os, sys; print(os.path.realpath(sys.executable))') in
        /root/* | /home/*) fail "$PYTHON lies in somebody's home, which the service cannot see; PYTHON=/usr/bin/python3?" ;;
    esac
    work=$(mktemp -d)
    # shellcheck disable=SC2064 # the folder of now
    trap "rm -rf '$work' '$part'" EXIT
    rm -rf "$part"
    mkdir -p "$(dirname "$part")"
    # A copy, so that nothing is written into the tree that is installed from.
    mkdir "$work/source"
    (cd "$SOURCE" && cp -r "${PACKAGES[@]}" pyproject.toml README.md LICENSE "$work/source/")
    find_uv "$work"
    export UV_PYTHON_DOWNLOADS=never UV_NO_CONFIG=1 UV_COMPILE_BYTECODE=${UV_COMPILE_BYTECODE:-1}
    "$UV" venv --quiet --relocatable --python "$PYTHON" "$part"
    if [ -e "$WHEELS/requirements.lock" ]; then
        offline=(--offline --no-index --find-links "$WHEELS")
        "$UV" pip install --quiet --python "$part/bin/python" "${offline[@]}" --require-hashes -r "$WHEELS/requirements.lock"
    elif [ -n "$TORCH_BACKEND" ]; then
        # Hashes are not checked for PyTorch's own index; versions are those of the lock.
        grep -oE '^[A-Za-z0-9._-]+==[^ ;\\]+' "$SOURCE/requirements-line.lock" >"$work/constraints.txt"
        "$UV" pip install --quiet --python "$part/bin/python" "--torch-backend=$TORCH_BACKEND" \
            --constraints "$work/constraints.txt" "${work}/source[line]"
        "$UV" pip uninstall --quiet --python "$part/bin/python" millwatch
    else
        "$UV" pip install --quiet --python "$part/bin/python" --require-hashes -r "$SOURCE/requirements-line.lock"
    fi
    "$UV" pip install --quiet --python "$part/bin/python" --offline --no-index --no-deps --no-build-isolation "$work/source"
    mkdir -p "$part/share/millwatch"
    (cd "$SOURCE" && cp -r systemd docs README.md CHANGELOG.md LICENSE config/millwatch.example.toml "$part/share/millwatch/")
    say "$TORCH_BACKEND" >"$part/$BACKEND"
    chmod -R go+rX "$part"
    # Else a power cut soon after leaves a release of empty files.
    [ -n "$DESTDIR" ] || sync -f "$part"
    [ ! -e "$release" ] || mv "$release" "$release.lost"
    mv "$part" "$release"
    rm -rf "$work" "$release.lost"
    trap - EXIT
}

# Everybody in the plant may read programs; what belongs to Millwatch is the accounts' and the folders'.
install_accounts() {
    local share=$1/share/millwatch/systemd
    install -Dm 644 "$share/sysusers.d/millwatch.conf" "$DESTDIR/usr/local/lib/sysusers.d/millwatch.conf"
    install -Dm 644 "$share/tmpfiles.d/millwatch.conf" "$DESTDIR/usr/local/lib/tmpfiles.d/millwatch.conf"
    [ -z "$DESTDIR" ] || return 0
    systemd-sysusers /usr/local/lib/sysusers.d/millwatch.conf
    systemd-tmpfiles --create /usr/local/lib/tmpfiles.d/millwatch.conf
}

# A first configuration, which works as it is: one camera. One that is there stays as it is.
install_configuration() {
    local file=$DESTDIR$CONFIG
    [ ! -e "$file" ] || return 0
    install -d -m 755 "$(dirname "$file")"
    [ -n "$DESTDIR" ] || install -d -o root -g millwatch -m 2775 /srv/millwatch/cameras/top-1
    sed -e 's|^folder = "/srv/cameras/top-1"|folder = "/srv/millwatch/cameras/top-1"|' \
        -e 's|^# folder = "/var/lib/millwatch/review"|folder = "/srv/millwatch/review"|' \
        "$1/share/millwatch/millwatch.example.toml" >"$file.part"
    chmod 640 "$file.part"
    [ -n "$DESTDIR" ] || chgrp millwatch "$file.part"
    mv "$file.part" "$file"
}

# $1: the release whose units serve from now on.
install_units() {
    local unit share=$1/share/millwatch/systemd
    for unit in "${OURS[@]}"; do
        install -d -m 755 "$DESTDIR$UNITS"
        sed "s|/opt/millwatch/|$PREFIX/|g" "$share/$unit" >"$DESTDIR$UNITS/.$unit"
        chmod 644 "$DESTDIR$UNITS/.$unit"
        mv "$DESTDIR$UNITS/.$unit" "$DESTDIR$UNITS/$unit"
    done
    for unit in millwatch.service millwatch-retrain.service; do
        if [ "$GPU" = 1 ] || [ -e "$DESTDIR$UNITS/$unit.d/60-gpu.conf" ]; then
            install -Dm 644 "$share/millwatch-gpu.conf" "$DESTDIR$UNITS/$unit.d/60-gpu.conf"
        fi
    done
    install -d -m 755 "$DESTDIR/usr/local/bin"
    sed "s|/opt/millwatch/|$PREFIX/|g" "$share/millwatch.sh" >"$DESTDIR/usr/local/bin/millwatch"
    chmod 755 "$DESTDIR/usr/local/bin/millwatch"
    install -d -m 755 "$(dirname "$CONFIGURE")"
    ln -sfn "$PREFIX/current/share/millwatch/systemd/configure.sh" "$CONFIGURE"
}

# Drop-ins for the configuration as it is now, and a review folder that people may move files in.
apply_configuration() {
    local release=$1 review said status=0
    [ -z "$DESTDIR" ] || return 0
    # What is wrong with it, `can_serve` says; what is right is written all the same.
    said=$("$release/bin/millwatch" check --config "$CONFIG" --write-unit "$UNITS" 2>&1 >/dev/null) || status=$?
    case $status in 0 | 78) ;; *) say "$said" >&2 ;; esac
    review=$(setting "$release" review_folder) || review=
    # On a share that hangs, neither a look nor what would make the folder ends; while the line stands still.
    # shellcheck disable=SC2016 # of the shell inside
    [ -z "$review" ] || timeout --signal=KILL 2 sh -c \
        '[ -e "$1" ] || install -d -m 2770 -o millwatch -g millwatch-review "$1"' sh "$review" || status=$?
    [ "$status" != 137 ] || say "$review does not answer; it is not waited for"
    if has_systemd; then systemctl daemon-reload; fi
}

# $1: a release. Whether it would start with the configuration; says why not. A share that is away is waited for.
can_serve() {
    as_millwatch "$1/bin/millwatch" check --config "$CONFIG" ||
        { as_millwatch "$1/bin/millwatch" check --config "$CONFIG" --json 2>/dev/null || true; } | "$1/bin/python" -I -c '
import json, sys
sys.exit(not all(each["again_helps"] for each in json.load(sys.stdin)))'
}

# $1: a release. $2: what to ask its settings for. Isolated (-I): `make upgrade` is called in a tree that has a
# `config` of its own.
setting() {
    "$1/bin/python" -I -c "
import os, pathlib, sys
from config.loading import load_settings
print(getattr(load_settings(pathlib.Path(sys.argv[1]), os.environ), sys.argv[2]))" "$CONFIG" "$2" 2>/dev/null
}

# By the name that it was made under, though a folder above it is a link.
current_release() {
    local link=$DESTDIR$PREFIX/current
    [ ! -L "$link" ] || say "$DESTDIR$PREFIX/$(readlink "$link")"
}

switch_to() {
    ln -sfn "releases/$(basename "$1")" "$DESTDIR$PREFIX/.current"
    mv -T "$DESTDIR$PREFIX/.current" "$DESTDIR$PREFIX/current"
}
