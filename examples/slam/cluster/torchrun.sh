#!/bin/bash
# A training by torchrun, on one machine or several without a scheduler:
#
#   examples/slam/cluster/torchrun.sh fairseq-train DATA --task slam_pretraining ...
#
# On several machines run the same command on each, at the same time, with
#   NNODES        how many machines (1)
#   NODE_RANK     the number of this one, from 0 (0)
#   MASTER_ADDR   name or address of machine 0, as the others see it (127.0.0.1)
#   MASTER_PORT   a free port of machine 0; another one for each training (29500)
#   NPROC         ranks on this machine (its GPUs)
#   SLAM_STOPPED  a file that this script makes and removes; another one for each training and machine
#
# SIGUSR1, SIGTERM, SIGHUP or Ctrl-C to this script, on one of the machines: the training saves, and the script ends
# with code 75 on all of them. The same command then resumes. torchrun alone would kill the ranks after 30 seconds, and
# end with code 1.
set -u
scripts="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
: "${NNODES:=1}" "${NODE_RANK:=0}" "${MASTER_ADDR:=127.0.0.1}" "${MASTER_PORT:=29500}" "${NPROC:=gpu}"
export SLAM_STOPPED="${SLAM_STOPPED:-$PWD/stopped-$MASTER_PORT-$NODE_RANK}"
rm -f "$SLAM_STOPPED"

# Signals go to the process groups of the ranks, and past torchrun, which would end them.
heard=
forward() {
    heard=1
    for rank in $(pgrep -P "$launcher"); do
        kill -USR1 -- "-$rank"
    done
}
trap forward USR1 TERM HUP INT
{   # the shell reads this part as a whole: the file may change while the training runs
    (
        trap '' USR1   # SLURM, if it runs this script, sends it to all processes
        exec setsid python -m torch.distributed.run --nnodes "$NNODES" --node-rank "$NODE_RANK" \
            --nproc-per-node "$NPROC" --master-addr "$MASTER_ADDR" --master-port "$MASTER_PORT" --max-restarts 0 \
            --no-python bash "$scripts/rank.sh" "$@"
    ) &
    launcher=$!
    wait "$launcher"
    code=$?
    while [ -n "$heard" ]; do   # a signal has ended the wait
        heard=
        wait "$launcher"
        code=$?
    done
    if [ "$code" -eq 0 ] && [ -e "$SLAM_STOPPED" ]; then
        rm "$SLAM_STOPPED"
        exit 75
    fi
    exit "$code"
}
