#!/usr/bin/env bash
# A release folder from prepared data: pre-train, evaluate, export, and write a card with checksums.
#
#   bash examples/release/make.sh --name mini-english --title "A small encoder of read English" \
#       --license "CC BY 4.0" --data data/ls --corpus "Mini LibriSpeech, CC BY 4.0" --eval data/ls
#
#   --name NAME            name of the release and of its folder
#   --title TEXT           what it is, in one line
#   --license TEXT         license of the weights; the licenses of all corpora must allow it
#   --data FOLDER          a prepared corpus; again for each further one
#   --corpus TEXT          its name and license, in one line; once for each --data
#   --eval FOLDER          prepared folder that mgf evaluate scores on
#   --tasks T,T            tasks of mgf evaluate (default: phone,speaker)
#   --evaluate "WORDS"     further options of mgf evaluate, as in "--emotion-data data/emodb"
#   --size SIZE            mini, small or base (default: mini)
#   --updates N            number of updates (default: the recipe's)
#   --settings "WORDS"     further settings of mgf pretrain, as in "common.seed=2"
#   --checkpoint RUN       a pre-training that is there; nothing is trained
#   --results FOLDER       results of mgf evaluate that are there; nothing is evaluated
#   --formats "WORDS"      formats of mgf export (default: huggingface fairseq)
#   --dest FOLDER          folder of releases (default: runs/releases)
#   --work FOLDER          runs, results and exports (default: runs/release/NAME)
#
# The same command resumes. Weights belong into releases, never into git.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
name="" title="" license="" eval="" size=mini updates="" checkpoint="" results="" work=""
tasks=phone,speaker dest=runs/releases evaluate="" settings="" formats="huggingface fairseq"
data=() corpora=()

die() {
    printf 'release: %s\n' "$1" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case "$1" in
    --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}"; exit 0 ;;
    --name | --title | --license | --eval | --tasks | --evaluate | --size | --updates | --settings | \
        --checkpoint | --results | --formats | --dest | --work | --data | --corpus) ;;
    *) die "no option $1; --help lists all" ;;
    esac
    [ $# -gt 1 ] || die "$1 needs a value"
    case "$1" in
    --data) data+=("$2") ;;
    --corpus) corpora+=("$2") ;;
    *) printf -v "${1#--}" %s "$2" ;;
    esac
    shift 2
done
for needed in name title license; do
    [ -n "${!needed}" ] || die "--$needed is missing; --help shows an example"
done
[ ${#data[@]} -gt 0 ] || die "--data is missing: name a folder of mgf prepare"
[ ${#data[@]} -eq ${#corpora[@]} ] ||
    die "${#data[@]} times --data and ${#corpora[@]} times --corpus: each corpus needs its license"
[ -n "$results$eval" ] || die "--eval or --results is missing: a release has scores"
for folder in "${data[@]}"; do
    [ -f "$folder/train.tsv" ] || die "$folder has no train.tsv: mgf prepare SOURCE --dest $folder"
done
work="${work:-runs/release/$name}"
mkdir -p "$work"
commands="$work/commands.txt"
: >"$commands"

step() {   # run a command and keep it for the card
    printf '$ %s\n' "$*"
    printf '%q ' "$@" | sed 's/ $/\n/' >>"$commands"
    "$@"
}

source_folder="${data[0]}"
if [ ${#data[@]} -gt 1 ]; then   # several corpora: a union, everything once per epoch
    source_folder="$work/data"
    mkdir -p "$source_folder"
    union=""
    for folder in "${data[@]}"; do
        ln -sfn "$(cd "$folder" && pwd)" "$source_folder/$(basename "$folder")"
        union+="${union:+, }$(basename "$folder"): null"
    done
    settings+=" task.corpora={${union// /}}"
fi
if [ -z "$checkpoint" ]; then
    checkpoint="$work/run"
    if [ ! -f "$work/trained" ]; then
        # shellcheck disable=SC2086
        step mgf pretrain "$source_folder" --size "$size" ${updates:+--updates "$updates"} --dest "$checkpoint" $settings
        cp "$commands" "$work/trained"
    else
        cat "$work/trained" >>"$commands"
    fi
elif [ -f "$checkpoint/.hydra/overrides.yaml" ]; then   # what hydra keeps of the command of a training
    config="$(sed -n 's/^ *config_name: //p' "$checkpoint/.hydra/hydra.yaml")"
    settings="$(sed -n 's/^- / /p' "$checkpoint/.hydra/overrides.yaml" | tr -d '\n')"
    echo "fairseq-hydra-train --config-dir \$(mgf configs) --config-name $config$settings" >>"$commands"
fi
if [ -z "$results" ]; then
    # shellcheck disable=SC2086
    step mgf evaluate --checkpoint "$checkpoint" --name "$name" --data "$eval" --tasks "$tasks" --dest "$work/results" $evaluate
    results="$work/results/$name"
fi
exports=()
for format in $formats; do
    step mgf export "$checkpoint" --to "$format" --dest "$work/$format" --results "$results"
    exports+=("$work/$format")
done
manifests=("${data[@]/%//train.tsv}")
python "$root/examples/release/assemble.py" --name "$name" --title "$title" --license "$license" \
    --corpus "${corpora[@]}" --manifest "${manifests[@]}" --checkpoint "$checkpoint" --results "$results" \
    --export "${exports[@]}" --commands "$commands" --dest "$dest"
mgf models "$dest" "$name"
