#!/usr/bin/env bash
# Run the checks and the tests, in an environment made on the first run. Arguments go to pytest:
#   bash tests/run.sh                     everything
#   bash tests/run.sh -k masking -x       some of it
# examples/setup_env.sh explains MGF_VENV, MGF_PYTHON and MGF_TORCH. The coverage of mgf_fairseq, without
# trainings that run as processes of their own, is reported from Python 3.12 on, where sys.monitoring
# makes it cheap (before, it costs half as much processor time again). MGF_COVERAGE=1 or 0 decides.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
bash "$root/examples/setup_env.sh"
venv="${MGF_VENV:-$root/.venv}"
case "$venv" in /*) ;; *) venv="$PWD/$venv" ;; esac
export PATH="$venv/bin:$PATH"
# One thread each: two test processes with a thread pool each would fight over two cores.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" MKL_NUM_THREADS="${MKL_NUM_THREADS:-1}"
export PYTHONDONTWRITEBYTECODE=1 MPLBACKEND=Agg
cd "$root"

failed=()
check() {
    printf '\n== %s\n' "$*"
    "$@" || failed+=("$*")
}

check ruff check .
check ruff format --check .
check mypy
coverage=()
monitoring="$(python -c 'import sys; print(int(sys.version_info >= (3, 12)))')"
if [ "$monitoring" = 1 ]; then export COVERAGE_CORE=sysmon; fi
if [ "${MGF_COVERAGE:-$monitoring}" != 0 ]; then
    coverage=(--cov --cov-report=term:skip-covered)
fi
# A file's tests in one process, since they share trainings that take long to make.
check pytest ${coverage[@]+"${coverage[@]}"} -n "${MGF_TEST_PROCESSES:-2}" --dist loadfile --no-loadscope-reorder "$@"

if [ ${#failed[@]} -gt 0 ]; then
    printf '\nfailed: %s\n' "${failed[@]}" >&2
    exit 1
fi
printf '\nall checks and tests passed\n'
