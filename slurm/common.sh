# shellcheck shell=bash
# What the scripts of this folder share: how the program is started here, and what becomes of a job when a step ends.

repository=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
site=${DANUBE_SITE:-$repository/slurm/site.env}

say() { printf '%s  slurm: %s\n' "$(date +%T)" "$*" >&2; }
refuse() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 2; }

((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404)) || refuse "bash $BASH_VERSION is too old, 4.4 is needed; on macOS: brew install bash"
[ -f "$site" ] || refuse "$site: no such file; restore it, or name another in DANUBE_SITE"
# shellcheck source=slurm/site.env
source "$site"

VENV=${VENV:-$repository/.venv}
program=(danube)
container=()

# Whether this script has the tasks of a job to start. In a shell that is itself a task (srun --pty) another srun would
# wait for that one to end: there `danube` starts its own processes, as it does outside Slurm. Where salloc's shell is a
# step, that is the one of this number, which no srun waits for.
INTERACTIVE=4294967290
in_job() { [ -n "${SLURM_JOB_ID:-}" ] && [ "${SLURM_STEP_ID:-$INTERACTIVE}" = "$INTERACTIVE" ]; }

if [ -z "${CONTAINER_IMAGE:-}" ] || [ -z "${SLURM_JOB_ID:-}" ]; then
    if [ -d "$VENV/bin" ]; then PATH=$VENV/bin:$PATH; fi
else
    srun --help | grep -q -- --container-image ||
        refuse "CONTAINER_IMAGE=$CONTAINER_IMAGE ($site): srun has no --container-image here, pyxis is missing; leave it empty to use VENV"
    mounts=$repository:$repository,$PWD:$PWD${CONTAINER_MOUNTS:+,$CONTAINER_MOUNTS}
    container=(--container-image="$CONTAINER_IMAGE" --container-mounts="$mounts" --container-workdir="$PWD")
    program=(env PYTHONPATH="$repository" python3 -m custom_modules.cli)
    if ! in_job; then program=(srun --overlap --nodes=1 --ntasks=1 "${container[@]}" "${program[@]}"); fi
fi
# Of `sbatch --export=NONE`: the steps have this script's environment all the same.
unset SLURM_EXPORT_ENV

# The program's exit codes (danube --help) that a job reacts to.
MISTAKE=2 DIVERGED=3 PASSING=74 SAVED=75
# A start that failed in a way that may pass, and could not be noted in the run's folder, is tried again so often.
MOST_RESTARTS=10

# train STAGE [ARGUMENTS]: one stage of the curriculum.
train() {
    local stage=$1
    shift
    preflighted pretrain --config-name danube_1_8b "${SITE_OVERRIDES[@]}" "curriculum.stage=$stage" "$@"
}

# tune [ARGUMENTS]: supervised fine-tuning.
tune() { preflighted sft --config-name danube_sft "${SITE_OVERRIDES[@]}" "$@"; }

# preflighted COMMAND ARGUMENTS: `danube preflight` and then the command, in all tasks. Outside Slurm `danube` starts its
# own processes.
preflighted() {
    local command=$1 code=0
    shift
    local arguments=("$@")
    if ! in_job; then exec "${program[@]}" "$command" "${arguments[@]}"; fi
    # Slurm asks this script to stop with USR1 (time limit, preemption); srun passes it on to the tasks. At scancel it
    # sends TERM, to the tasks too.
    trap 'stop=USR1; kill -USR1 "$step" 2>/dev/null' USR1
    trap 'stop=TERM' TERM
    introduce
    on_every_task preflight "${arguments[@]}" || code=$?
    if [ "$stop" = USR1 ]; then requeue "stopped before it had begun"; fi
    if [ "$code" = "$PASSING" ] && [ "${SLURM_RESTART_COUNT:-0}" -lt "$MOST_RESTARTS" ]; then finish "$code"; fi
    if [ -n "$stop" ] || [ "$code" != 0 ]; then exit "$code"; fi
    on_every_task "$command" "${arguments[@]}" || code=$?
    finish "$code"
}

# teach ARGUMENTS: a teacher's share of the data.
teach() { without_preflight teach --config-name danube_1_8b "${SITE_OVERRIDES[@]}" "$@"; }

# align [ARGUMENTS]: DPO.
align() { without_preflight dpo --config-name danube_dpo "${SITE_OVERRIDES[@]}" "$@"; }

# without_preflight COMMAND ARGUMENTS: the command alone, in all tasks. Outside Slurm `danube` starts its own
# processes.
without_preflight() {
    local command=$1 code=0
    shift
    local arguments=("$@")
    if ! in_job; then exec "${program[@]}" "$command" "${arguments[@]}"; fi
    trap 'stop=USR1; kill -USR1 "$step" 2>/dev/null' USR1
    trap 'stop=TERM' TERM
    introduce
    on_every_task "$command" "${arguments[@]}" || code=$?
    # Nothing notes that a start brought no progress: the job's own restarts bound how often a crash is tried again.
    if [ "${SLURM_RESTART_COUNT:-0}" -ge "$MOST_RESTARTS" ] && [ "$code" != "$SAVED" ] && [ -z "$stop" ]; then exit "$code"; fi
    finish "$code"
}

# run_once COMMAND ARGUMENTS: a command that is one process, in a job or out of it.
run_once() {
    if ! in_job; then exec "${program[@]}" "$@"; fi
    introduce
    exec srun --nodes=1 --ntasks=1 --cpus-per-task="$(cpus_of_node)" "${container[@]}" "${program[@]}" "$@"
}

introduce() {
    say "job $SLURM_JOB_ID (${SLURM_JOB_NAME:-}), restart ${SLURM_RESTART_COUNT:-0}, on $SLURM_JOB_NODELIST, partition $SLURM_JOB_PARTITION"
    case ",${SBATCH_PARTITION:-$SLURM_JOB_PARTITION}," in
        *",$SLURM_JOB_PARTITION,"*) ;;
        *) say "warning: $site has SBATCH_PARTITION=$SBATCH_PARTITION, but this job was not submitted to it; source that file before sbatch" ;;
    esac
    MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    export MASTER_ADDR # `danube` finds the port, from the job's number and restart
}

# salloc sets fewer variables than sbatch.
cpus_of_node() { echo "${SLURM_CPUS_ON_NODE:-${SLURM_JOB_CPUS_PER_NODE%%[!0-9]*}}"; }
cpus_of_task() {
    local tasks=${SLURM_NTASKS:-$((SLURM_NNODES * ${SLURM_NTASKS_PER_NODE:-1}))} share
    share=$(($(cpus_of_node) * SLURM_NNODES / tasks))
    echo $((share > 0 ? share : 1))
}

stop=
step=

# on_every_task COMMAND ARGUMENTS: a step of all tasks; returns the exit code of the task that failed first. srun returns
# the highest, which is that of a task that it has killed because another failed.
on_every_task() {
    local code=0 said reader first
    said=$(mktemp) || said=/dev/null
    exec {log}> >(pass_on "$said")
    reader=$!
    # Without --cpus-per-task a task may be bound to a single core.
    srun --kill-on-bad-exit=1 --cpus-per-task="$(cpus_of_task)" "${container[@]}" "${program[@]}" "$@" 2>&"$log" &
    step=$!
    exec {log}>&-
    # `wait` returns early when a trap has run: wait until the step itself has ended, then ask for its code.
    while kill -0 "$step" 2>/dev/null; do wait "$step" || true; done
    wait "$step" || code=$?
    while kill -0 "$reader" 2>/dev/null; do wait "$reader" || true; done
    first=$(sed -n 's/.* Exited with exit code \([0-9]*\)$/\1/p' "$said")
    if [ "$said" != /dev/null ]; then rm -f "$said"; fi
    if [ "$code" = 0 ]; then return 0; fi
    return "${first:-$code}"
}

# pass_on FILE: stdin to stderr; the first line of srun's that says how a task ended goes into the file, too.
pass_on() {
    local line
    trap '' USR1 TERM
    while IFS= read -r line || [ -n "$line" ]; do
        printf '%s\n' "$line" >&2
        if [[ ! -s $1 && $line == "srun: error: "*": task"*": "* ]]; then printf '%s\n' "$line" >"$1"; fi
    done
}

# finish CODE: end the job, or put it back into the queue to go on from its last checkpoint.
finish() {
    local code=$1
    if [ "$stop" = TERM ]; then
        say "cancelled; submitted again it goes on"
        exit "$code"
    fi
    case $code in
        0 | "$MISTAKE") exit "$code" ;;
        "$DIVERGED")
            say "the run could not go on by itself from its loss; its last line says what to try (danube status and report show its rollbacks)"
            exit "$code"
            ;;
        "$SAVED") requeue "stopped and saved" ;;
    esac
    if [ -n "$stop" ]; then requeue "stopped before there was anything to save"; fi
    say "the step ended with code $code (ON_CRASH=$ON_CRASH)"
    if [ "$code" -gt 128 ]; then explain "$code"; fi
    if [ "$ON_CRASH" = requeue ]; then requeue "crashed"; fi
    exit "$code"
}

# explain CODE: which signal that was, what it may mean, and the last checkpoint.
explain() {
    local meaning
    meaning=$(srun --nodes=1 --ntasks=1 "${container[@]}" "${program[@]}" ended --code "$1" "${arguments[@]}" 2>/dev/null) ||
        meaning="a process was ended by signal $(($1 - 128))"
    say "$meaning"
}

# requeue REASON: ends this script, too.
requeue() {
    if scontrol requeue "$SLURM_JOB_ID"; then
        say "$1: job $SLURM_JOB_ID is requeued"
        exit 0
    fi
    say "$1: job $SLURM_JOB_ID cannot be requeued; submit it again"
    exit "$SAVED"
}
