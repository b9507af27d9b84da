#!/bin/sh
# Installs the named Debian packages, or says in one line how to: only root may, and only apt is spoken.
set -eu

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "missing on this machine: $*. Install with: sudo apt-get install -y --no-install-recommends $*" >&2
    exit 1
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
quietly() {
    DEBIAN_FRONTEND=noninteractive "$@" </dev/null >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        echo "\`$*\` failed; its last words are above" >&2
        exit 1
    }
}

echo "installing $* with apt ..." >&2
quietly apt-get update -q
quietly apt-get install -y -q --no-install-recommends "$@"
echo "installed $*" >&2
