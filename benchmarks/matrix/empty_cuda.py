"""Empty CUDA libraries: a CUDA build of torch then runs on a CPU without the gigabytes that it is linked with.

    python benchmarks/matrix/empty_cuda.py .venv-old/lib/python3.11/site-packages/torch/lib

Each library that torch's own need, and that isn't beside them, is written there: its functions all return 100, which
is CUDA's "no device". Wanted on the machine: gcc, and readelf of binutils.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

_SYSTEM = re.compile(r"lib(c|m|dl|rt|pthread|gcc_s|stdc\+\+|gomp.*)\.so|ld-linux")
_CUDA = re.compile(r"_*(cu|nccl|nv)")


def _read(flag: str, file: Path) -> list[str]:
    done = subprocess.run(["readelf", "-W", flag, str(file)], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def missing(lib: Path) -> dict[str, dict[str, set[str]]]:
    """Library -> version -> the functions that torch's libraries in `lib` want of it."""
    files = sorted(lib.glob("*.so*"))
    needed, wanted, own = set[str](), set[str](), set[str]()
    library_of: dict[str, str] = {}
    for file in files:
        needed |= {name for line in _read("-d", file) for name in re.findall(r"\(NEEDED\).*\[(.*)\]", line)}
        at = ""
        for line in _read("-V", file):
            if found := re.search(r"File: (\S+)", line):
                at = found[1]
            elif found := re.search(r"Name: (\S+)\s+Flags", line):
                library_of[found[1]] = at
        for words in map(str.split, _read("--dyn-syms", file)):
            if len(words) >= 8 and words[4] in ("GLOBAL", "WEAK"):
                (wanted if words[6] == "UND" else own).add(words[7])
    names = {name for name in needed - {file.name for file in files} if not _SYSTEM.match(name)}
    found: dict[str, dict[str, set[str]]] = {name: defaultdict(set) for name in names}
    anywhere = next(name for name in sorted(names) if name.startswith("libcudart"))
    for symbol in wanted - own:
        name, _, version = symbol.partition("@")
        if library_of.get(version) in names:
            found[library_of[version]][version].add(name)
        elif not version and _CUDA.match(name):
            found[anywhere][""].add(name)
    return found


def write(lib: Path) -> list[str]:
    """Writes them all beside torch's own; their names."""
    found = missing(lib)
    for library, versions in found.items():
        functions = sorted(set[str]().union(*versions.values()))
        with tempfile.TemporaryDirectory() as made:
            source, script = Path(made) / "empty.c", Path(made) / "versions"
            source.write_text("".join(f"int {name}(void) {{ return 100; }}\n" for name in functions) + "int none;\n")
            lines = [
                f"{version} {{ global: {'; '.join(names)}; }};\n" for version, names in versions.items() if version
            ]
            script.write_text("".join(lines))
            flags = [f"-Wl,-soname,{library}", *([f"-Wl,--version-script={script}"] if lines else [])]
            command = ["gcc", "-w", "-fno-builtin", "-shared", "-fPIC", "-o", lib / library, source, *flags]
            subprocess.run(command, check=True)
    return sorted(found)


if __name__ == "__main__":
    print("\n".join(write(Path(sys.argv[1]))))
