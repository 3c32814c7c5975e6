#!/usr/bin/env bash
#SBATCH --job-name=danube-stage1
#SBATCH --nodes=1
#SBATCH --gpus-per-node=8
#SBATCH --ntasks-per-node=8
#SBATCH --signal=B:USR1@300
#SBATCH --output=%x-%j.log
# sbatch slurm/stage1.sh [--config-name NAME] [KEY=VALUE ...]; without Slurm: bash slurm/stage1.sh ...
set -euo pipefail
source "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}/slurm/common.sh"
train stage1 "$@"
