#!/bin/sh
# Makes .venv hold what the locks say, and the two distributions of this checkout. Does nothing when it already does.
set -eu
cd "$(dirname "$0")/.."

stamp=.venv/banyan-stamp
locked=$(cat requirements/tools.lock requirements/dev.lock | sha256sum | cut -c1-64)
project=$(cat pyproject.toml client/pyproject.toml | sha256sum | cut -c1-64)

say() { echo "setup: $*" >&2; }

# The service and its images are written for one Python, bookworm's.
find_python() {
    for candidate in "${PYTHON:-}" python3.11 python3 /usr/bin/python3; do
        if [ -n "$candidate" ] && "$candidate" -c '
import ensurepip, sys, venv
sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

if [ "$(cat $stamp 2>/dev/null)" = "$locked $project" ] && .venv/bin/python -c '' 2>/dev/null; then
    exit 0
fi

if ! .venv/bin/python -c '' 2>/dev/null; then
    python=$(find_python) || {
        scripts/system_packages.sh python3 python3-venv
        python=$(find_python) || {
            say "no Python 3.11 with venv on this machine; name one with PYTHON=/path/to/python3.11"
            exit 1
        }
    }
    say "making .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv
fi

if [ "$(cut -d' ' -f1 $stamp 2>/dev/null)" != "$locked" ]; then
    # A sync removes what the lock lacks, the editable installs too: it must be followed by theirs, below.
    rm -f $stamp
    if ! [ -x .venv/bin/uv ]; then
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/tools.lock
    fi
    say "installing the locked Python packages"
    .venv/bin/uv pip sync --quiet --python .venv/bin/python --require-hashes --compile-bytecode requirements/dev.lock
fi
.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation -e . -e client
echo "$locked $project" >$stamp
say "ready"
