#!/usr/bin/env bash
# A published table on a cluster: its searches on one machine of 8 GPUs, then its trainings on 8 such machines.
#
#   IMAGENET=/data/imagenet benchmarks/paper/full/submit.sh adaptive [flags of benchmarks/paper/adaptive.py]
set -euo pipefail
FULL="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
export FULL IMAGENET="${IMAGENET:?a folder of ImageNet, with class folders in train/ and val/}"
search=$(sbatch --parsable --nodes 1 "$FULL/job.sbatch" "$@" --only search)
sbatch --nodes 8 --dependency "afterok:$search" "$FULL/job.sbatch" "$@"
