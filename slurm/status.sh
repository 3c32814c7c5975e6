#!/usr/bin/env bash
# slurm/status.sh RUN_DIR [--json]: stage, tokens, loss, speed, ETA, last checkpoint and jobs of a run.
set -euo pipefail
source "$(dirname "$(readlink -f "$0")")/common.sh"
exec "${program[@]}" status "$@"
