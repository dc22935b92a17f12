#!/usr/bin/env bash
# From a clone to a pre-trained and fine-tuned small MGF on a synthesised corpus, in one command.
# Arguments go to quickstart.py (see --help); examples/setup_env.sh explains MGF_VENV and MGF_TORCH.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
bash "$root/examples/setup_env.sh"
venv="${MGF_VENV:-$root/.venv}"
case "$venv" in /*) ;; *) venv="$PWD/$venv" ;; esac
export MGF_PATH_AT_START="$PATH"
export PATH="$venv/bin:$PATH"
exec python "$root/examples/quickstart/quickstart.py" "$@"
