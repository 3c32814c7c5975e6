#!/usr/bin/env bash
#SBATCH --job-name=danube2-stage3
#SBATCH --nodes=1
#SBATCH --gpus-per-node=8
#SBATCH --ntasks-per-node=8
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
# sbatch slurm/danube2_stage3.sh [KEY=VALUE ...]; without Slurm: bash slurm/danube2_stage3.sh ...
set -euo pipefail
folder=$(dirname "$0")
# A job runs Slurm's copy of this file: ask where the original is.
[ -f "$folder/common.sh" ] ||
    folder=$(dirname "$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=\([^ ]*\).*/\1/p')")
source "$folder/common.sh"
train stage3 --config-name danube2 "$@"
