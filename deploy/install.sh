#!/bin/sh
# Installs edge-agent as a service on Debian 12 or newer, Raspberry Pi OS and their kin.
# Running it again upgrades, or mends what is missing; what is right already is left alone.
#
#   sudo deploy/install.sh [options]
#     --wheels DIR        take all packages from this folder (see deploy/fetch-wheels); needs no network then
#     --accelerator NAME  allow a device to the service: edgetpu, or a file in deploy/accelerators without its .conf
#     --plugin PATH       install this plugin, too: a folder of plugins/, or a wheel; may be said several times
#     --no-start          install only
#     --root DIR          put everything below DIR and start nothing; for tests and images
#   sudo deploy/install.sh --rollback             back to the program before the last upgrade; data stays
#   sudo deploy/install.sh --uninstall [--purge]  the program goes; with --purge the samples, versions and the user, too
set -eu
umask 022 # the service runs as another user, and must be able to read what root installs
here=$(dirname -- "$(readlink -f -- "$0")")
source=$(dirname -- "$here")

say() {
    printf 'edge-agent: %s\n' "$1"
}

stop() {
    printf 'install.sh: %s\n' "$1" >&2
    exit 1
}

mode=install bits='' wheels='' accelerators='' plugins='' start=yes purge='' into=''
while [ $# -gt 0 ]; do
    case $1 in
        --wheels | --accelerator | --plugin | --root)
            [ $# -ge 2 ] || stop "$1 needs a value"
            case $1 in
                --wheels)
                    [ -d "$2" ] || stop "$2: there is no such folder"
                    wheels=$(readlink -f -- "$2")
                    ;;
                --accelerator) accelerators="$accelerators $2" ;;
                --plugin)
                    [ -e "$2" ] || stop "$2: there is no such plugin"
                    plugins="$plugins$(readlink -f -- "$2")
"
                    ;;
                --root)
                    [ -d "$2" ] || stop "$2: there is no such folder"
                    into=$(readlink -f -- "$2")
                    ;;
            esac
            shift
            ;;
        --no-start) start='' ;;
        --rollback) mode=rollback ;;
        --uninstall) mode=uninstall ;;
        --purge) purge=yes ;;
        -h | --help)
            sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"
            exit 0
            ;;
        *) stop "there is no option $1 (see --help)" ;;
    esac
    shift
done
[ -z "$purge" ] || [ "$mode" = uninstall ] || stop "--purge goes with --uninstall"
[ -n "$into" ] || [ "$(id -u)" -eq 0 ] || stop "must be run by root: sudo $0"
[ -n "$into" ] || ! dpkg-query -W -f '${Status}' edge-agent 2>/dev/null | grep -q '^install ok installed' ||
    stop "edge-agent is installed as a Debian package; use apt, or apt remove edge-agent first"

program=$into/opt/edge-agent     # a link to the release that runs
releases=$into/opt/edge-agent.d  # this one and the one before
unit=$into/etc/systemd/system/edge-agent.service
drop_ins=$unit.d
sysusers=$into/etc/sysusers.d/edge-agent.conf
tmpfiles=$into/etc/tmpfiles.d/edge-agent.conf
rules=$into/etc/udev/rules.d
state=$into/var/lib/edge-agent
backups=$into/var/backups/edge-agent

# live COMMAND...: only where this system runs by systemd and is the one to be installed to.
live() {
    [ -z "$into" ] && [ -d /run/systemd/system ] || return 0
    "$@"
}

# point LINK TARGET: replaces a link in one step.
point() {
    ln -sfn -- "$2" "$1.new"
    mv -T -- "$1.new" "$1"
}

# put FILE PLACE: copies a file that is not there or another one.
put() {
    cmp -s -- "$1" "$2" && return
    mkdir -p -- "$(dirname -- "$2")"
    install -m 0644 -- "$1" "$2"
    changed=yes
}

uninstall() {
    live systemctl disable --now edge-agent 2>/dev/null || true
    rm -rf -- "$program" "$releases" "$unit" "$drop_ins" "$sysusers" "$tmpfiles"
    rm -f -- "$rules"/60-edge-agent-*.rules
    live systemctl daemon-reload
    if [ -z "$purge" ]; then
        say "the program is gone; samples and versions are still in $state, backups in $backups"
        return
    fi
    rm -rf -- "$state"
    rmdir -- "$backups" 2>/dev/null || [ ! -e "$backups" ] || say "backups are yours to remove: $backups"
    if [ -z "$into" ] && id edge-agent >/dev/null 2>&1; then
        userdel edge-agent || say "the user edge-agent could not be removed"
    fi
    say "nothing is left"
}

rollback() {
    [ -L "$releases/previous" ] || stop "there is no earlier release here"
    now=$(readlink -- "$program") before=$(readlink -- "$releases/previous")
    live systemctl stop edge-agent
    point "$program" "edge-agent.d/$before"
    point "$releases/previous" "${now#edge-agent.d/}"
    live systemctl start edge-agent
    say "$("$program/bin/edge-agent" --version) runs again; --rollback once more returns to the newer one"
}

# find_python: sets $python, $version and $arch, or says what to install.
find_python() {
    python=${PYTHON:-python3}
    facts=$("$python" -c 'import platform, struct, sys
arch = platform.machine()
if arch == "aarch64" and struct.calcsize("P") == 4: arch = "armv7l"  # a 64-bit kernel under a 32-bit system
print("%d.%d" % sys.version_info[:2], arch)' 2>/dev/null) || stop "there is no python3; install it: apt install python3 python3-venv"
    version=${facts% *} arch=${facts#* }
    lock=$here/locks/$arch-py$version.txt
    [ -e "$lock" ] || stop "there is no lock for $arch and Python $version; deploy/locks has: $(cd "$here/locks" && echo *-py*)"
    "$python" -c 'import venv, ensurepip' 2>/dev/null || stop "$python lacks the venv module: apt install python3-venv"
    if [ "$arch" = armv7l ]; then
        # A 64-bit kernel tells 32-bit programs that they are of 64 bits; see docs/platforms.md.
        [ "$(uname -m)" = armv7l ] || bits=linux32
        export _PYTHON_HOST_PLATFORM=linux-armv7l
        "$python" -c 'import numpy, PIL' 2>/dev/null ||
            stop "32-bit ARM uses Debian's numpy and Pillow: apt install python3-numpy python3-pil python3-dev gcc"
    fi
}

# fingerprint: of all that makes a release; the same one is not installed twice.
fingerprint() {
    {
        cat -- "$lock" "$here/locks/build.txt" "$source/pyproject.toml"
        find "$source/edge_agent" -type f ! -name '*.pyc' -exec sha256sum {} + | sort
        printf '%s' "$plugins" | while IFS= read -r path; do
            find "$path" -type f ! -name '*.pyc' -exec sha256sum {} + | sort
        done
        "$python" -c 'import sys; print(sys.version, sys.executable)'
    } | sha256sum | cut -c 1-12
}

# pip ARGUMENTS...: of the environment in $venv; what it said is shown when it fails.
pip() {
    # shellcheck disable=SC2086  # a command, or nothing
    $bits "$venv/bin/python" -m pip --quiet --disable-pip-version-check "$@" >"$work/pip.log" 2>&1 && return
    tail -n 8 "$work/pip.log" >&2
    stop "pip could not install what is needed; is there a network, and room on the disk?"
}

# make_release: a new environment in $releases/$name; it is there whole or not at all.
make_release() {
    work=$(mktemp -d)
    trap 'rm -rf -- "$work" "$releases/$name"' EXIT
    trap 'exit 1' HUP INT TERM
    set -- --no-deps
    [ -z "$wheels" ] || set -- "$@" --no-index --find-links "$wheels"
    own=$(find "${wheels:-/nonexistent}" -maxdepth 1 -name 'edge_agent-*.whl' 2>/dev/null | sort | tail -n 1)
    if [ -z "$own" ] || [ -n "$plugins" ]; then
        venv=$work/build
        "$python" -m venv "$venv"
        pip install --require-hashes "$@" --requirement "$here/locks/build.txt"
        if [ -z "$own" ]; then
            mkdir "$work/source" # a copy, so that nothing is left in the checkout
            cp -a "$source/edge_agent" "$source/pyproject.toml" "$source/README.md" "$source/LICENSE" "$source/NOTICE" "$work/source/"
            find "$work/source" -name __pycache__ -prune -exec rm -rf {} +
            pip wheel --no-build-isolation --no-deps --wheel-dir "$work/wheels" "$work/source"
            own=$(find "$work/wheels" -name 'edge_agent-*.whl')
        fi
        printf '%s' "$plugins" | while IFS= read -r path; do
            if [ -d "$path" ]; then
                cp -a "$path" "$work/plugin"
                pip wheel --no-build-isolation --no-deps --wheel-dir "$work/plugins" "$work/plugin"
                rm -rf -- "$work/plugin"
            else
                mkdir -p "$work/plugins"
                cp -- "$path" "$work/plugins/"
            fi
        done
    fi
    venv=$releases/$name
    mkdir -p -- "$releases"
    if [ "$arch" = armv7l ]; then
        "$python" -m venv --system-site-packages "$venv"
    else
        "$python" -m venv "$venv"
    fi
    pip install --require-hashes "$@" --requirement "$lock"
    pip install --no-deps --no-index "$own"
    [ ! -d "$work/plugins" ] || pip install --no-deps --no-index "$work/plugins"/*.whl
    "$venv/bin/python" -m compileall -q "$venv/lib" >/dev/null 2>&1 || true # the service writes no caches itself
    "$venv/bin/edge-agent" --version >/dev/null || stop "what was installed does not start"
    sync -f "$venv" 2>/dev/null || true # before the link points to it
    trap - EXIT
    rm -rf -- "$work"
}

install_program() {
    find_python
    name=$version-$(fingerprint)
    if [ "$(readlink -- "$program")" = "edge-agent.d/$name" ] && "$program/bin/edge-agent" --version >/dev/null 2>&1; then
        return
    fi
    if [ "$(readlink -- "$releases/previous")" != "$name" ]; then
        rm -rf -- "${releases:?}/$name" # of an installation that was cut off
        make_release
    fi
    if [ -e "$program" ] && [ ! -L "$program" ]; then # made by hand, before there was this script
        mv -T -- "$program" "$releases/by-hand"
        point "$releases/previous" by-hand
    elif [ -L "$program" ] && [ "$(readlink -- "$program")" != "edge-agent.d/$name" ]; then # else this one was mended
        before=$(readlink -- "$program")
        for plugin in "$program"/lib/python*/site-packages/edge_agent_*.dist-info; do
            file=${plugin##*/}
            [ ! -e "$plugin" ] || [ -n "$(find "$releases/$name" -name "${file%%-*}-*.dist-info")" ] ||
                say "the plugin ${file%%-*} was in the release before and is not in this one; name it with --plugin"
        done
        point "$releases/previous" "${before#edge-agent.d/}"
    fi
    point "$program" "edge-agent.d/$name"
    for old in "$releases"/*/; do
        old=$(basename -- "$old")
        [ "$old" = "$name" ] || [ "$old" = previous ] || [ "$old" = "$(readlink -- "$releases/previous")" ] ||
            rm -rf -- "${releases:?}/$old"
    done
    changed=yes
}

install_all() {
    changed=''
    for name in $accelerators; do
        [ "$name" = edgetpu ] || [ -e "$here/accelerators/$name.conf" ] ||
            stop "no drop-in for $name; there are: edgetpu $(cd "$here/accelerators" && echo *.conf | sed 's/\.conf//g')"
    done
    install_program
    put "$here/edge-agent.service" "$unit"
    put "$here/sysusers.conf" "$sysusers"
    put "$here/tmpfiles.conf" "$tmpfiles"
    for name in $accelerators; do
        system=$source/plugins/edge-agent-edgetpu/edge_agent_edgetpu/system
        case $name in
            edgetpu)
                put "$system/edgetpu.conf" "$drop_ins/edgetpu.conf"
                put "$system/60-edge-agent-edgetpu.rules" "$rules/60-edge-agent-edgetpu.rules"
                ;;
            *)
                put "$here/accelerators/$name.conf" "$drop_ins/$name.conf"
                put "$here/accelerators/60-edge-agent-npu.rules" "$rules/60-edge-agent-npu.rules"
                ;;
        esac
        live udevadm control --reload-rules
        live udevadm trigger
    done
    if [ -z "$into" ]; then
        if command -v systemd-sysusers >/dev/null; then
            systemd-sysusers "$sysusers"
            systemd-tmpfiles --create "$tmpfiles"
        elif ! id edge-agent >/dev/null 2>&1; then
            useradd --system --home-dir /var/lib/edge-agent --shell /usr/sbin/nologin edge-agent
        fi
        install -d -m 0710 -o edge-agent -g edge-agent "$state" # where no systemd makes them
        install -d -m 0700 -o edge-agent -g edge-agent "$backups"
    fi
    live systemctl daemon-reload
    if [ -n "$start" ]; then
        live systemctl enable edge-agent
        [ -z "$changed" ] || live systemctl restart edge-agent
        live systemctl start edge-agent
    fi
    if [ -n "$changed" ]; then
        say "$("$program/bin/edge-agent" --version) is installed in $program"
    else
        say "everything was in its place already"
    fi
    if [ -n "$into" ] || [ ! -d /run/systemd/system ]; then
        say "systemd does not run here, so the service was not started"
    fi
}

case $mode in
    install) install_all ;;
    rollback) rollback ;;
    uninstall) uninstall ;;
esac
