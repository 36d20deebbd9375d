# shellcheck shell=sh
# What ./demo and ./test share: Deskside in .venv, and how to become root. Sourced, never run.

need_root() {
    [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null || {
        echo "This needs root or passwordless sudo: it boots virtual hosts on this machine." >&2
        exit 1
    }
}

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -E "$@"; fi; }

# A Python of 3.11 or newer that can make a virtual environment.
find_python() {
    for python in python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
}

# prepare runtime|dev: make .venv hold Deskside and the pinned requirements; nothing when it does already.
prepare() {
    wanted="$(cat "requirements/$1.txt" pyproject.toml | sha256sum | cut -c1-64)"
    [ "$(cat ".venv/deskside-$1" 2>/dev/null)" = "$wanted" ] && return
    python="$(find_python)"
    if [ -z "$python" ]; then
        need_root
        echo "Installing Python 3 with venv ..."
        as_root apt-get -q update >/dev/null
        DEBIAN_FRONTEND=noninteractive as_root apt-get -qy install python3 python3-venv >/dev/null
        python="$(find_python)"
        [ -n "$python" ] || { echo "Deskside needs Python 3.11 or newer with venv." >&2; exit 1; }
    fi
    echo "Preparing .venv ($1) ..."
    [ -x .venv/bin/python ] && .venv/bin/python -c 'import pip' 2>/dev/null || "$python" -m venv --clear .venv
    .venv/bin/pip -q install --require-hashes -r "requirements/$1.txt"
    # hatchling is pinned in requirements/dev.txt; an editable install of the package itself needs no index.
    .venv/bin/pip -q install --require-hashes -r requirements/build.txt
    .venv/bin/pip -q install --no-deps --no-build-isolation -e .
    echo "$wanted" >".venv/deskside-$1"
}
