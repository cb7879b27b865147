"""`find`: its stages and files, that it goes on where it was left, and what fits into so many minutes."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import helpers_run as h
import pytest
import torch
from torch import nn

import fpnas
from fpnas import finder
from fpnas.data import ImageData
from fpnas.finder import job, pace, stages
from fpnas.finder.choice import hint, space_for
from fpnas.finder.pace import Pace, search_within, seconds_left, training_within
from fpnas.finder.rivals import LEAST, random_one, ready_made
from fpnas.runner import ArchRecord, Callback, read_arch
from fpnas.spaces.models import register_model
from fpnas.train.suited import MOST_EPOCHS

TARGET = 2e4
TIMES = re.compile(
    r'"(seconds|peak_memory_mb|ms_per_image|ms)": [0-9.e-]+|seconds [0-9.]+|(?<=\| )[0-9.]+(?= \|)|[0-9.]+ (ms|s)\b'
)


def small(num_classes: int = 4, in_channels: int = 1, image_size: int = 16, seed: int = 0) -> fpnas.Supernet:
    del image_size
    return fpnas.Supernet(h.SmallNet(in_channels, num_classes, double=False), seed=seed, name="small")


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    fpnas.spaces.register("small")(small)
    monkeypatch.setattr("fpnas.evaluators.proxy.STEPS", 6)


@pytest.fixture(scope="module")
def images() -> ImageData:
    return h.made_up(train=64, heldout=24, size=16)


def found(images: ImageData, out: Path, **options: Any) -> finder.Found:
    given: dict[str, Any] = {"target_flops": TARGET, "space": "small", "search_epochs": 2, "to": "safetensors"}
    given |= {"search_batch_size": 16, "batch_size": 16, "epochs": 2, **options}
    return fpnas.find(images, out=out, **{name: value for name, value in given.items() if value is not None})


def test_it_leaves_a_network_within_the_budget_with_file_card_and_report(images: ImageData, tmp_path: Path) -> None:
    done = found(images, tmp_path / "job", compare=True)
    place = tmp_path / "job"
    names = ["network found", "random network"]
    rows = {row.name: row for row in done.rows}
    assert [name for name in rows if name in names] == names
    shape = images.input_shape
    for name, row in rows.items():
        folder = place / stages.FOLDERS[name]
        judged = fpnas.evaluate(folder, images)
        assert (row.accuracy, row.balanced_accuracy) == (judged.accuracy, judged.balanced_accuracy)
        assert row.accuracy_interval == judged.accuracy_interval
        arch = read_arch(folder).arch
        layers = fpnas.layer_costs(read_arch(folder).as_recorded, arch, shape)
        assert (row.flops, row.params) == (sum(x.flops for x in layers), sum(x.params for x in layers))
        assert row.bytes == row.file.stat().st_size
        assert row.ms > 0
        network, image = fpnas.load(row.file), images.normalize(images.heldout.inputs)
        assert torch.equal(network(image), fpnas.load(folder)(image))
    assert done.arch == read_arch(place).arch == read_arch(place / "train").arch
    assert rows["network found"].flops <= TARGET
    assert LEAST * rows["network found"].flops <= rows["random network"].flops <= rows["network found"].flops
    assert done.accuracy.accuracy == rows["network found"].accuracy
    assert "Model card" in done.card.read_text() or done.card.read_text().startswith("#")
    assert "<html" in done.report.read_text()
    assert json.loads((place / "find.json").read_text())["rows"][0]["flops"] == rows["network found"].flops


def test_a_job_that_ended_stays_as_it_is_and_can_be_compared_later(images: ImageData, tmp_path: Path) -> None:
    first = found(images, tmp_path)
    before = h.contents(tmp_path)
    again = found(images, tmp_path)
    assert h.contents(tmp_path) == before
    assert again.rows == first.rows
    more = found(images, tmp_path, compare=True)
    assert more.rows[0] == first.rows[0]
    assert [row.name for row in more.rows][:2] == ["network found", "random network"]
    kept = {name: digest for name, digest in h.contents(tmp_path).items() if name in before}
    assert [name for name in before if kept[name] != before[name]] == ["find.json", "report.html"]


@pytest.mark.parametrize("change", [{"search_epochs": 3}, {"epochs": 3}, {"seed": 1}, {"target_flops": 1.5e4}])
def test_another_job_in_its_folder_is_refused(change: dict[str, Any], images: ImageData, tmp_path: Path) -> None:
    found(images, tmp_path)
    before = h.contents(tmp_path)
    with pytest.raises(fpnas.errors.RunFolderError, match=r"the settings of the run that the folder holds"):
        found(images, tmp_path, **change)
    assert h.contents(tmp_path) == before


class Dying(Callback):
    """Ends the process, as far as the job can tell, after so many steps of a kind of run."""

    def __init__(self, kind: str, steps: int) -> None:
        self.kind, self.left, self.running = kind, steps, ""

    def on_start(self, run: Any) -> None:
        self.running = run.kind

    def on_step(self, line: Any) -> None:
        if self.running == self.kind:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


def killed(*_: Any) -> None:
    raise KeyboardInterrupt


def without_times(folder: Path) -> dict[str, str]:
    """Text of what is left, but for what a clock or a path says; the bytes of weights."""
    texts: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        inside = str(path.relative_to(folder))
        if path.suffix in (".json", ".jsonl", ".md"):
            texts[inside] = TIMES.sub("", path.read_text().replace(str(folder), "HERE"))
        elif path.suffix == ".safetensors":
            texts[inside] = path.read_bytes().hex()
    return texts


@pytest.mark.parametrize(("kind", "steps"), [("search", 1), ("search", 9), ("train", 1), ("train", 6)])
def test_killed_in_a_stage_and_called_again_it_ends_in_the_same_files(
    kind: str, steps: int, images: ImageData, tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    found(images, whole, checkpoint_every=2)
    with pytest.raises(KeyboardInterrupt):
        found(images, cut, checkpoint_every=2, callbacks=[Dying(kind, steps)])
    found(images, cut, checkpoint_every=2)
    assert without_times(cut) == without_times(whole)


def test_a_space_of_this_package_is_known_as_a_function_too(images: ImageData) -> None:
    named = {space: job._space(space, images, None)[0] for space in ("tiny", fpnas.spaces.tiny, small)}  # pyright: ignore[reportPrivateUsage]
    assert named == {"tiny": "tiny", fpnas.spaces.tiny: "tiny", small: None}


def plain_net() -> nn.Module:
    """A network with weights: 20 k multiply-adds and more, four classes."""
    layers: list[nn.Module] = [nn.Conv2d(1, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()]
    layers += [nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(*layers, nn.Linear(32, 4))


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_from_a_network_that_learns_the_images_first(steps: int, images: ImageData, tmp_path: Path) -> None:
    register_model("plain-net", plain_net)
    whole, cut = tmp_path / "unbroken", tmp_path / "cut"
    given = fpnas.spaces.Model("plain-net", plain_net().eval(), 16, pretrained=True)
    options: dict[str, Any] = {"space": given, "target_flops": 6e4, "tune_epochs": 2, "epochs": 4}
    done = found(images, whole, **options)
    assert h.read(whole / "whole" / "run.json")["settings"]["epochs"] == 2
    assert h.read(whole / "train" / "run.json")["settings"]["inherit"]
    assert done.rows[0].flops <= 6e4
    assert found(images, whole, **options).rows == done.rows
    with pytest.raises(KeyboardInterrupt):
        found(images, cut, **options, checkpoint_every=2, callbacks=[Dying("train", steps)])
    found(images, cut, **options)
    assert without_times(cut) == without_times(whole)
    with pytest.raises(fpnas.InputError, match="a network as space"):
        found(images, tmp_path / "new", tune_epochs=2)
    with pytest.raises(fpnas.InputError, match="a target of at least"):
        found(images, tmp_path / "new", **{**options, "target_flops": 10})
    assert not (tmp_path / "new").exists()


def test_killed_while_files_are_written_it_ends_in_the_same_files(
    images: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    found(images, whole)
    for place in ("fpnas.finder.stages.written", "fpnas.report.write_report"):
        with monkeypatch.context() as patch:
            patch.setattr(place, killed)
            with pytest.raises(KeyboardInterrupt):
                found(images, cut)
    found(images, cut)
    assert without_times(cut) == without_times(whole)


# ------------------------------------------------------------------------------------------------------ so many minutes


def test_a_search_gets_its_share_of_the_minutes() -> None:
    look = 60.0
    assert search_within(30, look, full=600) == (12, None)
    assert search_within(10, look, full=600) == (4, None)
    epochs, steps = search_within(5, look, full=600)  # two looks fit: three shorter ones
    assert (epochs, steps) == (pace.LEAST_LOOKS, 400)
    assert pace.LEAST_LOOKS * look * 400 / 600 == pytest.approx(pace.SEARCH_SHARE * 5 * 60)
    with pytest.raises(fpnas.InputError, match=r"at least 2\.5 minutes"):
        search_within(2, look, full=600)
    assert search_within(30, look, full=None) == (12, None)
    with pytest.raises(fpnas.InputError, match="minutes"):
        search_within(2, look, full=None)


def test_the_whole_network_learns_within_the_minutes_and_keeps_its_epochs(
    images: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_model("plain-net", plain_net)
    given = fpnas.spaces.Model("plain-net", plain_net().eval(), 16, pretrained=True)
    options: dict[str, Any] = {"space": given, "target_flops": 6e4, "minutes": 1, "search_epochs": None, "epochs": None}
    paces = {1: Pace(step=0.5, judging=0.5, steps=4), 2: Pace(step=1e-4, judging=0, steps=4)}
    for number, pace_found in paces.items():
        monkeypatch.setattr(stages, "pace_of", lambda *_, found=pace_found: found)
        monkeypatch.setattr(stages, "training_within", lambda *_: 2)
        with pytest.raises(KeyboardInterrupt):
            found(images, tmp_path / str(number), **options, callbacks=[Dying("train", 1)])
        found(images, tmp_path / str(number), **options)
    epochs = [h.read(tmp_path / number / "whole" / "run.json")["settings"]["epochs"] for number in "12"]
    assert epochs == [int(pace.TUNE_SHARE * 60 / 2.5), 6]


def test_a_training_gets_what_is_left() -> None:
    each = Pace(step=0.1, judging=2.0, steps=100)
    assert each.epoch == pytest.approx(12.0)
    left = 10 * 12 / (1 - pace.REST_SHARE) + pace.REST_SECONDS / (1 - pace.REST_SHARE)
    assert training_within(left + 0.1, each) == 10
    assert training_within(left - 1, each) == 9
    assert training_within(-5, each) == 1
    assert training_within(1e9, each) == MOST_EPOCHS
    assert seconds_left(10, 200) == pytest.approx(400)
    assert seconds_left(10, 700) == seconds_left(10, 599) == pytest.approx(pace.TRAINING_SHARE * 600)


def test_within_minutes_lengths_are_chosen_once_and_kept(
    images: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "REST_SECONDS", 0.0)
    options: dict[str, Any] = {"minutes": 0.1, "search_epochs": None, "epochs": None}
    with pytest.raises(KeyboardInterrupt):
        found(images, tmp_path, **options, callbacks=[Dying("train", 3)])
    decided = h.read(tmp_path / "run.json")["find"]
    settings = h.read(tmp_path / "train" / "run.json")["settings"]
    assert decided["minutes"] == 0.1
    assert h.read(tmp_path / "run.json")["settings"]["epochs"] == decided["search_epochs"] >= pace.LEAST_LOOKS
    assert settings["epochs"] >= 1
    monkeypatch.setattr(stages, "search_within", None)  # nothing is chosen again
    monkeypatch.setattr(stages, "training_within", None)
    found(images, tmp_path, **options)
    assert h.read(tmp_path / "train" / "run.json")["settings"] == settings
    with pytest.raises(fpnas.errors.RunFolderError, match=r"the minutes of the run .* got 0\.2 where .* has 0\.1"):
        found(images, tmp_path, **{**options, "minutes": 0.2})
    with pytest.raises(fpnas.errors.RunFolderError, match=r"got none where .* has 0\.1"):
        found(images, tmp_path)


def test_a_training_that_fits_many_times_ends_before_its_minutes(
    images: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stages, "pace_of", lambda *_: Pace(step=1e-3, judging=0.0, steps=4))
    monkeypatch.setattr(pace, "MOST_EPOCHS", 2)
    monkeypatch.setattr(pace, "MOST_EPOCHS", 2)
    found(images, tmp_path, minutes=1.0, search_epochs=None, epochs=None)
    assert h.read(tmp_path / "train" / "run.json")["settings"]["epochs"] == 2
    line = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("training: 2 epochs"))
    assert re.fullmatch(r"training: 2 epochs, the most that .*: the job ends about \d+ s before its time", line)


def test_counts_of_one_are_said_as_such(images: ImageData, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found(images, tmp_path, search_epochs=1, epochs=1)
    said = capsys.readouterr().err
    assert "1 look, which makes 6 steps" in said
    assert "1 epoch, which makes 4 steps" in said


def test_no_pace_is_measured_where_nothing_is_left_to_wait_for(
    images: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(images, tmp_path)
    monkeypatch.setattr(stages, "pace_of", killed)
    found(images, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        found(images, tmp_path / "another")


def test_the_folder_of_another_run_is_refused_at_once(images: ImageData, tmp_path: Path) -> None:
    found(images, tmp_path)
    with pytest.raises(fpnas.errors.RunFolderError, match="that of an earlier find, got another run in"):
        found(images, tmp_path / "train", minutes=0.1, search_epochs=None, epochs=None)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"minutes": 1.0, "epochs": None}, "minutes, or lengths of search and training"),
        ({"minutes": 1.0, "search_epochs": None}, "minutes, or lengths of search and training"),
        ({"minutes": 0.0, "search_epochs": None, "epochs": None}, "minutes above 0"),
        ({"minutes": 0.0001, "search_epochs": None, "epochs": None}, "at least"),
        ({"target_params": 10.0}, "a target of at least"),
        ({"metric": "balanced_accuracy", "method": "random"}, "for a metric"),
        ({"target_flops": 1.0}, "a target of at least"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_written(
    options: dict[str, Any], says: str, images: ImageData, tmp_path: Path
) -> None:
    with pytest.raises(fpnas.InputError, match=says):
        found(images, tmp_path / "job", **options)
    assert not (tmp_path / "job").exists()


# ------------------------------------------------------------------------------------------------------------ the space


def sized(size: int, channels: int = 3) -> ImageData:
    return h.made_up(train=8, heldout=4, size=size, channels=channels)


def test_the_space_follows_from_size_and_budget() -> None:
    assert space_for(sized(32), 3e6)[0] == "tiny"
    assert space_for(sized(64), 8e6)[0] == "tiny"
    assert space_for(sized(64), None)[0] == "tiny"
    assert space_for(sized(64), 100e6)[0] == "fpnas-l0"  # beyond what tiny has at 64 px
    assert space_for(sized(128), 30e6)[0] == "fbnetv2-f"
    assert space_for(sized(128), 400e6)[0] == "fpnas-l0"
    assert space_for(sized(128), 9e9)[0] == "fpnas-l1"
    for size, target in itertools.product((16, 64, 128), (1e6, 100e6, 9e9)):
        name, why = space_for(sized(size), target)
        assert str(size) in why
        assert name in fpnas.spaces.SPACES


@pytest.mark.parametrize("kind", [kind for kind in finder.choice.KINDS if kind.name in ("tiny", "fbnetv2-f")])
def test_the_greatest_costs_are_those_of_the_spaces(kind: Any) -> None:
    with torch.device("meta"):
        supernet = fpnas.spaces.by_name(kind.name)(num_classes=10, in_channels=3, image_size=64)
    assert fpnas.Flops(supernet, (3, 64, 64)).bounds()[1] == pytest.approx(kind.greatest, rel=0.02)


@pytest.mark.parametrize("size", [8, 15])
def test_images_that_no_space_suits_are_refused(size: int) -> None:
    with pytest.raises(fpnas.InputError, match=rf"images of 16 to 512 px, got {size} px; .* name a space"):
        space_for(sized(size), 1e6)


def test_few_photographs_are_better_served_by_trained_weights() -> None:
    photographs = replace(sized(64), skipped=())
    assert "--from" in (hint(photographs, pretrained=False) or "")
    assert hint(photographs, pretrained=True) is None
    assert hint(sized(64), pretrained=False) is None, "arrays, of which nothing is known"
    assert hint(sized(16, channels=1), pretrained=False) is None


def test_the_job_chooses_a_space_and_keeps_it(
    images: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(job, "space_for", lambda *_: ("small", "small ones suit"))
    found(images, tmp_path, space="auto")
    assert "space: small, small ones suit" in capsys.readouterr().err
    monkeypatch.setattr(job, "space_for", lambda *_: ("tiny", "another version of fpnas thinks otherwise"))
    found(images, tmp_path, space="auto")
    assert read_arch(tmp_path).space == "small"


def test_a_space_may_be_a_function(images: ImageData, tmp_path: Path) -> None:
    made = found(images, tmp_path, space=partial(small), method="random", method_options={"num_samples": 2})
    assert h.read(tmp_path / "run.json")["settings"]["method"] == "random"
    assert made.rows[0].flops <= TARGET


# ---------------------------------------------------------------------------------------------------- what it is beside


def test_a_random_network_is_another_one_of_the_same_cost(images: ImageData, tmp_path: Path) -> None:
    found(images, tmp_path)
    record = read_arch(tmp_path)
    cost = fpnas.Flops(record.as_recorded, images.input_shape)
    most = cost.of(record.arch)
    drawn = [random_one(record, images, seed) for seed in range(8)]
    assert all(each.arch != record.arch and cost.of(each.arch) <= most for each in drawn)
    assert len({each.arch for each in drawn}) > 1
    assert random_one(record, images, 3) == drawn[3]
    cheapest = cost.space.decode(cost.table.extreme(1)[1])
    alone = random_one(replace(record, arch=cheapest), images, 0)  # nothing is cheaper: the nearest
    assert cost.of(alone.arch) >= cost.of(cheapest)


def test_a_ready_made_network_is_narrowed_and_keeps_its_own_kernels(images: ImageData) -> None:
    def make() -> nn.Module:
        layers = [nn.Conv2d(1, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU()]
        layers += [nn.Conv2d(32, 32, 3, 1, 1, groups=32), nn.BatchNorm2d(32), nn.ReLU()]
        return nn.Sequential(*layers, nn.Conv2d(32, 64, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 4))

    register_model("plain", make)
    smaller = fpnas.spaces.Smaller(widths=(0.5,), kernels=(3, 7))
    blank = ArchRecord("plain", fpnas.Arch({}), 16, 1, 4, smaller=smaller)
    space, cost = blank.as_recorded.space, fpnas.Flops(blank.as_recorded, images.input_shape)
    kernels = [choice for choice in space.choices if 7 in choice.options]
    assert len(kernels) == 1
    assert kernels[0].options == (3, 7)
    found = replace(blank, arch=space.decode([0] * len(space)))  # narrow, with its own kernel
    made = ready_made(found, images)
    assert cost.of(found.arch) * 0.8 <= fpnas.Flops(made.as_recorded, images.input_shape).of(made.arch)
    assert fpnas.Flops(made.as_recorded, images.input_shape).of(made.arch) <= cost.of(found.arch)
    assert made.arch[kernels[0].name] == 3, "not the largest, which the network never had"
