#!/usr/bin/env bash
#SBATCH --job-name=danube-evaluate
#SBATCH --nodes=1
#SBATCH --gpus-per-node=8
#SBATCH --ntasks-per-node=8
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
# sbatch [--nodes=N] slurm/evaluate.sh MODEL --suite SUITE [KEY=VALUE ...]: a process a GPU, with passes dealt out to each;
# stopped or killed, or with more or fewer of them, it goes on where it was.
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
without_preflight evaluate "$@"
