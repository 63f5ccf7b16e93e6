#!/bin/sh
# Makes sure that Python 3.11 to 3.13 with venv, and an ngspice with the KLU solver (42 or later), are on this machine;
# and, where that is easy, a C compiler, which builds the memristors that move as compiled devices, and cairo's and
# Python's headers, with which pip builds pycairo for badcrossbar, a solver that tests compare with.
# Installs Debian packages where it may; where it may not, says exactly what to install. Usage: setup_system.sh
set -eu

ngspice_version() { ngspice --version 2>/dev/null | sed -n 's/.*ngspice-\([0-9][0-9]*\).*/\1/p' | head -n 1; }
have_ngspice() {
    v=$(ngspice_version)
    [ -n "$v" ] && [ "$v" -ge 42 ] && { ldconfig -p 2>/dev/null || /sbin/ldconfig -p; } | grep -q libngspice
}
have_venv() { "${PYTHON:-python3}" -c 'import ensurepip, venv, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

cc_command=${CC:-cc}
have_compiler() { command -v "${cc_command%% *}" >/dev/null 2>&1; }

have_headers() {
    pkg-config --exists cairo 2>/dev/null && "${PYTHON:-python3}" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' 2>/dev/null
}

have_ngspice && have_venv && have_compiler && have_headers && exit 0

. /etc/os-release 2>/dev/null || true
codename=${VERSION_CODENAME:-}
say_how() {
    echo "hvae-mnn needs Python 3.11 to 3.13 with venv, and ngspice 42 or later with its shared library (libngspice)." >&2
    echo "$1" >&2
    case "${ID:-}${codename}" in
    debianbookworm)
        echo "As root: add Debian's suite bookworm-backports to the apt sources, then run" >&2
        echo "  apt-get update && apt-get install -y python3-venv && apt-get install -y -t bookworm-backports --no-install-recommends ngspice libngspice0" >&2 ;;
    *)  echo "As root, with the system's packages: apt-get install python3-venv ngspice libngspice0 (Debian 13, Ubuntu 24.04 or later)," >&2
        echo "or the ngspice packages of your distribution, or Homebrew's: brew install ngspice libngspice" >&2 ;;
    esac
    echo "Then run make again." >&2
    exit 1
}

may_install() { command -v apt-get >/dev/null 2>&1 && { [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null; }; }
if have_ngspice && have_venv && ! may_install; then
    have_compiler || echo "Note: there is no C compiler; memristors that move run as subcircuits only, which is slow. Debian: apt-get install gcc libc6-dev" >&2
    exit 0
fi

command -v apt-get >/dev/null 2>&1 || say_how "This system has no apt-get, so make cannot install them itself."
if [ "$(id -u)" -eq 0 ]; then as_root=""
elif command -v sudo >/dev/null 2>&1 && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then as_root="sudo"
else say_how "This user may not install system packages."; fi

$as_root apt-get update -qq
have_venv || $as_root apt-get install -y -qq --no-install-recommends python3-venv
have_compiler || $as_root apt-get install -y -qq --no-install-recommends gcc libc6-dev
# Python's headers are Debian's for Debian's Python; another Python brings its own. Nothing but a comparison needs them.
have_headers || $as_root apt-get install -y -qq --no-install-recommends libcairo2-dev pkg-config python3-dev || true
if ! have_ngspice; then
    suite=""
    if [ "${ID:-}" = debian ] && [ "$codename" = bookworm ]; then
        suite=bookworm-backports
        if ! apt-get indextargets --format '$(RELEASE)' | grep -qx "$suite"; then
            # The mirror is the one the machine already uses for its own suite.
            mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' | sed -n "s/ $codename\$//p" | head -n 1)
            [ -n "$mirror" ] || say_how "No apt source for $codename was found."
            echo "deb $mirror $suite main" | $as_root tee /etc/apt/sources.list.d/hvae-mnn-backports.list >/dev/null
            $as_root apt-get update -qq
        fi
    fi
    # shellcheck disable=SC2086
    $as_root apt-get install -y -qq ${suite:+-t $suite} --no-install-recommends ngspice libngspice0
fi
have_ngspice || say_how "The installed ngspice ($(ngspice_version)) is older than 42, or its shared library is missing."
have_venv || say_how "Python 3.11 to 3.13 with venv was not found; name one with PYTHON=/path/to/python3.12."
