"""The page of ``slam show``: its sections from templates, charts as inline SVG, sound and pictures as data URIs."""

import base64
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.manifests.show_numbers import Group, Histogram
from slam_plugin.reporting.figures import Chart, nice_ticks, plain, png, show_tick
from slam_plugin.reporting.style import STYLE
from slam_plugin.reporting.templating import render

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 400, 170, 46, 8, 8, 34
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")

TEMPLATES = Path(__file__).parent / "templates"


class Text(NamedTuple):
    """A text of an utterance: its class in the style sheet and its language, empty if there is none."""

    text: str
    style: str
    language: str


class Sample(NamedTuple):
    """An utterance to listen to: what is known about it, and its sound or picture, or why there is neither.

    Attributes:
        sound: data URI of a FLAC file.
        picture: data URI of a PNG of its features.
    """

    texts: Sequence[Text]
    about: str
    sound: str = ""
    picture: str = ""
    fault: str = ""


def page(name: str, facts: Sequence[tuple[str, str]], sections: Sequence[tuple[str, str, str]]) -> str:
    """Return the whole page. Each of ``sections`` is a title, words on what to look for, and HTML."""
    values = {"title": name, "style": STYLE, "facts": facts, "sections": sections}
    return render("show.html.j2", TEMPLATES, **values) + "\n"


def charts(drawn: Sequence[Chart]) -> str:
    """Return figures side by side."""
    return render("charts.html.j2", TEMPLATES, charts=drawn)


def bars(found: Histogram, title: str, unit: str, of: str = "utterances") -> str:
    """Return a histogram as SVG. ``unit`` names the horizontal axis, ``of`` what the bars count."""
    top, end = float(found.heights.max()) or 1.0, float(found.edges[-1])

    def x(value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * value / end

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / top

    parts = [f'<svg class="bars" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"><title>{escape(title)}</title>']
    ticks = nice_ticks(0, top, 3)
    for tick in ticks:
        words = f"{tick:,.0f}" if top >= 10 else show_tick(tick, ticks, plain)
        parts.append(f'<path class="grid" d="M{_LEFT} {y(tick):.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text class="tick end" x="{_LEFT - 6}" y="{y(tick) + 3.5:.1f}">{words}</text>')
    for left, right, height in zip(found.edges, found.edges[1:], found.heights, strict=False):
        if height:
            shown = f"{height:,.0f}" if height == int(height) else f"{height:,.2f}"
            parts.append(
                f'<rect x="{x(left) + 0.4:.2f}" y="{y(height):.2f}" width="{max(x(right) - x(left) - 0.8, 0.4):.2f}" '
                f'height="{_HEIGHT - _BOTTOM - y(height):.2f}"><title>{left:g} to {right:g} {escape(unit)}: {shown} '
                f"{escape(of)}</title></rect>"
            )
    for tick in nice_ticks(0, end, 6):
        parts.append(f'<text class="tick middle" x="{x(tick):.1f}" y="{_HEIGHT - _BOTTOM + 14}">{tick:g}</text>')
    beyond = f"; {found.beyond:,} beyond" if found.beyond else ""
    parts.append(f'<text class="axis" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 4}">{escape(unit)}{beyond}</text>')
    return "".join(parts) + "</svg>"


def group_table(found: Group, what: str, most: int) -> str:
    """Return a table of the first ``most`` values of a group, with hours as bars, and the number of the others."""
    longest = max(float(found.hours[0]), 1e-9)
    groups = [
        (name, 100 * hours / longest, f"{count:,} utterances, {duration(hours)}")
        for name, count, hours in zip(found.names[:most], found.rows[:most], found.hours[:most], strict=True)
    ]
    return render("groups.html.j2", TEMPLATES, groups=groups, rest=len(found.names) - most, what=what)


def utterance_table(head: Sequence[str], utterances: Sequence[tuple[str, Sequence[str], Sequence[Text]]]) -> str:
    """Return a table of utterances, each given by its id, its numbers and its texts. ``head`` names the numbers."""
    return render("utterances.html.j2", TEMPLATES, head=head, utterances=utterances)


def sample_list(samples: Sequence[Sample]) -> str:
    """Return utterances to listen to, one below the other."""
    return render("samples.html.j2", TEMPLATES, samples=samples)


def text_of(text: str, style: str, language: str) -> Text:
    """Return a text with its language as HTML writes it, without it if it is not the code of a language."""
    return Text(text, style, language.replace("_", "-") if _LANGUAGE.fullmatch(language) else "")


def sound_uri(flac: bytes) -> str:
    """Return a FLAC file as a data URI."""
    return f"data:audio/flac;base64,{base64.b64encode(flac).decode()}"


def spectrogram_uri(features: np.ndarray) -> str:
    """Return log-mel features (frames, bins) as the data URI of a picture with low frequencies at the bottom."""
    low, high = np.quantile(features, [0.02, 0.995])
    return png(np.clip((features.T[::-1] - low) / max(high - low, 1e-6), 0, 1))


def duration(hours: float) -> str:
    """Return hours as text: ``12.3 s``, ``4.5 min``, ``1,234.5 h``."""
    if hours < 1 / 60:
        return f"{hours * 3600:.1f} s"
    return f"{hours * 60:.1f} min" if hours < 1 else f"{hours:,.1f} h"
