#!/usr/bin/env bash
# Pre-train MGF Base on two nodes of eight GPUs. Submit it from the repository's root:
#   DATA=/path/to/manifests sbatch examples/pretrain/slurm.sh
# Submitted again, it resumes from the last checkpoint; at its time limit and when it is pre-empted
# it saves and goes back into the queue by itself.
#SBATCH --job-name=mgf
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=72:00:00
#SBATCH --signal=TERM@180
#SBATCH --requeue
set -euo pipefail

export MGF_PORT=$((10000 + SLURM_JOB_ID % 20000)) # two jobs may share a node
saved=143                                         # exit code of a training that was told to stop

code=0
srun --unbuffered --kill-on-bad-exit=1 fairseq-hydra-train \
  --config-dir "$(mgf configs)" --config-name mgf_base \
  run=slurm task.data="${DATA:?set DATA to the folder of manifests}" \
  common.user_dir="$(mgf user-dir)" "$@" || code=$?
if [ "$code" -eq "$saved" ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
