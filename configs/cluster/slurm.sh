#!/usr/bin/env bash
# A training on SLURM, one process per GPU, that requeues itself at its time limit and resumes where it stopped:
#   sbatch configs/cluster/slurm.sh configs/greatest_hits/generation.yaml [--data.init_args.batch_size 2 ...]
# Give other sizes on the command line (sbatch --nodes=1 --gpus-per-node=4 --ntasks-per-node=4 ...). docs/cluster.md.
#SBATCH --job-name=foleygram
#SBATCH --nodes=4
#SBATCH --gpus-per-node=8
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail
config=${1:?a YAML of a stage, then further options}
shift
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} OMP_NUM_THREADS=1
srun python train.py fit --config "$config" --config configs/cluster/ddp.yaml \
    --trainer.num_nodes "$SLURM_JOB_NUM_NODES" --trainer.devices "${SLURM_NTASKS_PER_NODE%%(*}" --ckpt_path last "$@"
