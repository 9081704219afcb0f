#!/usr/bin/env bash
# Builds, on a connected machine, an archive that installs where there is no network. The line PC needs the
# same processor family and the same Python (3.11 is not 3.12) as PYTHON here. TORCH_BACKEND=cpu for one without
# CUDA. OUT: where to (build/bundle).
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"

OUT=${OUT:-$SOURCE/build/bundle}
TORCH_BACKEND=${TORCH_BACKEND:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
name=millwatch-$(sed -n 's/^version = "\(.*\)"/\1/p' "$SOURCE/pyproject.toml")-$(
    "$PYTHON" -c 'import platform, sys; print(f"py{sys.version_info[0]}{sys.version_info[1]}-{platform.machine()}")'
)${TORCH_BACKEND:+-$TORCH_BACKEND}
tree=$work/$name
mkdir -p "$tree/wheels" "$OUT"
(cd "$SOURCE" && cp -r "${PACKAGES[@]}" systemd docs pyproject.toml Makefile README.md CHANGELOG.md LICENSE \
    requirements.lock requirements-line.lock "$tree/")
find "$tree" -name __pycache__ -prune -exec rm -rf {} +
WHEELS=$work/none find_uv "$work"
index=()
if [ -n "$TORCH_BACKEND" ]; then
    grep -oE '^[A-Za-z0-9._-]+==[^ ;\\]+' "$SOURCE/requirements-line.lock" >"$work/constraints.txt"
    "$UV" pip compile --quiet --python "$PYTHON" "--torch-backend=$TORCH_BACKEND" --constraints "$work/constraints.txt" \
        --extra line --generate-hashes --no-header --no-annotate --output-file "$tree/wheels/requirements.lock" "$SOURCE/pyproject.toml"
    index=(--extra-index-url "https://download.pytorch.org/whl/$TORCH_BACKEND")
else
    cp "$SOURCE/requirements-line.lock" "$tree/wheels/requirements.lock"
fi
say "$TORCH_BACKEND" >"$tree/wheels/torch-backend"
"$PYTHON" -m venv "$work/pip"
download=("$work/pip/bin/python" -m pip --disable-pip-version-check download --quiet --only-binary=:all: --dest "$tree/wheels")
"${download[@]}" --no-deps --require-hashes "${index[@]}" --requirement "$tree/wheels/requirements.lock"
"${download[@]}" --no-deps "uv==$(sed -n 's/^UV_VERSION := //p' "$SOURCE/Makefile")"
# The wheels are compressed already.
tar -C "$work" -cf "$OUT/$name.tar" "$name"
(cd "$OUT" && sha256sum "$name.tar" >"$name.tar.sha256")
say "$OUT/$name.tar ($(du -h "$OUT/$name.tar" | cut -f1)). On the line PC, as root:"
say "  sha256sum -c $name.tar.sha256 && tar xf $name.tar && $name/systemd/install.sh"
