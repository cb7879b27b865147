"""The picture of a bench as SVG: simple regret against queries, a line for each method's median, a band for its
quartiles, both axes logarithmic. Written by hand: a few lines and polygons need no library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from fpnas.bench.results import Summary
from fpnas.text import one_line

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 40, 50
FLOOR = 0.01
"""Points; whatever lies below is drawn here, since 0 has no logarithm."""

# Okabe and Ito's: told apart by colour-blind eyes too.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DASHES = ("", "6 3", "2 3", "8 3 2 3")


def picture(found: Summary, title: str) -> str:
    """The SVG's text."""
    checkpoints = list(next(iter(found.values())))
    top = max([own[q].q75 for own in found.values() for q in checkpoints] + [10 * FLOOR])
    low, high = math.log10(FLOOR), math.log10(10 ** math.ceil(math.log10(top)))
    first, last = math.log(checkpoints[0]), math.log(checkpoints[-1])

    def x(queries: int) -> float:
        share = (math.log(queries) - first) / (last - first) if last > first else 0.5
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(regret: float) -> float:
        share = (math.log10(max(regret, FLOOR)) - low) / (high - low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f"<title>{escape(one_line(title))}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT, 22, title, "start", 14),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "queries", "middle"),
        f'<text transform="translate(18 {(TOP + HEIGHT - BOTTOM) / 2:.1f}) rotate(-90)" text-anchor="middle">'
        '<tspan font-size="12">simple regret, points of accuracy</tspan></text>',
    ]
    for queries in checkpoints:
        parts.append(_line([(x(queries), y(FLOOR)), (x(queries), TOP)], "#dddddd", 1))
        parts.append(_text(x(queries), HEIGHT - BOTTOM + 18, str(queries), "middle"))
    for power in range(round(low), round(high) + 1):
        value = 10.0**power
        parts.append(_line([(LEFT, y(value)), (WIDTH - RIGHT, y(value))], "#dddddd", 1))
        label = f"≤ {value:g}" if value <= FLOOR else f"{value:g}"
        parts.append(_text(LEFT - 8, y(value) + 4, label, "end"))
    for number, own in enumerate(found.values()):
        colour = COLOURS[number % len(COLOURS)]
        upper = [(x(q), y(own[q].q75)) for q in checkpoints]
        lower = [(x(q), y(own[q].q25)) for q in reversed(checkpoints)]
        parts.append(f'<polygon points="{_points([*upper, *lower])}" fill="{colour}" fill-opacity="0.15"/>')
    for number, (name, own) in enumerate(found.items()):
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
        medians = [(x(q), y(own[q].median)) for q in checkpoints]
        parts.append(_line(medians, colour, 2, dash))
        parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"/>' for px, py in medians]
        at = TOP + 10 + 20 * number
        parts.append(_line([(WIDTH - RIGHT + 15, at), (WIDTH - RIGHT + 45, at)], colour, 2, dash))
        parts.append(_text(WIDTH - RIGHT + 52, at + 4, name, "start"))
    parts.append(_text(WIDTH - RIGHT + 15, HEIGHT - BOTTOM, "band: quartiles", "start", 11))
    return "\n".join([*parts, "</svg>", ""])


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{px:.1f},{py:.1f}" for px, py in points)


def _line(points: Sequence[tuple[float, float]], colour: str, width: int, dash: str = "") -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<polyline points="{_points(points)}" fill="none" stroke="{colour}" stroke-width="{width}"{dashes}/>'


def _text(x: float, y: float, text: str, anchor: str, size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(one_line(text))}</text>'
