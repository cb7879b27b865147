"""fpnas as someone uses it who has just installed it: find, evaluate, predict, export, report; small.

    python benchmarks/matrix/smoke.py photos     a folder of photographs that it makes; no extra of fpnas is needed
    python benchmarks/matrix/smoke.py digits     the data set: fpnas[digits]

It imports neither fpnas nor torch: the commands are called as a shell would, with the Python that runs this file.
With the packages of fpnas[onnx] the network has to be an ONNX file; without them a safetensors file, find has to say
so, and export to ONNX has to be refused in one line.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw

QUICK = ("--method", "fpnas", "--space", "tiny", "--target-flops", "1M", "--threads", "1", "--log", "none")
SHORT = ("--search-epochs", "1", "--search-batch-size", "16", "--train-batch-size", "16")
ONNX = ("onnx", "onnxscript", "onnxruntime")


def fpnas(*words: str | Path, refused: bool = False) -> str:
    """What a command prints; it must succeed, or be refused: then the line that it says."""
    command = [sys.executable, "-W", "ignore", "-m", "fpnas", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    if done.returncode != (2 if refused else 0) or len(lines) != refused:
        raise SystemExit(f"{' '.join(command)}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return lines[0] if refused else done.stdout


def expect(holds: bool, expected: str, got: object) -> None:
    """Ends with a line where it doesn't hold."""
    if not holds:
        raise SystemExit(f"expected {expected}, got {got}")


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
    source, size, epochs = (photos, "24", "6") if data == "photos" else ("digits", "16", "1")
    job = place / "job"
    find = ("find", "--data", source, "--out", job, "--image-size", size, "--train-epochs", epochs, *QUICK, *SHORT)
    said = fpnas(*find)
    answer = json.loads(fpnas(*find, "--json"))  # the job has ended: this says what it found
    file, accuracy = Path(answer["file"]), answer["rows"][0]["accuracy"]
    has_onnx = all(find_spec(name) for name in ONNX)
    expect(file.suffix == (".onnx" if has_onnx else ".safetensors"), "ONNX where it is installed", file)
    expect(("fpnas[onnx]" in said) != has_onnx, "the extra for ONNX where it is missing", said)
    if not has_onnx:
        line = fpnas("export", job, "--to", "onnx", "--out", place / "net.onnx", refused=True)
        expect("fpnas[onnx]" in line and "safetensors" in line, "the extra and another format", line)
    fpnas("export", job, "--to", "pt2", "--out", place / "net.pt2")
    found = json.loads(fpnas("evaluate", job, "--json"))
    expect(found["accuracy"] == accuracy, f"the accuracy that find names, {accuracy}", found["accuracy"])
    images = sorted(photos.rglob("*.jpg"))[:2]
    guesses, again = (json.loads(fpnas("predict", network, *images, "--json")) for network in (job, file))
    first, second = ([guess["classes"][0]["class"] for guess in each] for each in (guesses, again))
    expect(len(first) == 2 and first == second, f"{file.name} to guess as the job does", f"{first} and {second}")
    fpnas("report", job)
    return [
        f"accuracy {accuracy:.1f} % of {found['num_images']} held-out images of {data}",
        f"{file.name} of {file.stat().st_size:,} bytes guesses as the job does",
    ]


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in ("photos", "digits"):
        raise SystemExit(__doc__)
    with tempfile.TemporaryDirectory() as made:
        print("\n".join(smoke(sys.argv[1], Path(made))))
