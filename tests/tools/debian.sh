#!/bin/sh
# Makes the programs available that tests hold our work against: Chromium for the pages, xmlsec1 and openssl for
# signatures, certificates, OCSP and time-stamps, SoftHSM for keys in tokens. As root on Debian they are installed where
# they are missing. Never fails: a test that lacks its program says that it was skipped.
set -u

missing=""
# At least one of these programs; the package that brings one.
need() {
    package=$1
    shift
    for program in "$@"; do
        if command -v "$program" >/dev/null 2>&1; then
            return
        fi
    done
    missing="$missing $package"
}

look() {
    missing=""
    need chromium chromium chromium-browser google-chrome
    need xmlsec1 xmlsec1
    need openssl openssl
    need unzip unzip
    need softhsm2 softhsm2-util
}

look
[ -z "$missing" ] && exit 0

if [ "$(id -u)" -eq 0 ] && [ -f /etc/debian_version ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing for the tests:$missing ..."
    log=$(mktemp)
    # One at a time: a package that this Debian lacks mustn't keep the others away.
    apt-get update -q >"$log" 2>&1 </dev/null
    for package in $missing; do
        if ! DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$package" \
            >>"$log" 2>&1 </dev/null; then
            echo "$package could not be installed; the last lines were:"
            tail -n 3 "$log"
        fi
    done
    rm -f "$log"
    look
fi
[ -z "$missing" ] || echo "Tests that need these will be skipped:$missing. (Debian: apt-get install$missing)"
exit 0
