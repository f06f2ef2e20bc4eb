"""Input that Hypothesis invents, in the shape of a valid text file: its fields and names among others."""

import csv
import io
import json
import re
from functools import lru_cache, partial

import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.mutations import NUMBERS, PATHS, SIGNS

_BLOCK = 16  # examples that are drawn at once: the first ones of a run are the simplest
# Not all of Unicode: Hypothesis would compute tables for it, for many seconds.
_ALPHABET = (
    "".join(map(chr, range(0, 0x180))) + "".join(each for each in SIGNS if len(each) == 1) + "\ud800\udc80\udfff東ñǅ"
)
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
    @settings(
        max_examples=_BLOCK, database=None, phases=[Phase.generate], deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(_strategy(kind, words, delimiter, header))
    def collect(text: str) -> None:
        found.append(text)

    collect()
    return (found * _BLOCK)[:_BLOCK]


# Named functions: Hypothesis reads the source of those without a name, which takes longer than all else.
@lru_cache(maxsize=64)
def _strategy(kind: str, words: tuple[str, ...], delimiter: str, header: str) -> st.SearchStrategy[str]:
    known = st.sampled_from(words or ("a",))
    any_text = st.text(_ALPHABET, max_size=20)
    text = st.one_of(known, known, any_text, st.sampled_from((*NUMBERS, *SIGNS, *PATHS)))
    if kind in ("yaml", "json", "jsonl"):
        leaf = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), text)
        tree = st.recursive(leaf, partial(_children, text), max_leaves=12)
        keyed = st.dictionaries(text, tree, min_size=1, max_size=5)
        if kind == "jsonl":
            return st.lists(keyed | tree, max_size=5).map(_json_lines)
        return keyed.map(json.dumps if kind == "json" else _yaml)
    field = st.one_of(text, any_text, st.floats().map(str), st.integers().map(str))
    rows = st.lists(st.lists(field, max_size=8), max_size=6)
    begin = st.sampled_from((f"{header}\n", ""))
    return st.tuples(begin, rows).map(_csv if kind == "csv" else partial(_lines, delimiter))


def _children(text: st.SearchStrategy[str], inner: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=5)


def _json_lines(rows: list) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _lines(delimiter: str, parts: tuple[str, list[list[str]]]) -> str:
    return parts[0] + "".join(delimiter.join(row) + "\n" for row in parts[1])


def _csv(parts: tuple[str, list[list[str]]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(parts[1])
    return parts[0] + buffer.getvalue()


def _yaml(value: object) -> str:
    try:
        return yaml.safe_dump(value, allow_unicode=True)
    except (yaml.YAMLError, UnicodeEncodeError):
        return json.dumps(value)
