"""`fpnas.training_of`: from Python what `fpnas train RUN` does, with the data that the run names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from calling import Found, assert_inherited, call, write_npz

import fpnas
from fpnas.errors import InputError, RunFolderError
from fpnas.runner import Progress

FIELDS = {"batch_size": 32, "epochs": 1}


def test_it_is_the_training_of_the_command_line(copied: Path, tmp_path: Path) -> None:
    flags = ("--epochs", "1", "--batch-size", "32", "--max-steps", "3", "--threads", "1", "--precision", "fp32")
    assert call("train", copied, *flags, "--teacher", copied, "--out", tmp_path / "flags").code == 0
    job = fpnas.training_of(copied, teacher=copied, **FIELDS)
    found = fpnas.run(job, tmp_path / "python", max_steps=3, progress=Progress())
    assert found.num_images == 359
    one, other = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("flags", "python"))
    assert (one["settings"], one["data"]) == (other["settings"], other["data"])
    assert one["data"]["data"] == "digits"
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("flags", "python")]
    assert weights[0] == weights[1]
    judged = json.loads(call("evaluate", tmp_path / "python", "--json").out)  # the data are known from here too
    assert judged["accuracy"] == found.accuracy


def test_it_inherits_and_takes_other_data(copied: Path, tmp_path: Path) -> None:
    fpnas.run(fpnas.training_of(copied, inherit=True, lr=1e-12, **FIELDS), tmp_path / "inherited", max_steps=1)
    assert_inherited(tmp_path / "inherited", copied)
    write_npz(tmp_path / "three.npz", classes=3, seed=0)
    data = fpnas.data.load(tmp_path / "three.npz")
    with pytest.warns(UserWarning, match="the search in .* was of other classes, "):
        job = fpnas.training_of(copied / "arch.json", data, **FIELDS)
    assert (job.data, job.origin) == (data, {})
    with pytest.raises(InputError, match="10 classes"):
        fpnas.training_of(copied, data, inherit=True)


def test_a_run_that_says_too_little_is_refused(small: Found, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"arch\.json"):
        fpnas.training_of(tmp_path)
    (tmp_path / "arch.json").write_bytes((small.folder / "arch.json").read_bytes())
    with pytest.raises(InputError, match="expected data, got none"):
        fpnas.training_of(tmp_path)
