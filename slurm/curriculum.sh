#!/usr/bin/env bash
# slurm/curriculum.sh [--from STAGE] [--to STAGE] [--after JOB] [--dry-run] [SBATCH OPTIONS] [--config-name NAME] [KEY=VALUE ...]
# Submits the stages, each to start when the one before has ended well, and prints the job ids. Without Slurm it runs them.
#   --from, --to    only these stages; the run must have been trained up to the first of them
#   --after JOB     the first stage waits for this job, which may prepare the data or train the stages before
#   --dry-run       print the sbatch lines, and have Slurm test each, without submitting
#   any other --OPTION=VALUE goes to sbatch, such as --time=24:00:00
set -euo pipefail
source "$(dirname "$(readlink -f "$0")")/common.sh"

arguments=() range=() sbatch_options=() after='' dry_run=''
while [ $# -gt 0 ]; do
    case $1 in
        --help | -h) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
        --dry-run) dry_run=1 ;;
        --from | --to | --after | --config-name | --config-dir)
            [ $# -gt 1 ] || refuse "$1: a value is missing"
            case $1 in
                --config-*) arguments+=("$1" "$2") ;;
                *) range+=("$1" "$2") ;;
            esac
            if [ "$1" = --after ]; then after=$2; fi
            shift
            ;;
        --*=*) sbatch_options+=("$1") ;;
        -*) refuse "$1: unknown; see --help (options for sbatch are written --OPTION=VALUE)" ;;
        *=* | ~*) arguments+=("$1") ;;
        *) refuse "$1: not KEY=VALUE; see --help" ;;
    esac
    shift
done

has_slurm() { command -v sbatch >/dev/null; }

# ask_sbatch STAGE ARGUMENTS: what sbatch prints; one line when it refuses.
ask_sbatch() {
    local stage=$1 answer
    shift
    if answer=$(sbatch "$@" 2>&1); then
        echo "$answer"
    else
        refuse "$stage: sbatch: $(tail -n 1 <<<"$answer")${submitted:+; submitted already: $submitted}"
    fi
}

for option in "${sbatch_options[@]}"; do
    case $option in
        --output=*/* | --error=*/* | --chdir=*)
            folder=${option#*=}
            [ "${option%%=*}" = --chdir ] || folder=$(dirname "$folder")
            [ -d "$folder" ] || refuse "$option: there is no folder $folder; make it first, or the job fails without a log"
            ;;
    esac
done
if [ -n "$after" ]; then
    has_slurm || refuse "--after $after: there is no Slurm here"
    scontrol show job "$after" >/dev/null 2>&1 || refuse "--after $after: Slurm knows no such job"
fi
command -v danube >/dev/null || refuse "danube is not on PATH; run \`make install\`, or set VENV in $site"
submission=$(danube submission "${range[@]}" --config-name danube_1_8b "${SITE_OVERRIDES[@]}" "${arguments[@]}")
[ -n "$submission" ] || say "every stage is finished"
mapfile -t stages < <(printf %s "$submission")

submitted=''
for line in "${stages[@]}"; do
    eval "command=($line)" # quoted by danube
    stage=${command[0]} script=$repository/slurm/${command[0]}.sh
    [ -f "$script" ] || refuse "$stage: there is no $script; write one after stage1.sh"
    if ! has_slurm; then
        if [ -n "$dry_run" ]; then echo "bash $script ${arguments[*]@Q}"; else bash "$script" "${arguments[@]}"; fi
        continue
    fi
    command=("${command[@]:1}" "${sbatch_options[@]}" "$script" "${arguments[@]}")
    verdict=$(ask_sbatch "$stage" --test-only "${command[@]}")
    if [ -n "$after" ]; then command=(--dependency="afterok:$after" --kill-on-invalid-dep=yes "${command[@]}"); fi
    if [ -n "$dry_run" ]; then
        echo "sbatch --parsable ${command[*]@Q}"
        echo "$verdict" >&2
        after=JOB_OF_$stage
    else
        after=$(ask_sbatch "$stage" --parsable "${command[@]}" | grep --only-matching --max-count=1 '^[0-9]*')
        submitted+="${submitted:+, }$stage $after"
        echo "$stage $after"
    fi
done
