#!/usr/bin/env bash
# An experiment at full scale on all GPUs of this machine, or as one of $NODES machines: nothing but torchrun.
#
#   IMAGENET=/data/imagenet benchmarks/paper/full/run.sh adaptive [--only search] [flags of benchmarks/paper/adaptive.py]
#
# $GPUS: of a machine, 8. $HEAD: host:port of the first machine. $SCALE: full, or rehearsal. $PYTHON: python3.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
exec "${PYTHON:-python3}" -m torch.distributed.run --nnodes "${NODES:-1}" --nproc-per-node "${GPUS:-8}" \
    --rdzv-backend c10d --rdzv-endpoint "${HEAD:-localhost:0}" --rdzv-id "${SLURM_JOB_ID:-fpnas}" --max-restarts 3 \
    "benchmarks/paper/$1.py" --scale "${SCALE:-full}" --imagenet "$IMAGENET" "${@:2}"
