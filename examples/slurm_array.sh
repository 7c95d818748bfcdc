#!/usr/bin/env bash
# One run as a Slurm job array on a shared disk: each task does its part, the last one prints the table.
# The array begins at 0 and has no gaps; to do the tasks that failed again, submit it whole: what is done is not redone.
#   sbatch --array=0-7 --gpus-per-task=1 examples/slurm_array.sh --model world-vcm --against world-teacher --out runs/array
#SBATCH --job-name=turbo-eval
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
set -u

turbo-eval vbench "$@" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" &
task=$!
# Slurm's notice before the time limit: finish the micro-batch in hand, keep everything.
trap 'kill -TERM "$task"' TERM
wait "$task"
code=$?
# A trapped signal ends the first wait early; the second one gets the command's own exit code.
while kill -0 "$task" 2>/dev/null; do
  wait "$task"
  code=$?
done
# 75: stopped by a signal with everything kept. Go on in the next allocation.
if [ "$code" -eq 75 ] && command -v scontrol >/dev/null; then
  scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
fi
exit "$code"
