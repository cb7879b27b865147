"""`SupernetEvaluator` against a slow one: the one-pass gradient is the two-pass one, and a score is a score.

The reference is slow and plain: run every sample, repeats too, on a copy of the supernet whose batch norms are in
training mode; make the importance weights from those losses; differentiate the weighted loss in a second pass.
"""

from __future__ import annotations

import copy
import math
import weakref
from typing import Any

import helpers_run as h
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import fpnas
from fpnas.errors import InputError


def sampled_codes(supernet: fpnas.Supernet, count: int, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    columns = [torch.randint(0, n, (count,), generator=g) for n in supernet.space.cardinalities]
    return torch.stack(columns, dim=1)


def evaluator_of(double: bool, **options: Any) -> fpnas.SupernetEvaluator:
    settings = {"batch_size": 12, "negligible": 0.0, "clip": 1e9, "weight_decay": 0.0, **options}
    return fpnas.SupernetEvaluator(h.small_supernet(double), h.made_up(), **settings)


def batches_seen(task: fpnas.SupernetEvaluator, call: Any) -> list[Tensor]:
    """The inputs of the supernet during a call."""
    seen: list[Tensor] = []
    handle = task.supernet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    try:
        call()
    finally:
        handle.remove()
    return seen


def labels_of(batch: Tensor, data: fpnas.data.ImageData) -> Tensor:
    return data.train.labels[h.numbers_in(batch, data)]


def divisor(temperature: float | str, batch: int) -> float:
    return {"mean": float(batch), "product": 1.0}.get(temperature, temperature)  # pyright: ignore


def two_pass(
    supernet: fpnas.Supernet, codes: Tensor, images: Tensor, labels: Tensor, temperature: float | str
) -> tuple[dict[str, Tensor | None], float]:
    """sum_k q_k grad(mean cross-entropy of k), None for unused weights, and the weighted mean loss."""
    supernet.train()

    def loss_of(row: list[int]) -> Tensor:
        logits = supernet.select(supernet.space.decode(row))(images)
        picked = logits.log_softmax(dim=1)[range(len(labels)), labels]
        return -picked.sum() / len(labels)

    rows = codes.tolist()
    with torch.no_grad():
        losses = [float(loss_of(row)) for row in rows]
    scaled = [-loss * len(labels) / divisor(temperature, len(labels)) for loss in losses]
    top = max(scaled)
    weights = [math.exp(value - top) for value in scaled]
    q = [weight / sum(weights) for weight in weights]
    total = sum(share * loss_of(row) for share, row in zip(q, rows, strict=True))
    names, parameters = zip(*supernet.named_parameters(), strict=True)
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    return dict(zip(names, gradients, strict=True)), sum(share * loss for share, loss in zip(q, losses, strict=True))


def gradients_of(supernet: fpnas.Supernet) -> dict[str, Tensor | None]:
    return {name: None if p.grad is None else p.grad.clone() for name, p in supernet.named_parameters()}


def greatest_error(found: dict[str, Tensor | None], wanted: dict[str, Tensor | None]) -> float:
    """Relative to the greatest entry of the wanted gradient."""
    assert {name for name, g in wanted.items() if g is None} <= {name for name, g in found.items() if g is None}
    used = {name: g for name, g in wanted.items() if g is not None}
    scale = max(float(g.abs().max()) for g in used.values())
    assert scale > 1e-3, "a reference without a gradient proves nothing"
    return max(float(((0 if found[name] is None else found[name]) - g).abs().max()) for name, g in used.items()) / scale


# --------------------------------------------------------------------------------------------------------------- learn


@pytest.mark.parametrize("temperature", ["mean", "product", 3.0])
@pytest.mark.parametrize(("double", "allowed"), [(False, 1e-5), (True, 1e-10)])
def test_one_pass_gradient_is_the_two_pass_one(temperature: float | str, double: bool, allowed: float) -> None:
    task = evaluator_of(double, temperature=temperature)
    reference = copy.deepcopy(task.supernet)
    codes = sampled_codes(task.supernet, 7)
    learned: list[Any] = []
    seen = batches_seen(task, lambda: learned.append(task.train_step(codes, 0.0)))
    wanted, loss = two_pass(reference, codes, seen[0], labels_of(seen[0], task.data), temperature)
    assert greatest_error(gradients_of(task.supernet), wanted) < allowed
    assert learned[0].loss == pytest.approx(loss, rel=10 * allowed)
    if temperature == "product":  # the weights differ much, so that they can be told from equal ones
        equal, _ = two_pass(reference, codes, seen[0], labels_of(seen[0], task.data), 1e12)
        assert greatest_error(gradients_of(task.supernet), equal) > 1e-2


@pytest.mark.parametrize("temperature", ["mean", "product"])
def test_repeats_are_run_once_and_counted_as_often_as_drawn(temperature: str) -> None:
    task = evaluator_of(True, temperature=temperature)
    reference = copy.deepcopy(task.supernet)
    a, b = sampled_codes(task.supernet, 2)
    codes = torch.stack([a, b, a, a])
    seen = batches_seen(task, lambda: task.train_step(codes, 0.0))
    assert len(seen) == 2
    labels = labels_of(seen[0], task.data)
    wanted, _ = two_pass(reference, codes, seen[0], labels, temperature)
    once, _ = two_pass(reference, codes[:2], seen[0], labels, temperature)
    assert greatest_error(gradients_of(task.supernet), wanted) < 1e-10
    assert greatest_error(gradients_of(task.supernet), once) > 1e-3, "the repeats made no difference"


def test_vanished_samples_are_not_run_backwards_and_hardly_missed() -> None:
    """At temperature 0.02 nearly all weight is on the best of 12 samples."""
    gradients, backwards = {}, {}
    for negligible in (0.0, 1e-3):
        task = evaluator_of(True, temperature=0.02, negligible=negligible)
        calls: list[int] = []
        task.supernet.module.classifier.bias.register_post_accumulate_grad_hook(lambda _, calls=calls: calls.append(1))
        task.train_step(sampled_codes(task.supernet, 12), 0.0)
        gradients[negligible], backwards[negligible] = gradients_of(task.supernet), len(calls)
    assert backwards[0.0] == 12
    assert backwards[1e-3] < 8
    assert greatest_error(gradients[1e-3], gradients[0.0]) < 12 * 1e-3


class Saved:
    """A tensor that a graph keeps for its backward pass."""

    def __init__(self, value: Tensor) -> None:
        self.value = value


def test_one_network_at_a_time_is_in_memory() -> None:
    """Whatever becomes of a sample, all that its graph keeps is gone before the next one runs, its slices too."""
    task = evaluator_of(True, temperature=0.02, negligible=1e-3)
    saved: list[weakref.ref[Saved]] = []
    samples: list[int] = []
    backwards: list[int] = []

    def pack(value: Tensor) -> Saved:
        kept = Saved(value.detach())  # an output itself would keep its own graph alive
        saved.append(weakref.ref(kept))
        return kept

    def before(*_: Any) -> None:
        assert not any(ref() for ref in saved), "the sample before still holds its activations"
        assert not task.supernet.pick.gathered._pieces
        samples.append(len(saved))

    task.supernet.register_forward_pre_hook(before)
    task.supernet.module.classifier.bias.register_post_accumulate_grad_hook(lambda _: backwards.append(1))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.value):
        task.train_step(sampled_codes(task.supernet, 12), 0.0)
    assert len(samples) == 12 > len(backwards) + 3
    assert samples[-1] > 100, "graphs that keep nothing prove nothing"
    assert not any(ref() for ref in saved)
    for weight in task.supernet.parameters():
        assert weight.grad is None or weight.grad.shape == weight.shape


def moved(
    optimizer: str, count: int, weight: Tensor, g: Tensor, decay: float, rate: float, state: list[Tensor]
) -> None:
    """One step of a weight by hand; `count` is how many it has taken, with this one."""
    if optimizer == "sgd":
        g = g + decay * weight
        state[0] = g if count == 1 else 0.9 * state[0] + g
        weight -= rate * (g + 0.9 * state[0])
    else:
        weight -= rate * decay * weight
        state[0] = 0.9 * state[0] + 0.1 * g
        state[1] = 0.99 * state[1] + 0.01 * g * g
        mean, square = state[0] / (1 - 0.9**count), state[1] / (1 - 0.99**count)
        weight -= rate * mean / (square.sqrt() + 1e-8)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_weights_move_by_the_clipped_gradient_and_a_cosine_rate(optimizer: str) -> None:
    """Three steps by hand; a weight that no sampled architecture uses stays where it is."""
    lr, decay, clip = 0.1, 0.01, 0.5
    task = evaluator_of(True, temperature="mean", optimizer=optimizer, lr=lr, weight_decay=decay, clip=clip)
    by_hand = copy.deepcopy(task.supernet)
    state = {name: [torch.zeros_like(weight), torch.zeros_like(weight)] for name, weight in by_hand.named_parameters()}
    counts = dict.fromkeys(state, 0)
    clipped: list[bool] = []
    for step, progress in enumerate((0.0, 0.3, 0.6)):
        codes = sampled_codes(task.supernet, 2, seed=step)
        seen = batches_seen(task, lambda codes=codes, progress=progress: task.train_step(codes, progress))
        gradient, _ = two_pass(copy.deepcopy(by_hand), codes, seen[0], labels_of(seen[0], task.data), "mean")
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradient.values() if g is not None))
        clipped.append(norm > clip)
        rate = lr * (1 + math.cos(math.pi * progress)) / 2
        for name, weight in by_hand.named_parameters():
            g = gradient[name]
            if g is not None:
                counts[name] += 1
                g = g * min(1.0, clip / norm)
                moved(optimizer, counts[name], weight.data, g, decay, rate, state[name])
    assert any(clipped)
    assert {0, 1, 3} <= set(counts.values()), "weights used never, once and always"
    start = dict(h.small_supernet(True).named_parameters())
    for name, weight in task.supernet.named_parameters():
        torch.testing.assert_close(weight.data, by_hand.get_parameter(name).data, rtol=0, atol=1e-6)
        assert torch.equal(weight, start[name]) == (counts[name] == 0)


def test_half_precision_gives_nearly_the_same_loss() -> None:
    losses = []
    for precision in ("fp32", "bf16"):
        task = evaluator_of(False, precision=precision)
        losses.append(task.train_step(sampled_codes(task.supernet, 3), 0.0).loss)
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


# --------------------------------------------------------------------------------------------------------------- score


@pytest.mark.parametrize(("double", "allowed"), [(False, 1e-5), (True, 1e-10)])
def test_score_is_the_summed_log_likelihood_of_the_plain_networks(double: bool, allowed: float) -> None:
    task = evaluator_of(double)
    codes = sampled_codes(task.supernet, 5)
    codes = torch.cat([codes, codes[:2]])
    for _ in range(2):  # before the first step, and after one
        found: list[Tensor] = []
        (images, *more) = batches_seen(task, lambda found=found: found.append(task.score(codes)))
        assert all(torch.equal(images, other) for other in more)
        assert len(more) == 4, "five architectures are run once each"
        labels = labels_of(images, task.data)
        wanted = []
        for row in codes.tolist():
            network = task.supernet.extract(task.space.decode(row)).train()  # batch norms on the batch itself
            log_p = network(images).detach().double().log_softmax(dim=1)
            wanted.append(sum(float(log_p[i, label]) for i, label in enumerate(labels.tolist())))
        assert found[0].dtype == torch.float64
        assert found[0].tolist() == pytest.approx(wanted, rel=allowed)
        assert not found[0].requires_grad
        assert found[0].std() > 0.1, "architectures that all score alike prove nothing"
        task.train_step(codes[:2], 0.0)


def test_score_changes_nothing() -> None:
    task = evaluator_of(False, batch_size=5)
    codes = sampled_codes(task.supernet, 4)
    task.train_step(codes, 0.0)
    before = copy.deepcopy(task.state_dict())
    gradients = gradients_of(task.supernet)
    first = task.score(codes)
    assert torch.equal(first, task.score(codes))
    after = task.state_dict()
    assert after["steps"] == before["steps"] == 1
    for name, value in before["supernet"].items():
        assert torch.equal(value, after["supernet"][name]), name
    for key, state in before["optimizer"]["state"].items():
        for name, value in state.items():
            assert torch.equal(value, after["optimizer"]["state"][key][name])
    for name, value in gradients_of(task.supernet).items():
        assert (value is None) == (gradients[name] is None)
        assert value is None or torch.equal(value, gradients[name])


def test_a_search_leaves_running_statistics_alone() -> None:
    job = h.small_search()
    supernet = job.evaluator.supernet
    weights = {name: value.clone() for name, value in supernet.named_parameters()}
    for _ in range(job.steps_total):
        job.step()
    moved = [name for name, value in supernet.named_parameters() if not torch.equal(value, weights[name])]
    assert moved
    for name, value in supernet.named_buffers():
        wanted = 1.0 if name.endswith("running_var") else 0.0
        assert (value == wanted).all(), name


# ---------------------------------------------------------------------------------------------------------------- data


@pytest.mark.parametrize("batch_size", [5, 12])
def test_weights_and_alpha_have_disjoint_halves_that_cover_the_training_images(batch_size: int) -> None:
    task = evaluator_of(False, batch_size=batch_size)
    data = task.data
    codes = sampled_codes(task.supernet, 1)
    learned, scored = [], []
    for step in range(task.steps_per_epoch):
        (batch,) = batches_seen(task, lambda: task.train_step(codes, 0.0))
        learned += h.numbers_in(batch, data)
        assert len(batch) <= batch_size
        (batch,) = batches_seen(task, lambda: task.score(codes))
        scored += h.numbers_in(batch, data)
        assert task.num_images == len(batch), f"step {step}"
    everything = set(range(len(data.train)))
    assert len(learned) == len(set(learned)), "an image twice in an epoch"
    assert len(scored) == len(set(scored)), "an image twice in an epoch"
    assert set(learned) & set(scored) == set()
    assert set(learned) | set(scored) == everything
    for label in range(data.num_classes):
        counts = [sum(int(data.train.labels[i]) == label for i in half) for half in (learned, scored)]
        assert abs(counts[0] - counts[1]) <= 1


def test_batches_differ_between_epochs_and_seeds_and_not_between_equal_evaluators() -> None:
    def epochs(seed: int) -> list[list[int]]:
        task = evaluator_of(False, seed=seed)
        codes = sampled_codes(task.supernet, 1)
        rows = []
        for _ in range(2 * task.steps_per_epoch):
            (batch,) = batches_seen(task, lambda: task.train_step(codes, 0.0))
            rows.append(h.numbers_in(batch, task.data))
        return rows

    first, again, other = epochs(0), epochs(0), epochs(1)
    assert first == again
    assert first != other
    assert first[: len(first) // 2] != first[len(first) // 2 :]


def test_held_out_images_are_never_read(monkeypatch: pytest.MonkeyPatch) -> None:
    data = h.made_up()
    sly = h.Untouchable(data.heldout.inputs, data.heldout.labels)
    guarded = fpnas.data.ImageData(data.name, data.train, sly, data.classes, data.heldout_from, data.mean, data.std)
    monkeypatch.setattr(h.Untouchable, "armed", True)
    with pytest.raises(AssertionError, match="held-out"):
        _ = guarded.heldout.inputs
    job = h.small_search(guarded, epochs=1)
    for _ in range(job.steps_total):
        job.step()
    job.files()


def test_held_out_images_have_no_influence() -> None:
    """Poisoned: other held-out images with all labels wrong, and the search is the same in every number."""
    data = h.made_up()
    other = h.images_of(16, 77)
    poisoned = fpnas.data.ImageSet(other.inputs.flip(3), (other.labels + 1) % h.CLASSES)
    spoilt = fpnas.data.ImageData(data.name, data.train, poisoned, data.classes, data.heldout_from, data.mean, data.std)
    records = []
    for images in (data, spoilt):
        job = h.small_search(images, epochs=1)
        records.append([job.step().metrics for _ in range(job.steps_total)] + [job.files()])
    assert records[0] == records[1]


# ------------------------------------------------------------------------------------------------------------ refusals


def test_it_refuses_what_does_not_fit() -> None:
    data = h.made_up()
    with pytest.raises(InputError, match="image size"):
        fpnas.SupernetEvaluator(fpnas.spaces.tiny(4, 1), data)
    with pytest.raises(InputError, match="batch size"):
        fpnas.SupernetEvaluator(h.small_supernet(), data, batch_size=1)
    with pytest.raises(InputError, match="temperature"):
        fpnas.SupernetEvaluator(h.small_supernet(), data, temperature=-1.0)
    with pytest.raises(InputError):
        fpnas.SupernetEvaluator(h.small_supernet(in_channels=3), data)
    with pytest.raises(InputError, match="a supernet of 4 classes"):
        fpnas.SupernetEvaluator(h.small_supernet(classes=3), data)


def test_describe_counts_the_plain_network() -> None:
    task = evaluator_of(False)
    for row in sampled_codes(task.supernet, 4).tolist():
        arch = task.space.decode(row)
        network = task.supernet.extract(arch)
        facts = task.describe(arch)
        with FlopCounterMode(display=False) as counter:
            network.eval()(torch.zeros(1, 1, 8, 8))
        assert facts["flops"] == counter.get_total_flops() / 2
        assert facts["params"] == sum(p.numel() for p in network.parameters())
        assert facts["choices"] == dict(arch)
        assert (facts["image_size"], facts["in_channels"], facts["num_classes"]) == (8, 1, 4)
