#!/usr/bin/env bash
# kubernetes/retryable.sh COMMAND [ARGUMENTS]: ends with 138, which PyTorchJob's restartPolicy ExitCode starts again,
# where the same command may go on: all but success, a mistake (2) and a loss that is not finite (3). Passes stops on.
set -u
program='' stop=''
trap 'stop=TERM; kill -TERM "$program" 2>/dev/null' TERM
trap 'stop=INT; kill -INT "$program" 2>/dev/null' INT
"$@" &
program=$!
if [ -n "$stop" ]; then kill "-$stop" "$program" 2>/dev/null; fi # it came before there was anybody to pass it on to
# `wait` returns early when a trap has run: wait until the program itself has ended, then ask for its code.
while kill -0 "$program" 2>/dev/null; do wait "$program"; done
wait "$program"
code=$?
case $code in
    0 | 2 | 3) exit "$code" ;;
esac
echo "retryable.sh: exit code $code becomes 138, to be started again" >&2
exit 138
