#!/usr/bin/env bash
# benchmarks/gpu.py on a machine that has a GPU, python3 with torch, and perhaps no network: 8 minutes at most.
#
#   make gpupack                       # here: fills .gpu/ with wheels and, where it is, CIFAR-10
#   bash benchmarks/gpu.sh [flags]     # there, in a copy of this folder that holds .gpu/; figures go to $OUT, or runs/gpu
#
# $PYTHON: python3. $CARRIED: .gpu. What the wheels hold comes before what that machine has, and nothing is installed for good.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3} out=${OUT:-runs/gpu} carried=${CARRIED:-.gpu}
mkdir -p "$out"
if compgen -G "$carried/wheels/*.whl" >/dev/null; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --disable-pip-version-check \
        --target "$site" "$carried"/wheels/*.whl
fi
export PYTHONPATH="${site:+$site:}$PWD/src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
data=()
[ -d "$carried/cifar10" ] && data=(--data "$carried/cifar10")
timeout --signal INT --kill-after 10 480 "$python" benchmarks/gpu.py "${data[@]}" --json \
    --out "$out/parts.json" --results "$out/gpu.md" "$@" 2>&1 | tee "$out/output.txt"
