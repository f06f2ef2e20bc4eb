"""The page of ``slam show``: sections of HTML, charts as inline SVG, sound and pictures within the page."""

import base64
import re
from collections.abc import Sequence
from html import escape

import numpy as np

from data_prep.manifests.show_numbers import Group, Histogram
from slam_plugin.reporting.figures import nice_ticks, plain, png, show_tick
from slam_plugin.reporting.style import STYLE

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 400, 170, 46, 8, 8, 34
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")

_MORE_STYLE = """
.bars rect { fill: var(--train); }
.bars rect:hover { fill: var(--blue); }
svg text.axis { fill: var(--soft); text-anchor: end; }
.facts { display: flex; flex-wrap: wrap; gap: .4rem 2.6rem; margin: 1rem 0 0; }
.facts div { display: flex; flex-direction: column-reverse; }
.facts dt { font-size: .82rem; }
.facts dd { font-size: 1.5rem; font-variant-numeric: tabular-nums; }
dl.facts { grid-template-columns: none; }
.rows { width: 100%; }
.rows td.number, .rows th.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.rows td.number { width: 1%; }
.rows td { overflow-wrap: anywhere; }
.rows p { margin: 0 0 .2rem; }
.text { font-family: Charter, "Bitstream Charter", "Iowan Old Style", Georgia, serif; font-size: 1.05rem; }
.rows td.id, .sample .id { color: var(--soft); font-size: .82rem; overflow-wrap: anywhere; }
.sample { border-top: 1px solid var(--grid); padding: .9rem 0; max-width: 54rem; }
.sample p { max-width: none; margin: .25rem 0; }
p.translation { color: var(--blue); }
.sample audio { display: block; width: 100%; max-width: 34rem; margin: .4rem 0; }
.sample img { display: block; width: 100%; max-width: 34rem; height: 5rem; margin: .4rem 0; }
"""


def page(name: str, facts: Sequence[tuple[str, str]], sections: Sequence[tuple[str, str, str]]) -> str:
    """Return the whole page. Each of ``sections`` is a title, words on what to look for, and HTML."""
    numbers = "".join(f"<div><dt>{escape(what)}</dt><dd>{escape(value)}</dd></div>" for what, value in facts)
    body = "".join(
        f"<section><h2>{escape(title)}</h2><p>{escape(words)}</p>{html}</section>" for title, words, html in sections
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(name)}</title>'
        f'<style>{STYLE}{_MORE_STYLE}</style></head><body><header><h1>{escape(name)}</h1><dl class="facts">{numbers}'
        f"</dl></header><main>{body}</main></body></html>\n"
    )


def charts(drawn: Sequence[tuple[str, str]]) -> str:
    """Return figures side by side, each of a caption and its SVG."""
    figures = (f"<figure><figcaption>{escape(caption)}</figcaption>{svg}</figure>" for caption, svg in drawn)
    return f'<div class="pair">{"".join(figures)}</div>'


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
    rows = "".join(
        f'<tr><th scope="row" dir="auto">{escape(name) or "<i>not named</i>"}</th>'
        f'<td><i class="bar" style="width:{100 * hours / longest:.1f}%"></i></td>'
        f"<td>{count:,} utterances, {duration(hours)}</td></tr>"
        for name, count, hours in zip(found.names[:most], found.rows[:most], found.hours[:most], strict=True)
    )
    rest = len(found.names) - most
    more = f'<p class="small">and {rest:,} more {escape(what)}</p>' if rest > 0 else ""
    return f'<table class="seconds"><tbody>{rows}</tbody></table>{more}'


def row_table(head: Sequence[str], rows: Sequence[tuple[str, Sequence[str], str]]) -> str:
    """Return a table of utterances, each given by its name, its numbers, and the HTML of its text."""
    names = "".join(f'<th scope="col" class="number">{escape(name)}</th>' for name in head)
    body = "".join(
        "<tr>"
        + "".join(f'<td class="number">{escape(number)}</td>' for number in numbers)
        + f'<td>{html}</td><td class="id">{escape(name)}</td></tr>'
        for name, numbers, html in rows
    )
    return (
        f'<table class="rows"><thead><tr>{names}<th scope="col">text</th><th scope="col">utterance</th></tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def text_html(text: str, style: str = "", language: str = "") -> str:
    """Return a text, set from the right if its script is."""
    tag = f' lang="{escape(language.replace("_", "-"))}"' if _LANGUAGE.fullmatch(language) else ""
    return f'<p class="text {style}" dir="auto"{tag}>{escape(text)}</p>'


def sound_html(flac: bytes) -> str:
    """Return a player with the FLAC file embedded."""
    return f'<audio controls preload="metadata" src="data:audio/flac;base64,{base64.b64encode(flac).decode()}"></audio>'


def spectrogram_html(features: np.ndarray) -> str:
    """Return log-mel features (frames, bins) as a picture with low frequencies at the bottom."""
    low, high = np.quantile(features, [0.02, 0.995])
    values = np.clip((features.T[::-1] - low) / max(high - low, 1e-6), 0, 1)
    return f'<img alt="log-mel features over time" src="{png(values)}">'


def duration(hours: float) -> str:
    """Return hours as text: ``12.3 s``, ``4.5 min``, ``1,234.5 h``."""
    if hours < 1 / 60:
        return f"{hours * 3600:.1f} s"
    return f"{hours * 60:.1f} min" if hours < 1 else f"{hours:,.1f} h"
