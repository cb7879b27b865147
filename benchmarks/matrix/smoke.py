"""fpnas as someone uses it who has just installed it: search, train, evaluate, predict, export, report; small.

    python benchmarks/matrix/smoke.py photos     a folder of photographs that it makes; no extra of fpnas is needed
    python benchmarks/matrix/smoke.py digits     the data set, and an ONNX file: fpnas[digits,onnx]

It imports neither fpnas nor torch: the commands are called as a shell would, with the Python that runs this file.
Where ONNX isn't installed, export has to say so in one line, and writes safetensors.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw

QUICK = ("--batch-size", "16", "--threads", "1", "--log", "none")
ONNX = ("onnx", "onnxscript", "onnxruntime")


def fpnas(*words: str | Path, refused: bool = False) -> str:
    """What a command prints; it must succeed, or be refused: then the line that it says."""
    command = [sys.executable, "-W", "ignore", "-m", "fpnas", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    if done.returncode != (2 if refused else 0) or len(lines) != refused:
        raise SystemExit(f"{' '.join(command)}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return lines[0] if refused else done.stdout


def make_photos(folder: Path, each: int = 40, side: int = 48) -> Path:
    """Class folders of JPEGs: discs, bars and checks, in other places, sizes and colours each."""
    for label, kind in enumerate(("bars", "checks", "discs")):
        (folder / kind).mkdir(parents=True)
        for number in range(each):
            image = Image.new("RGB", (side + number % 5, side), (40 + 3 * number, 90, 200 - 4 * number))
            draw, size, at = ImageDraw.Draw(image), 8 + number % 7, number % 11
            colour = (255 - 5 * number, 20 * label + 80, 5 * number)
            for row in range(3):
                for column in range(3):
                    x, y = at + 14 * column, at + 14 * row
                    if kind == "discs":
                        draw.ellipse((x, y, x + size, y + size), fill=colour)
                    elif kind == "bars" or (row + column) % 2:
                        draw.rectangle((x, y, x + size, y + (3 if kind == "bars" else size)), fill=colour)
            image.save(folder / kind / f"{number}.jpg")
    return folder


def smoke(data: str, place: Path) -> list[str]:
    """Goes all the way, in `place`; what was found in a line each."""
    photos = make_photos(place / "photos")
    source = photos if data == "photos" else "digits"
    run, size = place / "run", ("--image-size", "24" if data == "photos" else "16")
    few = ("--method", "fpnas", "--space", "tiny", "--epochs", "1", "--max-steps", "3", "--target-flops", "1M")
    fpnas("search", "--data", source, *size, *few, *QUICK, "--out", run)
    fpnas("train", run, "--epochs", "6" if data == "photos" else "1", *QUICK)
    found = json.loads(fpnas("evaluate", run, "--json"))
    images = sorted(photos.rglob("*.jpg"))[:2]
    guesses = json.loads(fpnas("predict", run, *images, "--json"))
    if len(guesses) != 2 or not 0 <= found["accuracy"] <= 100:
        raise SystemExit(f"expected two guesses and an accuracy, got {guesses} and {found['accuracy']}")
    lines = [f"accuracy {found['accuracy']:.1f} % of {found['num_images']} held-out images of {data}"]
    if all(find_spec(name) for name in ONNX):
        fpnas("export", run, "--to", "onnx", "--out", place / "net.onnx", "--data", source)
        exported = place / "net.onnx"
    else:
        line = fpnas("export", run, "--to", "onnx", "--out", place / "net.onnx", refused=True)
        if "fpnas[onnx]" not in line or "safetensors" not in line:
            raise SystemExit(f"expected the extra and another format, got {line}")
        fpnas("export", run, "--to", "safetensors", "--out", place / "net" / "net.safetensors")
        exported = place / "net" / "net.safetensors"
    again = json.loads(fpnas("predict", exported, *images, "--json"))
    if [each["classes"][0]["class"] for each in again] != [each["classes"][0]["class"] for each in guesses]:
        raise SystemExit(f"expected {exported.name} to guess as the run does, got {again} and {guesses}")
    fpnas("report", run)
    return [*lines, f"{exported.name} of {exported.stat().st_size:,} bytes guesses as the run does"]


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in ("photos", "digits"):
        raise SystemExit(__doc__)
    with tempfile.TemporaryDirectory() as made:
        print("\n".join(smoke(sys.argv[1], Path(made))))
