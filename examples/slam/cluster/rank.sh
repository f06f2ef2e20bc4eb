#!/bin/bash
# Run a program of fairseq as one rank: train.sbatch and torchrun.sh start it.
#
#   RANK, LOCAL_RANK, WORLD_SIZE   the rank among all, on its machine, and how many there are. torchrun sets them;
#                                  under srun they follow from SLURM's variables
#   MASTER_ADDR, MASTER_PORT       where the ranks meet
#   SLAM_STOPPED                   a file that says that the training was stopped by a signal, and has saved
#   PYTORCH_CUDA_ALLOC_CONF        expandable_segments:True, unless it is set: batches of all lengths then share memory
#
# A training that a signal stops ends with code 75. torchrun, and srun on some clusters, take that for a failure and
# kill the other ranks. So it becomes the file and code 0. So does a signal that ends the program before it handles
# signals: it has trained nothing yet, and the same command starts again.
set -u
export RANK="${RANK:-$SLURM_PROCID}" LOCAL_RANK="${LOCAL_RANK:-$SLURM_LOCALID}"
export WORLD_SIZE="${WORLD_SIZE:-$SLURM_NTASKS}"
export PYTORCH_CUDA_ALLOC_CONF="${PYTORCH_CUDA_ALLOC_CONF:-expandable_segments:True}"

signaled=
trap 'signaled=1' USR1 TERM   # they are for the program; the shell waits for it
{   # the shell reads this part as a whole: the file may change while the program runs
    python -m slam_plugin.launch "$@"
    code=$?
    if [ -n "$signaled" ] && { [ "$code" -eq 138 ] || [ "$code" -eq 143 ]; }; then
        code=75
    fi
    if [ "$code" -eq 75 ]; then
        touch "$SLAM_STOPPED" && exit 0
    fi
    exit "$code"
}
