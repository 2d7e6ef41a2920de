#!/usr/bin/env bash
# A training by torchrun, one process per GPU. The same command on every node, HEAD the name of one of them:
#   NODES=4 GPUS=8 HEAD=node0 bash configs/cluster/torchrun.sh configs/greatest_hits/generation.yaml [more options]
# On one machine GPUS alone. A stopped run resumes when it is started again. docs/cluster.md.
set -euo pipefail
config=${1:?a YAML of a stage, then further options}
shift
nodes=${NODES:-1} gpus=${GPUS:?number of GPUs of a node}
meeting=(--standalone)
if [ "$nodes" -gt 1 ]; then
    meeting=(--rdzv-backend c10d --rdzv-id "${RUN_ID:-foleygram}" --rdzv-endpoint "${HEAD:?name of a node}:${PORT:-29500}")
fi
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec python -m torch.distributed.run "${meeting[@]}" --nnodes "$nodes" --nproc-per-node "$gpus" \
    train.py fit --config "$config" --config configs/cluster/ddp.yaml \
    --trainer.num_nodes "$nodes" --trainer.devices "$gpus" --ckpt_path last "$@"
