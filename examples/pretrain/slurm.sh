#!/usr/bin/env bash
# Pre-train MGF Base on two nodes of eight GPUs. Submit it from the repository's root:
#   DATA=/path/to/manifests sbatch examples/pretrain/slurm.sh
# Submitted again, it resumes from the last checkpoint.
#SBATCH --job-name=mgf
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=72:00:00
#SBATCH --requeue
set -euo pipefail

srun --unbuffered fairseq-hydra-train \
  --config-dir examples/pretrain/config --config-name mgf_base \
  run=slurm task.data="${DATA:?set DATA to the folder of manifests}" \
  common.user_dir="$(mgf user-dir)"
