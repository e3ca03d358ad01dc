#!/bin/sh
# Makes Chromium available for the browser test where that is possible without asking: as root on Debian. Never fails: the
# test itself says that it was skipped when there is no browser.
set -u

for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null 2>&1; then
        exit 0
    fi
done

if [ "$(id -u)" -eq 0 ] && [ -f /etc/debian_version ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing Chromium for the browser test ..."
    log=$(mktemp)
    if { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends chromium; } \
        >"$log" 2>&1 </dev/null; then
        rm -f "$log"
        exit 0
    fi
    echo "Chromium could not be installed; the last lines were:"
    tail -n 3 "$log"
    rm -f "$log"
fi
echo "No Chromium here: the browser test will be skipped. (Debian: apt-get install chromium)"
