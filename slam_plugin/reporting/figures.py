"""Figures as inline SVG. Colors come from the page's style sheet and follow the reader's light or dark theme.

Written by hand, not by a plotting library: a chart takes 3 kB instead of 30, its labels are text, and themes work.
"""

import base64
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

import numpy as np

Point = tuple[float, float]

WIDTH, HEIGHT = 400, 200
LEFT, RIGHT, TOP, BOTTOM = 40, 110, 10, 32  # margins: numbers at the left and below, labels of lines at the right
LABEL_GAP = 13
CAPTION = 24  # height of the caption above a chart in a sheet
MAX_POINTS = 160

ROW, LABEL_WIDTH, PICTURE_WIDTH = 17, 92, 640
# Of an interval chart: a line's height; where names, words, the plot and numbers begin; the whole width.
ESTIMATE_ROW, NAMES_AT, WORDS_AT, PLOT_AT, NUMBERS_AT, ESTIMATES_WIDTH = 18, 12, 82, 378, 598, 704


@dataclass(frozen=True)
class Line:
    """A curve: ``style`` is a class in the style sheet. ``frames`` means that all of it must be in view."""

    label: str
    style: str
    points: Sequence[Point]
    marks: bool = False
    frames: bool = True


class Estimate(NamedTuple):
    """A line of :func:`interval_chart`.

    Attributes:
        name, words: at the left, the name in bold.
        style: a class in the style sheet.
        mean, half_width: the value and half the width of its interval, NaN if it has none.
        shown: both as text, at the right.
    """

    name: str
    words: str
    style: str
    mean: float
    half_width: float
    shown: str


class Chart(NamedTuple):
    """A picture (SVG), its caption, and its size."""

    caption: str
    picture: str
    width: int = WIDTH
    height: int = HEIGHT


def plain(value: float) -> str:
    """Return a number with about three digits, and no sign if they are all zero."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:z.2f}"


def percent(value: float) -> str:
    """Return a share as percent."""
    return f"{100 * value:.0f} %" if abs(value) >= 0.1 else f"{100 * value:.1f} %"


def line_chart(
    lines: Sequence[Line],
    title: str,
    x_end: float,
    show: Callable[[float], str] = plain,
    low: float | None = None,
    unit: str = "updates",
) -> str:
    """Return a chart of ``lines`` over 0 to ``x_end`` of ``unit``, each labeled at its right end with its last value.

    ``low`` fixes the lower end of the vertical axis. Empty lines are left out; raises ValueError if all are empty.
    """
    lines = [line for line in lines if line.points]
    if not lines:
        raise ValueError(f"nothing to draw for {title!r}")
    bottom, top = _range(lines, low)
    x_end = max(x_end, 1)
    ticks = nice_ticks(bottom, top, 4)

    def x(update: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * update / x_end

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (min(max(value, bottom), top) - bottom) / (top - bottom)

    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{escape(title)}</title>']
    for tick in ticks:
        parts.append(f'<path class="grid" d="M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(
            f'<text class="tick end" x="{LEFT - 6}" y="{y(tick) + 3.5:.1f}">{show_tick(tick, ticks, show)}</text>'
        )
    for tick in nice_ticks(0, x_end, 4):
        parts.append(f'<text class="tick middle" x="{x(tick):.1f}" y="{HEIGHT - BOTTOM + 15}">{tick:g}</text>')
    parts.append(f'<text class="tick" x="{WIDTH - RIGHT + 22}" y="{HEIGHT - BOTTOM + 15}">{escape(unit)}</text>')
    for line in lines:
        points = thinned(line.points)
        path = "L".join(f"{x(u):.1f} {y(v):.1f}" for u, v in points)
        parts.append(f'<path class="line {line.style}" d="M{path}"/>')
        if line.marks or len(points) == 1:
            parts += [
                f'<circle class="mark {line.style}" cx="{x(u):.1f}" cy="{y(v):.1f}" r="2.4">'
                f"<title>{escape(line.label)}, {u:g} {escape(unit)}: {show(v)}</title></circle>"
                for u, v in points
            ]
    heights = spread([y(line.points[-1][1]) for line in lines], LABEL_GAP, HEIGHT - BOTTOM)
    for line, height in zip(lines, heights, strict=True):
        words = f"{escape(line.label)} {show(line.points[-1][1])}"
        parts.append(f'<text class="name {line.style}" x="{WIDTH - RIGHT + 8}" y="{height + 3.5:.1f}">{words}</text>')
    return "".join(parts) + "</svg>"


def interval_chart(estimates: Sequence[Estimate], caption: str, unit: str) -> Chart:
    """Return a chart of values with their intervals, one below the other, along a horizontal axis in ``unit``.

    The axis has 0, every mean and every interval that excludes 0. Wider intervals end at its border.
    """
    resolved = [estimate for estimate in estimates if abs(estimate.mean) > estimate.half_width]
    ends = [0.0, *(estimate.mean for estimate in estimates)]
    ends += [estimate.mean + sign * estimate.half_width for estimate in resolved for sign in (-1, 1)]
    pad = 0.08 * (max(ends) - min(ends)) or 1.0
    left, right = min(ends) - pad, max(ends) + pad
    bottom = ESTIMATE_ROW * len(estimates) + 6
    height = bottom + BOTTOM

    def x(value: float) -> float:
        return PLOT_AT + (NUMBERS_AT - 14 - PLOT_AT) * (min(max(value, left), right) - left) / (right - left)

    size = f'viewBox="0 0 {ESTIMATES_WIDTH} {height}"'
    parts = [f'<svg class="chart" {size} role="img"><title>{escape(caption)}</title>']
    for tick in (ticks := nice_ticks(left, right, 4)):
        parts.append(f'<path class="grid" d="M{x(tick):.1f} 0V{bottom}"/>')
        words = show_tick(tick, ticks, plain)
        parts.append(f'<text class="tick middle" x="{x(tick):.1f}" y="{bottom + 15}">{words}</text>')
    parts.append(f'<path class="line chance" d="M{x(0):.1f} 0V{bottom}"/>')
    parts.append(f'<text class="tick" x="{NUMBERS_AT}" y="{bottom + 15}">{escape(unit)}</text>')
    for place, estimate in enumerate(estimates):
        y, style = ESTIMATE_ROW * (place + 0.5) + 3, estimate.style
        if not math.isnan(estimate.half_width):
            start, end = (x(estimate.mean + sign * estimate.half_width) for sign in (-1, 1))
            parts.append(f'<path class="line {style}" d="M{start:.1f} {y:.1f}H{end:.1f}"/>')
        parts.append(f'<circle class="mark {style}" cx="{x(estimate.mean):.1f}" cy="{y:.1f}" r="3"/>')
        texts = ((NAMES_AT, style, estimate.name), (WORDS_AT, "", estimate.words), (NUMBERS_AT, style, estimate.shown))
        parts += [f'<text class="{one}" x="{at}" y="{y + 3.5:.1f}">{escape(words)}</text>' for at, one, words in texts]
    return Chart(caption, "".join(parts) + "</svg>", ESTIMATES_WIDTH, height)


def sheet(charts: Sequence[Chart], columns: int, style: str) -> str:
    """Return charts with their captions as one SVG, complete with the style sheet ``style``, for a file of its own."""
    rows = [charts[start : start + columns] for start in range(0, len(charts), columns)]
    heights = [CAPTION + max(chart.height for chart in row) for row in rows]
    width, height = max(sum(chart.width for chart in row) for row in rows), sum(heights)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"<style>{style}</style>"
        f'<rect width="{width}" height="{height}" fill="var(--paper)"/>'
    ]
    y = 0
    for row, row_height in zip(rows, heights, strict=True):
        x = 0
        for chart in row:
            parts.append(f'<text x="{x + 12}" y="{y + CAPTION - 8}">{escape(chart.caption)}</text>')
            size = f'x="{x}" y="{y + CAPTION}" width="{chart.width}" height="{chart.height}"'
            parts.append(chart.picture.replace("<svg ", f"<svg {size} ", 1))
            x += chart.width
        y += row_height
    return "".join(parts) + "</svg>\n"


def _range(lines: Sequence[Line], low: float | None) -> tuple[float, float]:
    """Return the vertical range: all of the lines that must be in view, and the others without their extremes."""
    ends = []
    for line in lines:
        values = np.array([value for _, value in line.points])
        ends += [*np.quantile(values, [0.0, 1.0] if line.frames else [0.02, 0.95])]
    bottom, top = (min(ends) if low is None else low), max(ends)
    pad = 0.06 * (top - bottom) or max(abs(top), 1e-3) * 0.1
    return (bottom - pad if low is None else bottom), top + pad


def nice_ticks(low: float, high: float, about: int) -> list[float]:
    """Return ``about`` that many round numbers from ``low`` to ``high``: multiples of 1, 2 or 5 times a power of 10."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    return [round(i * step, 10) for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def show_tick(tick: float, ticks: Sequence[float], show: Callable[[float], str]) -> str:
    """Return a tick's number with just enough digits to tell the ticks apart."""
    if show is percent:
        return f"{100 * tick:g} %"
    digits = next(d for d in range(8) if len({f"{t:.{d}f}" for t in ticks}) == len(ticks))
    return f"{tick:.{digits}f}"


def thinned(points: Sequence[Point]) -> list[Point]:
    """Return at most ``MAX_POINTS`` points: means of neighbors if there are more."""
    size = math.ceil(len(points) / MAX_POINTS)
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(u for u, _ in g) / len(g), sum(v for _, v in g) / len(g)) for g in groups]


def spread(heights: Sequence[float], gap: float, bottom: float) -> list[float]:
    """Return ``heights`` pushed ``gap`` apart, downwards first, then upwards from ``bottom``."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    moved = list(heights)
    for previous, current in zip(order, order[1:], strict=False):
        moved[current] = max(moved[current], moved[previous] + gap)
    limit = bottom
    for current in reversed(order):
        moved[current] = min(moved[current], limit)
        limit = moved[current] - gap
    return moved


def attention_picture(weights: np.ndarray, pieces: Sequence[str], seconds: float) -> str:
    """Return the attention of text pieces (rows) to speech (columns) as a picture with its two axes.

    Args:
        weights: (text, speech), non-negative. Each row is scaled by its largest weight.
    """
    rows = weights / np.maximum(weights.max(axis=1, keepdims=True), 1e-12)
    height = ROW * len(pieces)
    parts = [
        f'<svg class="attention" viewBox="0 0 {LABEL_WIDTH + PICTURE_WIDTH + 20} {height + 34}" role="img">'
        "<title>attention of text pieces to speech</title>",
        f'<image x="{LABEL_WIDTH}" y="0" width="{PICTURE_WIDTH}" height="{height}" preserveAspectRatio="none" '
        f'href="{png(rows)}"/>',
    ]
    for i, piece in enumerate(pieces):
        parts.append(f'<text class="piece" x="{LABEL_WIDTH - 8}" y="{ROW * i + 12.5}">{escape(piece)}</text>')
    for tick in nice_ticks(0, seconds, 6):
        x = LABEL_WIDTH + PICTURE_WIDTH * tick / seconds
        parts.append(f'<path class="grid" d="M{x:.1f} {height}v4"/>')
        parts.append(f'<text class="tick middle" x="{x:.1f}" y="{height + 16}">{tick:g}</text>')
    parts.append(f'<text class="tick end" x="{LABEL_WIDTH + PICTURE_WIDTH}" y="{height + 31}">seconds of speech</text>')
    return "".join(parts) + "</svg>"


def png(values: np.ndarray) -> str:
    """Return an array (rows, columns) in 0..1 as the data URI of a PNG, one pixel per value."""
    from matplotlib import image  # imported here: a page without pictures does not need matplotlib

    buffer = io.BytesIO()
    image.imsave(buffer, values, cmap="magma", vmin=0.0, vmax=1.0, format="png", metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
