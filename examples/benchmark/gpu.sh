#!/usr/bin/env bash
# What to run first on a machine with a GPU; needs no network. All parts, or those that are named:
#   bash examples/benchmark/gpu.sh [tests] [small] [base] [train]
# Each part ends within 4 minutes. DEST (default runs/gpu) gets a log and the JSON of each part.
# DEVICE=cpu runs the same at toy size, to try the script; its numbers mean nothing.
# COMPILED=1 adds MGF with task.compile=encoder to the parts small and base.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
dest="${DEST:-runs/gpu}" device="${DEVICE:-cuda}"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
mkdir -p "$dest"
speed=(python examples/benchmark/pretraining.py --device "$device" --precision bf16 --mfu --no-shares)
if [ -n "${COMPILED:-}" ]; then speed+=(--compiled); fi
toy=(--shape debug --rows 2 --seconds 0.5 --rounds 1 --threads 1 --no-memory)

part() { # NAME SECONDS COMMAND...: run with a time limit, keep the log, say how it ended
    local name="$1" limit="$2" code
    shift 2
    printf '\n== %s: %s\n' "$name" "$*"
    timeout "$limit" "$@" 2>&1 | tee "$dest/$name.log"
    code="${PIPESTATUS[0]}"
    if [ "$code" -ne 0 ]; then failed+=("$name (exit code $code; 124: the time was over)"); fi
}

failed=()
[ $# -gt 0 ] || set -- tests small base train
for name in "$@"; do
    case "$name:$device" in
    tests:*) part tests 230 python -m pytest -q -m gpu --device "$device" -p no:cacheprovider \
        tests/gpu tests/test_criterion_counts.py ;;
    small:cpu | base:cpu) part "$name" 230 "${speed[@]}" "${toy[@]}" --output "$dest/$name.json" ;;
    small:* | base:*) part "$name" 230 "${speed[@]}" --shape "$name" --output "$dest/$name.json" ;;
    train:cpu)
        part train 230 python examples/benchmark/training.py --recipe mgf_debug --folder "$dest/train" --files 16 \
            --seconds 2 --output "$dest/train.json" run=cpu optimization.max_update=15
        ;;
    train:*)
        part train-small 110 python examples/benchmark/training.py --recipe mgf_small --folder "$dest/train" \
            --minutes 1 --output "$dest/train-small.json" run=gpu_1
        part train-base 120 python examples/benchmark/training.py --recipe mgf_base --folder "$dest/train" \
            --minutes 1 --output "$dest/train-base.json" run=gpu_1 'optimization.update_freq=[1]'
        ;;
    *) echo "no part $name: tests, small, base, train" >&2; exit 2 ;;
    esac
done
if [ ${#failed[@]} -gt 0 ]; then printf '\nfailed: %s\n' "${failed[@]}" >&2; exit 1; fi
printf '\nresults in %s\n' "$dest"
