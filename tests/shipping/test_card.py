"""Nothing that comes from files can become markup in a model card."""

from __future__ import annotations

import re

import pytest
from markdown_it import MarkdownIt

from fpnas.shipping import model_card
from fpnas.text import code, escaped, span

EVIL = [
    "<script>alert(1)</script>",
    "</code></pre>\"'><img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](http://example.com/x.png)",
    "a | b\n| --- |\n# heading",
    "`code` **bold** _it_ ~~no~~",
    "http://example.com and www.example.com and me@example.com",
    "```\nend of the block",
    "&lt;b&gt; \\*",
]


def facts(evil: str) -> dict[str, object]:
    return {
        "format": "onnx",
        "file": evil,
        "bytes": 10,
        "int8": True,
        "difference": 1e-7,
        "space": evil,
        "choices": {f"{evil}.kernel": evil, "group.act": "relu"},
        "flops": 1000,
        "params": 200,
        "image_size": 16,
        "in_channels": 1,
        "mean": [0.5],
        "std": [0.25],
        "classes": [evil, "b"],
        "training": {
            "accuracy": 90.0,
            "num_images": 10,
            "heldout_from": evil,
            "data": evil,
            "data_digest": evil,
            evil: evil,
            "classes": [evil],
            "balanced_accuracy": 80.0,
            "per_class": [{"name": evil, "num_images": 5, "recall": 70.0}, {"name": "b", "num_images": 0}],
        },
        "commands": [evil],
        "versions": {evil: evil},
        "measured": {
            "data": evil,
            "heldout_from": evil,
            "num_images": 10,
            "repeats": 3,
            "runtime": evil,
            "machine": evil,
            "files": {evil: {"accuracy": 90.0, "bytes": 10, "ms_per_image": 0.1, "agrees": None}},
        },
    }


def kinds(card: str) -> list[str]:
    """The kinds of elements in a rendered card, in order."""
    html = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough").render(card)
    return re.findall(r"<(/?[a-z0-9]+)", html)


@pytest.mark.parametrize("evil", EVIL)
def test_a_card_of_evil_names_is_built_like_one_of_good_names(evil: str) -> None:
    assert kinds(model_card(facts(evil))) == kinds(model_card(facts("good")))


@pytest.mark.parametrize("evil", EVIL)
def test_text_reads_as_it_was(evil: str) -> None:
    rendered = MarkdownIt("commonmark").enable("table").render(escaped(evil))
    plain = " ".join(evil.split("\n"))
    for raw, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        plain = plain.replace(raw, entity)
    assert rendered == f"<p>{plain}</p>\n"
    assert not re.search(r"(?<!\\)(?:https?:|www\.|@)", escaped(evil)), "GitHub would make it a link"


def test_a_fence_is_longer_than_the_backticks_within() -> None:
    assert code(["a ```` b"], "sh") == ["`````sh", "a ```` b", "`````"]


@pytest.mark.parametrize("evil", EVIL)
def test_a_span_of_code_holds_what_it_is_given(evil: str) -> None:
    rendered = MarkdownIt("commonmark", {"html": True}).render(span(evil))
    assert kinds(span(evil)) == ["p", "code", "/code", "/p"], rendered


def test_it_says_how_well_each_class_is_recognised_the_lowest_first() -> None:
    rows = [{"name": f"class {n}", "num_images": n, "recall": 100.0 - n} for n in range(30)]
    few = {"balanced_accuracy": 76.912, "per_class": [*rows[:3], {"name": "empty", "num_images": 0, "recall": None}]}
    card = model_card({**facts("x"), "training": few})
    assert "| balanced accuracy, the mean of the classes' recalls | 76.91 % |" in card
    assert "class 2 98.0 % of 2, class 1 99.0 % of 1, class 0 100.0 % of 0 |" in card
    assert "empty" not in card
    many = model_card({**facts("x"), "training": {"per_class": rows}})
    assert "| lowest recalls, of 30 classes | class 29 71.0 % of 29, " in many
    assert ("class 20 " in many, "class 19 " in many) == (True, False)
    for odd in (3, ["x"], [{"recall": "x"}], None):
        assert "recalls" not in model_card({**facts("x"), "training": {"per_class": odd}})


def test_little_is_needed() -> None:
    known = {
        key: value for key, value in facts("x").items() if key not in ("training", "commands", "measured", "space")
    }
    card = model_card(known)
    assert "As measured" not in card
    assert "after training" not in card


def test_a_card_of_a_thousand_classes_stays_readable() -> None:
    names = [f"class {number}" for number in range(1000)]
    training = {
        "accuracy": 50.0,
        "per_class": [{"name": name, "num_images": 3, "recall": 50.0} for name in names],
        "data_classes": names,
        "class_weights": dict.fromkeys(names, 2.0),
        "data_mean": [0.5],
    }
    card = model_card({**facts("plain"), "classes": names, "training": training})
    assert max(map(len, card.splitlines())) < 500
    assert "data_classes of 1000 values, class\\_weights of 1000 values, data\\_mean" in card.replace(
        "data\\_classes", "data_classes"
    )
    assert "class 19, and 980 more (beside the file)" in card
    assert "lowest recalls, of 1000 classes" in card
