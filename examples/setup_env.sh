#!/usr/bin/env bash
# Make the Python environment that examples/quickstart/run.sh and tests/run.sh use: `.venv` in the
# repository's root. Run again, it does only what is missing; after that it takes a moment.
#
#   MGF_VENV=DIR       use (or make) the environment DIR instead of .venv; a torch in it is kept
#   MGF_PYTHON=PYTHON  the interpreter to make it with (default: the first of python3.12, 3.11, 3.13; if
#                      pip's own folders, PIP_FIND_LINKS, hold torch for some of them, the first of those)
#   MGF_TORCH=SPEC     the torch to install when there is none (default: torch==2.13.0)
#
# pip's own variables choose where packages come from. On a machine without a GPU, set
# PIP_INDEX_URL or PIP_FIND_LINKS to an index with torch's CPU build before the first run: the default
# index has the CUDA build, several GB, which works too. constraints.txt holds all other versions.
#
# On Linux x86-64 with Python 3.12, fairseq comes as a wheel. Elsewhere it is compiled, which takes a
# C++ compiler, Python's headers and some minutes; pip keeps the wheel that comes of it in its cache.
#
# To use an environment of your own with torch and fairseq in it, this script is not needed:
#   pip install --no-build-isolation .
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="${MGF_VENV:-$root/.venv}"
case "$venv" in /*) ;; *) venv="$PWD/$venv" ;; esac
default_torch="torch==2.13.0"
torch_spec="${MGF_TORCH:-$default_torch}"
log="$venv/setup.log"
stamp="$venv/mgf-setup.stamp"
marker="$venv/mgf-setup.made"   # this script made the environment, so it may make it again
need_gb=6
started=$SECONDS
step=0
steps=5

die() {
    printf 'set-up: %s\n' "$1" >&2
    exit 1
}

digest() {
    { cat "$root/setup.py" "$root/constraints.txt" "$root/examples/setup_env.sh"; echo "$torch_spec $root"; } | cksum
}

usable_python() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

# Whether pip finds torch for this Python in folders of its own, without any index: saves gigabytes.
has_torch_at_hand() {
    "$1" -m pip install --dry-run --quiet --no-deps --no-index --ignore-installed "$torch_spec" >/dev/null 2>&1
}

# Whether fairseq-fixed has a wheel for this Python; fairseq is compiled where it has none.
has_fairseq_wheel() {
    "$1" -c 'import platform, sys; sys.exit((sys.version_info[:2], platform.system(), platform.machine()) != ((3, 12), "Linux", "x86_64"))'
}

find_python() {
    local candidate found=()
    if [ -n "${MGF_PYTHON:-}" ]; then
        usable_python "$MGF_PYTHON" || die "MGF_PYTHON=$MGF_PYTHON is not Python 3.11, 3.12 or 3.13; set it to one of these."
        echo "$MGF_PYTHON"
        return
    fi
    for candidate in python3.12 python3.11 python3.13 python3; do
        if usable_python "$candidate"; then found+=("$candidate"); fi
    done
    for candidate in ${found[@]+"${found[@]}"}; do
        if has_torch_at_hand "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    if [ ${#found[@]} -gt 0 ]; then
        echo "${found[0]}"
        return
    fi
    die "no Python 3.11 to 3.13 found; install one (Debian, Ubuntu: apt install python3.11-dev python3.11-venv) or name it with MGF_PYTHON=/path/to/python."
}

check_machine() {   # $1: the interpreter that will build
    local probe free_kb folder
    "$1" -c 'import venv, ensurepip' >/dev/null 2>&1 || [ -x "$venv/bin/python" ] ||
        die "$1 cannot make environments; install its venv package (Debian, Ubuntu: apt install python3-venv)."
    if ! has_fairseq_wheel "$1" && ! "$1" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("fairseq") is None)' >/dev/null 2>&1; then
        probe="$(mktemp -d)"
        echo 'int main() { return 0; }' >"$probe/probe.cpp"
        "${CXX:-c++}" "$probe/probe.cpp" -o "$probe/probe" >/dev/null 2>&1 ||
            { rm -rf "$probe"; die "no working C++ compiler (tried ${CXX:-c++}), and fairseq is compiled here; install one (Debian, Ubuntu: apt install g++) or name it with CXX."; }
        rm -rf "$probe"
        "$1" -c 'import os, sys, sysconfig; sys.exit(not os.path.isfile(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
            die "the headers of $1 (Python.h) are missing; install them (Debian, Ubuntu: apt install python3-dev)."
    fi
    folder="$venv"
    while [ ! -d "$folder" ]; do folder="$(dirname "$folder")"; done
    [ -w "$folder" ] || die "$folder is not writable; set MGF_VENV to a folder that is."
    free_kb="$(df -Pk "$folder" | awk 'NR == 2 { print $4 }')"
    [ "$free_kb" -ge $((need_gb * 1024 * 1024)) ] ||
        die "$((free_kb / 1024 / 1024)) GB free at $folder, $need_gb GB needed; free some space or set MGF_VENV to a folder on another disk."
}

elapsed() { printf '%d:%02d' $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60)); }

run_step() {   # $1: what it does, then the command; its output goes to the log
    local title="$1" begun=$SECONDS told=$SECONDS worker
    shift
    step=$((step + 1))
    printf '[%d/%d %s] %s\n' "$step" "$steps" "$(elapsed)" "$title"
    printf '\n### %s: %s\n' "$title" "$*" >>"$log"
    set -m   # a process group of its own, so that an interruption ends pip and its compilers too
    "$@" >>"$log" 2>&1 </dev/null &
    worker=$!
    set +m
    trap 'kill -- "-$worker" 2>/dev/null || true; die "interrupted; run the same command again to resume."' INT TERM HUP
    while kill -0 "$worker" 2>/dev/null; do
        sleep 0.5
        if [ $((SECONDS - told)) -ge 20 ]; then
            told=$SECONDS
            printf '[%d/%d %s]   still running (%d s): %s\n' "$step" "$steps" "$(elapsed)" \
                $((SECONDS - begun)) "$(grep -v ^WARNING "$log" | tail -n 1 | tr -d '\r' | cut -c 1-80)"
        fi
    done
    if ! wait "$worker"; then
        printf '%s\n' '----- the end of the log -----' >&2
        tail -n 30 "$log" >&2
        die "\"$title\" failed; the whole log is $log. After fixing the cause, run the same command again: it resumes here (if that fails too, remove $venv first)."
    fi
    trap - INT TERM HUP
}

install_torch() {
    "$venv/bin/python" -c 'import torch' 2>/dev/null && { echo "torch is here and is kept"; return; }
    local pins=()
    # The pins of sympy and the like fit this version; another one chooses its own.
    if [ "$torch_spec" = "$default_torch" ]; then pins=(-c "$root/constraints.txt"); fi
    "$venv/bin/python" -m pip install ${pins[@]+"${pins[@]}"} "$torch_spec"
    # An interrupted installation can look complete to pip.
    "$venv/bin/python" -c 'import torch' ||
        "$venv/bin/python" -m pip install --force-reinstall ${pins[@]+"${pins[@]}"} "$torch_spec"
}

write_constraints() {
    # Versions of torch and its requirements stay; constraints.txt has the others.
    "$venv/bin/python" - "$root/constraints.txt" "$venv/mgf-constraints.txt" <<'PY'
import re
import sys
from importlib import metadata


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


held, queue = {}, ["torch"]
while queue:
    name = normal(queue.pop())
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        continue
    if name in held:
        continue
    held[name] = found.version
    for requirement in found.requires or []:
        if "extra ==" not in requirement:
            queue.append(re.match(r"[\w.-]+", requirement)[0])
held.pop("setuptools", None)
lines = open(sys.argv[1]).read().splitlines()
kept = [line for line in lines if normal(line.split("==")[0]) not in held]
with open(sys.argv[2], "w") as out:
    out.write("\n".join(kept + [f"{name}=={version}" for name, version in held.items()]) + "\n")
PY
}

pip_install() { "$venv/bin/python" -m pip install --no-build-isolation -c "$venv/mgf-constraints.txt" "$@"; }

install_build_tools() {
    write_constraints
    pip_install setuptools wheel ninja numpy cython
}

install_fairseq() {
    local jobs
    jobs="$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)"
    # constraints.txt names the version, setup.py the range.
    MAX_JOBS="${MAX_JOBS:-$jobs}" PATH="$venv/bin:$PATH" pip_install fairseq-fixed
}

install_project() {
    # Without a wheel for this Python (3.13) it needs a build system that only isolation fetches.
    "$venv/bin/python" -m pip install -c "$venv/mgf-constraints.txt" editdistance
    pip_install -e "$root[demo,test]"
    (cd / && "$venv/bin/python" -c 'import fairseq, numpy, soundfile, soxr, torch')
}

is_complete() { [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(digest)" ] && [ -x "$venv/bin/python" ]; }

take_turn() {   # tests and quickstart may be started at the same time
    command -v flock >/dev/null || return 0
    exec 9>"$venv/mgf-setup.lock"
    flock -n 9 || { echo "set-up: another set-up works on $venv; waiting for it"; flock 9; }
}

main() {
    local python fairseq_how="compiled, some minutes, unless pip has kept its wheel"
    is_complete && return
    if [ -x "$venv/bin/python" ] && usable_python "$venv/bin/python"; then
        python="$venv/bin/python"
    elif [ -e "$venv" ] && [ ! -f "$marker" ] && [ -n "$(ls -A "$venv" | grep -v mgf-setup.lock)" ]; then
        die "$venv exists and holds no Python 3.11 to 3.13 environment; move it away or set MGF_VENV."
    else
        python="$(find_python)"
    fi
    check_machine "$python"
    mkdir -p "$venv"
    take_turn
    is_complete && return
    if [ -x "$venv/bin/python" ] && usable_python "$venv/bin/python"; then
        python="$venv/bin/python"
    else   # empty, or a broken one of our own
        find "$venv" -mindepth 1 ! -name mgf-setup.lock -delete
        touch "$marker"
    fi
    printf 'set-up: %s in %s\n' "$("$python" --version)" "$venv"
    if has_fairseq_wheel "$python"; then fairseq_how="a wheel"; fi
    printf '        needed once; fairseq: %s; log: %s\n' "$fairseq_how" "$log"
    if [ "$python" != "$venv/bin/python" ]; then
        run_step "make the environment" "$python" -m venv "$venv"
    elif ! "$python" -m pip --version >/dev/null 2>&1; then
        run_step "complete the environment" "$python" -m ensurepip
    else
        run_step "the environment exists" true
    fi
    run_step "torch ($torch_spec, unless one is here)" install_torch
    run_step "build tools" install_build_tools
    run_step "fairseq-fixed ($fairseq_how)" install_fairseq
    run_step "mgf_fairseq and what it needs" install_project
    digest >"$stamp"
    printf 'set-up: done in %s\n' "$(elapsed)"
}

main
