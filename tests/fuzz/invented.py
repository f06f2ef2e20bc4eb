"""Input that Hypothesis invents, in the shape of a valid text file: its fields and names among others."""

import csv
import io
import json
import re
from functools import lru_cache

import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.mutations import NUMBERS, PATHS, SIGNS

_BLOCK = 16  # examples that are drawn at once: the first ones of a run are the simplest
_WORD = re.compile(r"[^\s,|:\"'\[\]{}<>]+")


def invented(name: str, data: bytes, number: int) -> bytes:
    """Return the ``number``-th invention for a file: YAML and JSON for their suffixes, lines of fields for others."""
    words = tuple(dict.fromkeys(_WORD.findall(data.decode(errors="replace")[:4000])))[:60]
    delimiter = next((sign for sign in "\t|," if sign.encode() in data[:1000]), " ")
    kind = next((kind for kind in ("yaml", "jsonl", "json", "csv") if name.endswith(f".{kind}")), "lines")
    header = data.partition(b"\n")[0].decode(errors="replace")
    return _block(kind, words, delimiter, header, number // _BLOCK)[number % _BLOCK].encode("utf-8", "surrogatepass")


@lru_cache(maxsize=64)
def _block(kind: str, words: tuple[str, ...], delimiter: str, header: str, number: int) -> list[str]:
    found: list[str] = []

    @seed(number)
    @settings(max_examples=_BLOCK, database=None, phases=[Phase.generate], deadline=None)
    @settings(suppress_health_check=list(HealthCheck))
    @given(_strategy(kind, words, delimiter, header))
    def collect(text: str) -> None:
        found.append(text)

    collect()
    return (found * _BLOCK)[:_BLOCK]


def _strategy(kind: str, words: tuple[str, ...], delimiter: str, header: str) -> st.SearchStrategy[str]:
    known = st.sampled_from(words or ("a",))
    text = st.one_of(known, known, st.text(max_size=20), st.sampled_from((*NUMBERS, *SIGNS, *PATHS)))
    if kind in ("yaml", "json", "jsonl"):
        leaf = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), text)
        tree = st.recursive(leaf, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=5))
        keyed = st.dictionaries(text, tree, min_size=1, max_size=5)
        if kind == "jsonl":
            return st.lists(keyed | tree, max_size=5).map(lambda rows: "".join(json.dumps(row) + "\n" for row in rows))
        return keyed.map(json.dumps if kind == "json" else _yaml)
    field = st.one_of(text, st.floats().map(str), st.integers().map(str), st.text())
    rows = st.lists(st.lists(field, max_size=8), max_size=6)
    begin = st.sampled_from((header + "\n", ""))
    if kind == "csv":
        return st.tuples(begin, rows).map(lambda parts: parts[0] + _csv(parts[1]))
    return st.tuples(begin, rows).map(lambda parts: parts[0] + "".join(delimiter.join(row) + "\n" for row in parts[1]))


def _yaml(value: object) -> str:
    try:
        return yaml.safe_dump(value, allow_unicode=True)
    except (yaml.YAMLError, UnicodeEncodeError):
        return json.dumps(value)


def _csv(rows: list[list[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()
