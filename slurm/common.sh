# shellcheck shell=bash
# What the scripts of this folder share: how the program is started here, and what becomes of a job when a step ends.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
site=${DANUBE_SITE:-$repository/slurm/site.env}

say() { printf '%s  slurm: %s\n' "$(date +%T)" "$*" >&2; }
refuse() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 2; }

[ -f "$site" ] || refuse "$site: no such file; restore it, or name another in DANUBE_SITE"
# shellcheck source=slurm/site.env
source "$site"

VENV=${VENV:-$repository/.venv}
program=(danube)
container=()
if [ -z "${CONTAINER_IMAGE:-}" ] || [ -z "${SLURM_JOB_ID:-}" ]; then
    if [ -d "$VENV/bin" ]; then PATH=$VENV/bin:$PATH; fi
else
    srun --help | grep -q -- --container-image ||
        refuse "CONTAINER_IMAGE=$CONTAINER_IMAGE ($site): srun has no --container-image here, pyxis is missing; leave it empty to use VENV"
    mounts=$repository:$repository,$PWD:$PWD${CONTAINER_MOUNTS:+,$CONTAINER_MOUNTS}
    container=(--container-image="$CONTAINER_IMAGE" --container-mounts="$mounts" --container-workdir="$PWD")
    program=(env PYTHONPATH="$repository" python3 -m custom_modules.cli)
fi

# The program's exit codes (danube --help) that a job reacts to.
MISTAKE=2 DIVERGED=3 SAVED=75

# train STAGE [ARGUMENTS]: one stage of the curriculum. Outside Slurm `danube` starts its own processes.
train() {
    local stage=$1 code=0
    shift
    local arguments=(--config-name danube_1_8b "${SITE_OVERRIDES[@]}" "curriculum.stage=$stage" "$@")
    if [ -z "${SLURM_JOB_ID:-}" ]; then exec "${program[@]}" pretrain "${arguments[@]}"; fi
    # Slurm asks this script to stop with USR1 (time limit, preemption); srun passes it on to the tasks. At scancel it
    # sends TERM, to the tasks too.
    trap 'stop=USR1; kill -USR1 "$step" 2>/dev/null' USR1
    trap 'stop=TERM' TERM
    introduce
    on_every_task preflight "${arguments[@]}" || code=$?
    if [ "$stop" = USR1 ]; then requeue "stopped before it had begun"; fi
    if [ -n "$stop" ] || [ "$code" != 0 ]; then exit "$code"; fi
    on_every_task pretrain "${arguments[@]}" || code=$?
    finish "$code"
}

# run_once COMMAND ARGUMENTS: a command that is one process, in a job or out of it.
run_once() {
    if [ -z "${SLURM_JOB_ID:-}" ]; then exec "${program[@]}" "$@"; fi
    introduce
    exec srun --nodes=1 --ntasks=1 --cpus-per-task="$SLURM_CPUS_ON_NODE" "${container[@]}" "${program[@]}" "$@"
}

introduce() {
    say "job $SLURM_JOB_ID ($SLURM_JOB_NAME), restart ${SLURM_RESTART_COUNT:-0}, on $SLURM_JOB_NODELIST, partition $SLURM_JOB_PARTITION"
    case ",${SBATCH_PARTITION:-$SLURM_JOB_PARTITION}," in
        *",$SLURM_JOB_PARTITION,"*) ;;
        *) say "warning: $site has SBATCH_PARTITION=$SBATCH_PARTITION, but this job was not submitted to it; source that file before sbatch" ;;
    esac
    MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    MASTER_PORT=$((20000 + SLURM_JOB_ID % 12000)) # below those that Linux gives to outgoing connections
    export MASTER_ADDR MASTER_PORT
}

stop=
step=

# on_every_task COMMAND ARGUMENTS: a step of all tasks; returns its exit code.
on_every_task() {
    local code=0
    # Without --cpus-per-task a task may be bound to a single core.
    srun --kill-on-bad-exit=1 --cpus-per-task=$((SLURM_CPUS_ON_NODE * SLURM_NNODES / SLURM_NTASKS)) "${container[@]}" "${program[@]}" "$@" &
    step=$!
    # `wait` returns early when a trap has run: wait until the step itself has ended, then ask for its code.
    while kill -0 "$step" 2>/dev/null; do wait "$step" || true; done
    wait "$step" || code=$?
    return "$code"
}

# finish CODE: end the job, or put it back into the queue to go on from its last checkpoint.
finish() {
    local code=$1
    if [ "$stop" = TERM ]; then
        say "cancelled; submitted again it goes on"
        exit "$code"
    fi
    case $code in
        0 | "$MISTAKE" | "$DIVERGED") exit "$code" ;;
        "$SAVED") requeue "stopped and saved" ;;
    esac
    if [ -n "$stop" ]; then requeue "stopped before there was anything to save"; fi
    say "the step ended with code $code (ON_CRASH=$ON_CRASH)"
    if [ "$ON_CRASH" = requeue ]; then requeue "crashed"; fi
    exit "$code"
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
