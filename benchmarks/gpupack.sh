#!/usr/bin/env bash
# Fills .gpu/ with what benchmarks/gpu.sh wants on a machine without network: wheels for its Python, and CIFAR-10.
#
# $AT: that machine's Python, 3.12. $CIFAR10: a folder of parquet files, or an .npz; shared/data/cifar10 beside this folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
limit=64 # MiB: of .gpu and of the files that git knows
rm -rf .gpu
mkdir -p .gpu/wheels
platforms=()
for glibc in 2_28 2_27 2_17; do platforms+=(--platform "manylinux_${glibc}_x86_64"); done
# torch and NumPy are those of the machine; all others are as in constraints.txt.
grep -vE '^(torch|numpy)' constraints.txt >.gpu/constraints.txt
"${PYTHON:-python3}" -m pip download -q --no-input --disable-pip-version-check --only-binary=:all: \
    --python-version "${AT:-3.12}" --implementation cp "${platforms[@]}" --platform manylinux2014_x86_64 \
    -c .gpu/constraints.txt -d .gpu/wheels pydantic typer rich jinja2 filelock safetensors jaxtyping
images=${CIFAR10:-../shared/data/cifar10}
if [ -e "$images" ]; then
    cp -r --no-preserve=mode "$images" .gpu/
else
    echo "no $images: images will be made up" >&2
fi
size=$({ git ls-files -z; find .gpu -type f -print0; } | xargs -0 du -cm --apparent-size | tail -n 1 | cut -f 1)
if [ "$size" -gt "$limit" ]; then
    echo "error: expected $limit MiB at most with the files of git, got $size; carry less" >&2
    exit 2
fi
echo ".gpu: $(find .gpu/wheels -name '*.whl' | wc -l) wheels, $(du -sm .gpu | cut -f 1) MiB; $size of $limit MiB with the files of git"
