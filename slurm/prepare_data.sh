#!/usr/bin/env bash
#SBATCH --job-name=danube-prepare
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
# sbatch slurm/prepare_data.sh [--config-name NAME] data.input=[...] [KEY=VALUE ...]: killed, it goes on where it was.
set -euo pipefail
folder=$(dirname "$0")
# A job runs Slurm's copy of this file: ask where the original is.
[ -f "$folder/common.sh" ] ||
    folder=$(dirname "$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=\([^ ]*\).*/\1/p')")
source "$folder/common.sh"
run_once prepare --config-name danube_1_8b "${SITE_OVERRIDES[@]}" "$@"
