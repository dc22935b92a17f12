#!/usr/bin/env bash
# Set-up, quickstart and tests for each pair of Python and torch, and a Markdown table of what was run.
#
#   bash tests/matrix.sh                               every pair below
#   bash tests/matrix.sh 3.11:2.13.0 3.12:2.13.0       these pairs
#   MGF_MATRIX_STEPS="set-up quickstart tests"         which steps to run (default: all three)
#   MGF_MATRIX_DEST=runs/matrix                        environments, logs and table.md (default)
#   MGF_MATRIX_DOWNLOAD=1                              take torch from the index too: gigabytes for each pair
#
# A pair whose Python is not on this machine, or whose torch pip does not hold in folders of its own
# (PIP_FIND_LINKS), is marked "not run" with the reason. Exit code 1 if a step that ran has failed.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
dest="${MGF_MATRIX_DEST:-$root/runs/matrix}"
steps="${MGF_MATRIX_STEPS:-set-up quickstart tests}"
pairs=("$@")
[ ${#pairs[@]} -gt 0 ] || pairs=(3.11:2.13.0 3.12:2.13.0 3.13:2.13.0 3.11:2.5.1 3.12:2.5.1)
table="$dest/table.md"
failed=0

missing() {   # $1: Python, $2: torch; prints why the pair cannot run
    local python="python$1"
    if ! "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then
        echo "no $python"
    elif [ "${MGF_MATRIX_DOWNLOAD:-0}" != 1 ] && ! "$python" -m pip install --dry-run --quiet \
        --no-deps --no-index --ignore-installed "torch==$2" >/dev/null 2>&1; then
        echo "torch $2 is not in pip's folders"
    fi
}

run_step() {   # $1: step, in the environment of the pair
    case "$1" in
    set-up) bash "$root/examples/setup_env.sh" ;;
    quickstart) "$MGF_VENV/bin/python" -m pytest -q -n 0 "$root/tests/quickstart" ;;
    tests) bash "$root/tests/run.sh" ;;
    *) echo "matrix: no step $1; choose from set-up, quickstart, tests" >&2; return 2 ;;
    esac
}

mkdir -p "$dest"
{
    printf '| Python | torch |'; printf ' %s |' $steps; printf '\n|---|---|'; printf -- '---|%.0s' $steps; printf '\n'
} >"$table"
cd "$root"
for pair in "${pairs[@]}"; do
    python="${pair%%:*}" torch="${pair##*:}"
    row="| $python | $torch |" broken=""
    reason="$(missing "$python" "$torch")"
    export MGF_VENV="$dest/$python-$torch" MGF_PYTHON="python$python" MGF_TORCH="torch==$torch"
    for step in $steps; do
        log="$dest/$python-$torch.$step.log"
        begun=$SECONDS
        if [ -n "$reason$broken" ]; then
            row+=" not run: ${reason:-$broken failed} |"
        elif run_step "$step" >"$log" 2>&1 </dev/null; then
            row+=" passed ($(((SECONDS - begun + 59) / 60)) min) |"
        else
            row+=" failed, see ${log##*/} |" broken="$step" failed=1
        fi
    done
    echo "$row" | tee -a "$table"
done
echo "matrix: $table"
exit "$failed"
