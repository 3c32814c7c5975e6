# shellcheck shell=bash
# What the stage scripts share: where the repository is, and how its program is started here.

repository=$(cd "${SLURM_SUBMIT_DIR:-$(dirname "${BASH_SOURCE[0]}")/..}" && pwd)
if [ -d "$repository/.venv/bin" ]; then PATH="$repository/.venv/bin:$PATH"; fi

# train STAGE [ARGUMENTS]: one stage of the curriculum. Under Slurm srun starts a task per GPU, and the signal that
# Slurm sends ahead of the time limit goes on to all of them, so that they save; elsewhere `danube` starts its own
# processes. Exits with the trainer's code: 75 means saved, submit again.
train() {
    local stage=$1 step
    shift
    local command=(danube pretrain --config-name danube_1_8b "curriculum.stage=$stage" "$@")
    if [ -z "${SLURM_JOB_ID:-}" ]; then
        exec "${command[@]}"
    fi
    MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
    export MASTER_ADDR MASTER_PORT
    trap 'scancel --signal=USR1 "$SLURM_JOB_ID"' USR1 TERM
    srun --kill-on-bad-exit=1 "${command[@]}" &
    step=$!
    # `wait` returns early when a trap has run: wait until the step itself has ended, then ask for its code.
    while kill -0 "$step" 2>/dev/null; do wait "$step" || true; done
    local code=0
    wait "$step" || code=$?
    exit "$code"
}
