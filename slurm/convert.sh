#!/usr/bin/env bash
#SBATCH --job-name=danube-convert
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
# sbatch slurm/convert.sh to-hf RUN_DIR OUTPUT [--verify]; or from-hf HF_DIR RUN_DIR [--config-name NAME] [KEY=VALUE ...]
set -euo pipefail
folder=$(dirname "$0")
# A job runs Slurm's copy of this file: ask where the original is.
[ -f "$folder/common.sh" ] ||
    folder=$(dirname "$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=\([^ ]*\).*/\1/p')")
source "$folder/common.sh"
run_once convert "$@"
