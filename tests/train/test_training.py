"""`Training` learns, each step is the one written out by hand, and a run that goes on is the run that never stopped."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import helpers_run as h
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import fpnas
from fpnas.errors import InputError
from fpnas.runner import Progress
from fpnas.train import accuracy

# Defaults move by measurement; what the tests say of single steps holds for these.
PLAIN = {"optimizer": "sgd", "crop": "none", "flip": False, "ema": 0.0, "label_smoothing": 0.05}


def network(**choices: int) -> nn.Module:
    supernet = h.small_supernet()
    return fpnas.from_scratch(supernet, {**supernet.arch, **choices})


def training(data: fpnas.data.ImageData | None = None, **options: Any) -> fpnas.Training:
    settings = {"epochs": 3, "batch_size": 12, **PLAIN, **options}
    choices = {"a.channels": 8} if "drop_path" in options else {}  # then there is a residual
    return fpnas.Training(network(**choices), h.made_up() if data is None else data, **settings)


def steps(job: fpnas.Training, what: str = "accuracy") -> list[Any]:
    """Runs it to the end; a value of each step."""
    return [job.step().metrics[what] for _ in range(job.steps_total)]


def accuracy_by_hand(model: nn.Module, data: fpnas.data.ImageData) -> tuple[float, float]:
    """One held-out image after another: per cent right, mean loss."""
    model.eval()
    right, loss = 0, 0.0
    with torch.no_grad():
        for image, label in zip(data.heldout.inputs, data.heldout.labels.tolist(), strict=True):
            mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (data.mean, data.std))
            log_p = model(((image / 255 - mean) / std)[None])[0].double().log_softmax(dim=0)
            right += int(log_p.argmax()) == label
            loss -= float(log_p[label])
    return 100 * right / len(data.heldout), loss / len(data.heldout)


def test_it_learns() -> None:
    """Four classes that differ in which quarter is bright: loss falls, held-out images are recognised."""
    job = training(h.made_up(train=96), epochs=12)
    losses = steps(job, "train_loss")
    quarter = len(losses) // 4
    assert sum(losses[-quarter:]) < 0.6 * sum(losses[:quarter])
    assert job.result().accuracy > 90
    assert job.result().num_images == 16


def test_accuracy_is_that_of_the_held_out_images_one_by_one() -> None:
    job = training(epochs=2)
    told = steps(job)[-1]
    percent, loss = accuracy_by_hand(copy.deepcopy(job.network), job.data)
    found = job.result()
    assert 0 < percent < 100, "all right or all wrong would prove little"
    assert found.accuracy == told == pytest.approx(percent)
    assert found.loss == pytest.approx(loss, rel=1e-4)
    job.network.train()
    again = accuracy(job.network, job.data, batch_size=5)
    assert (again.accuracy, again.loss) == (found.accuracy, pytest.approx(found.loss, rel=1e-5))
    assert job.network.training


def test_a_step_is_nesterov_sgd_on_the_smoothed_loss() -> None:
    """By hand: label smoothing, weight decay on kernels alone, linear warm-up of the rate."""
    lr, decay, smoothing = 0.4, 0.03, 0.1
    job = training(lr=lr, weight_decay=decay, label_smoothing=smoothing, epochs=10, batch_size=16)
    by_hand = copy.deepcopy(job.network)
    seen: list[Tensor] = []
    job.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    velocity: dict[str, Tensor] = {}
    for number in range(2):
        record = job.step().metrics
        labels = job.data.train.labels[h.numbers_in(seen[-1], job.data)]
        log_p = by_hand.train()(seen[-1]).log_softmax(dim=1)
        picked = log_p[range(len(labels)), labels]
        loss = -((1 - smoothing) * picked + smoothing * log_p.mean(dim=1)).mean()
        rate = lr * (number + 1) / 3  # 10 epochs of 3 steps: a tenth is 3
        assert record["lr"] == pytest.approx(rate)
        assert record["train_loss"] == pytest.approx(loss.item(), rel=1e-5)
        names, parameters = zip(*by_hand.named_parameters(), strict=True)
        with torch.no_grad():
            for name, p, g in zip(names, parameters, torch.autograd.grad(loss, parameters), strict=True):
                g = g + decay * p if p.dim() >= 2 else g
                velocity[name] = g if name not in velocity else 0.9 * velocity[name] + g
                p -= rate * (g + 0.9 * velocity[name])
    for name, p in by_hand.named_parameters():
        torch.testing.assert_close(dict(job.network.named_parameters())[name], p, rtol=1e-4, atol=1e-6)


def test_each_image_is_seen_once_an_epoch_and_held_out_ones_are_not_learnt_from() -> None:
    job = training(batch_size=10)
    seen: list[int] = []
    sizes: list[int] = []

    def note(model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if model.training:
            seen.extend(h.numbers_in(inputs[0], job.data))
            sizes.append(len(inputs[0]))

    job.network.register_forward_pre_hook(note)
    for _ in range(3):
        seen.clear()
        for _ in range(job.steps_total // 3):
            job.step()
        assert sorted(seen) == list(range(48))
    assert max(sizes) <= 10
    assert sum(sizes) == 3 * 48


def test_the_record_has_its_fields_and_judges_at_the_end_of_an_epoch() -> None:
    job = training()
    records = [job.step().metrics for _ in range(12)]
    assert [list(record) for record in records] == [["step", "epoch", "train_loss", "lr", "accuracy"]] * 12
    assert [record["accuracy"] is not None for record in records] == [number % 4 == 3 for number in range(12)]
    assert [record["epoch"] for record in records] == [number // 4 for number in range(12)]


class Dropping(nn.Module):
    """A user's own network, whose dropout draws from torch's global state."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Dropout(0.5), nn.ReLU(), nn.Linear(16, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


EVERYTHING = {
    "optimizer": "adamw",
    "ema": 0.9,
    "crop": "resized",
    "flip": True,
    "randaugment": 9,
    "random_erasing": 0.3,
    "mixup": 0.3,
    "cutmix": 0.3,
    "drop_path": 0.2,
    "teacher": lambda images: images[:, 0, ::4, 0].repeat(1, 2)[:, :4],
    "precision": "bf16",
}


@pytest.mark.parametrize("options", [{}, EVERYTHING, {"ema": 0.9, "crop": "pad"}], ids=["usual", "everything", "some"])
@pytest.mark.parametrize("at", [0, 1, 4, 7, 11])
def test_a_restored_training_goes_on_bit_for_bit(at: int, options: dict[str, Any]) -> None:
    unbroken, first, second = training(**options), training(**options), training(**options)
    with torch.no_grad():
        for p in second.network.parameters():
            p.fill_(0.5)  # restoring must bring all of it back
    wanted = [unbroken.step() for _ in range(12)]
    found = [first.step() for _ in range(at)]
    second.load_state_dict(h.through_file(first.state_dict()))
    found += [second.step() for _ in range(12 - at)]
    assert found == wanted
    assert second.result() == unbroken.result()
    for one, other in ((unbroken.network, second.network), (unbroken.trained, second.trained)):
        for name, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name


@pytest.mark.parametrize("options", [{}, EVERYTHING, {"own": True}], ids=["usual", "everything", "dropout"])
def test_it_does_not_depend_on_the_global_random_state(options: dict[str, Any]) -> None:
    weights = []
    torch.manual_seed(0)
    own = Dropping()
    fields = {name: value for name, value in options.items() if name != "own"}
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        job = training(epochs=1, **fields)
        if "own" in options:
            job = fpnas.Training(copy.deepcopy(own), h.made_up(), epochs=1, batch_size=12)
        for _ in range(4):
            job.step()
        assert torch.equal(torch.get_rng_state(), before)
        weights.append(job.network.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_recipe_and_single_fields_are_one_way_to_say_it() -> None:
    recipe = fpnas.Recipe(**{**PLAIN, "epochs": 3, "batch_size": 12, "lr": 0.3, "ema": 0.9})  # pyright: ignore
    supernet = h.small_supernet()
    whole = fpnas.Training(fpnas.from_scratch(supernet, supernet.arch), h.made_up(), recipe=recipe)
    assert whole.settings() == training(lr=0.3, ema=0.9).settings()
    assert whole.recipe == training(recipe=fpnas.Recipe(mixup=0.2), mixup=0.0, lr=0.3, ema=0.9).recipe
    with pytest.raises(InputError, match="did you mean 'epochs'"):
        training(epoch=3)


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.soak)])
def test_adamw_with_all_that_augments_learns_too(precision: str) -> None:
    """Gentle parts of each kind; classes are quarters of the image, so nothing is mirrored."""
    fields = {"optimizer": "adamw", "ema": 0.99, "crop": "pad", "randaugment": 3, "random_erasing": 0.1, "mixup": 0.1}
    job = training(h.made_up(train=192), epochs=25, precision=precision, **fields)
    steps(job)
    assert job.result().accuracy > 80


def test_the_averaged_network_is_what_is_judged_and_kept() -> None:
    job = training(epochs=2, ema=0.9)
    assert steps(job)[-1] == pytest.approx(accuracy_by_hand(copy.deepcopy(job.trained), job.data)[0])
    kept, raw = job.files()["model.safetensors"], job.network.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in job.trained.state_dict().items())
    assert not torch.equal(kept["classifier.weight"], raw["classifier.weight"])
    plain = training(epochs=2, ema=0.0)
    assert plain.trained is plain.network


# --------------------------------------------------------------------------------------------------------- in a folder


def tiny_training(data: fpnas.data.ImageData) -> fpnas.Training:
    supernet = fpnas.spaces.tiny(num_classes=4, in_channels=1)
    choices = {choice.name: choice.options[0] for choice in supernet.space.choices}
    choices |= {"group1.kernel": 3, "group2.kernel": 5, "group2.splits": 2, "group3.kernel": 3, "group3.splits": 1}
    return fpnas.Training(fpnas.from_scratch(supernet, choices), data, epochs=2, batch_size=16)


def test_a_stopped_training_goes_on_as_if_it_had_not_and_loads_as_it_was_judged(tmp_path: Path) -> None:
    data = h.made_up(train=64, heldout=40, size=16, noise=100)
    fpnas.run(tiny_training(data), tmp_path / "unbroken", progress=Progress())
    for stop in (1, 4, 6, None):
        fpnas.run(tiny_training(data), tmp_path / "run", max_steps=stop, checkpoint_every=2, progress=Progress())
        result = json.loads((tmp_path / "run" / "result.json").read_text())
        model = fpnas.load(tmp_path / "run")
        assert not model.training
        found = accuracy(model, data)
        assert result["accuracy"] == found.accuracy
        assert result["loss"] == pytest.approx(found.loss, rel=1e-5)
        assert (result["num_images"], result["heldout_from"]) == (40, "test")
        assert result["steps"] == (stop or 8)
    assert h.outcome(tmp_path / "run") == h.outcome(tmp_path / "unbroken")
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    weights = load_file(tmp_path / "run" / "model.safetensors")
    assert weights.keys() == state["job"]["network"].keys()
    assert all(torch.equal(weights[name], value) for name, value in state["job"]["network"].items())
    assert not any(type(m).__module__.startswith("fpnas") for m in model.modules())


def test_settings_tell_trainings_apart() -> None:
    """Those of a recipe's fields are in test_recipe.py."""
    changes: list[dict[str, Any]] = [{}, {"lr": 0.3}, {"recipe": fpnas.Recipe(mixup=0.1)}, {"seed": 1}]
    changes += [{"inherit": True}, {"precision": "bf16"}, {"teacher": len}]
    seen = [json.dumps(training(**change).settings()) for change in changes]
    assert len(set(seen)) == len(seen)
