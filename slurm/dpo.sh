#!/usr/bin/env bash
#SBATCH --job-name=danube-dpo
#SBATCH --nodes=1
#SBATCH --gpus-per-node=2
#SBATCH --ntasks-per-node=2
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
# sbatch slurm/dpo.sh [--config-name NAME] [KEY=VALUE ...]: a pair a GPU and step, at the recipes' batch of 2. More GPUs:
# sbatch --gpus-per-node=3 --ntasks-per-node=3 slurm/dpo.sh trainer.devices=3 model.global_batch_size=6
set -euo pipefail
# Slurm runs a copy of a job's script, and so may you: find the folder that it belongs to.
is_ours() { [ -f "$1/common.sh" ] && [ -f "$1/curriculum.sh" ]; }
folder=$(dirname "$(readlink -f "$0")")
if ! is_ours "$folder"; then
    original=
    if [ -n "${SLURM_JOB_ID:-}" ]; then
        original=$(scontrol show job "$SLURM_JOB_ID" | sed -n '/^ *Command=\//{s/^ *Command=//p;q;}' || true)
    fi
    while [ ! -f "$original" ] && [ "$original" != "${original% *}" ]; do original=${original% *}; done # cut arguments
    for folder in "$(dirname "$(readlink -f "${original:-/}")")" "${DANUBE_REPOSITORY:-}" "${SLURM_SUBMIT_DIR:-$PWD}"; do
        if ! is_ours "$folder"; then folder+=/slurm; fi
        if is_ours "$folder"; then break; fi
    done
    is_ours "$folder" || {
        echo "${original:-$0}: this copy does not find its repository; submit it from there, or set DANUBE_REPOSITORY" >&2
        exit 2
    }
fi
source "$folder/common.sh"
align "$@"
