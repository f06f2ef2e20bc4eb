"""``base:`` in ``corpora.yaml``, as :func:`read_corpora` and the task's plan see it."""

import pytest

from slam_plugin.data.errors import DataError
from slam_plugin.data.plan import yaml_layers
from slam_plugin.data.plan.config import Stage, read_corpora
from slam_plugin.data.plan.plan import Plan
from slam_plugin.data.plan.yaml_layers import read_layered
from tests.data.plan.test_config import GOOD, KINDS, OBJECTIVES

CHILD = """\
base: good.yaml
stages: {0: [speech, text, pairs]}
corpora:
  prose: {kind: text, train: [text], budget: 99}
  more:
    kind: speech
    train: [b.tsv]
    budget: 50
objectives:
  contrastive: {temperature: 0.3}
"""


@pytest.fixture
def read(tmp_path):
    """Write files, given by their names without ``.yaml``, and read the last one."""
    for name in ("a.tsv", "b.tsv", "v.tsv", "text.bin", "text.idx"):
        (tmp_path / name).touch()
    folder = tmp_path / "recipes"
    folder.mkdir()

    def reader(**files):
        for name, text in files.items():
            (folder / f"{name}.yaml").write_text(text)
        return read_corpora(folder / f"{name}.yaml", tmp_path, KINDS, OBJECTIVES)

    return reader


def faults(read, **files):
    with pytest.raises(DataError) as error:
        read(**files)
    return str(error.value).replace("\n", " | ")


def test_entries_join_those_of_the_base_or_take_their_place(read):
    base, both = read(good=GOOD), read(child=CHILD)
    assert list(both.corpora) == ["dialogue", "prose", "both", "more"]
    assert both.corpora["dialogue"] == base.corpora["dialogue"] and both.corpora["both"] == base.corpora["both"]
    # the whole entry: the base's block and distractors are gone
    assert both.corpora["prose"].budget == 99 and both.corpora["prose"].options == {"block": None}
    assert both.objectives["contrastive"].options == {"distractors": 100, "temperature": 0.3}
    assert both.objectives["contrastive"].weight(0) == 1.0 and both.objectives["stm"] == base.objectives["stm"]


def test_mode_stages_and_quota_replace(read):
    base = read(good=GOOD)
    child = read(child="base: good.yaml\nmode: ratio\nstages: {0: [speech, text], 7: [pairs]}\nquota: {text: 5}")
    assert (child.mode, child.stages) == ("ratio", (Stage(0, ("speech", "text")), Stage(7, ("pairs",))))
    assert child.quota == {"speech": 1, "text": 5, "pairs": 1} and base.quota["speech"] == 2
    untouched = read(child="base: good.yaml")
    assert (untouched.mode, untouched.stages, untouched.quota) == (base.mode, base.stages, base.quota)
    assert (untouched.corpora, untouched.objectives) == (base.corpora, base.objectives)


def test_chains_are_relative_to_the_file_that_names_the_next(read, tmp_path):
    base = read(good=GOOD)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/middle.yaml").write_text("base: ../recipes/good.yaml\nquota: {pairs: 4}\nmode: ratio")
    last = read(last="base: ../mine/middle.yaml\nmode: all")
    assert last.quota == {"speech": 1, "text": 1, "pairs": 4} and last.mode == "all"
    assert last.corpora == base.corpora


def test_of_several_bases_the_later_goes_before_the_earlier(read):
    speech = "corpora: {a: {kind: speech, train: [a.tsv], budget: 9}}\nobjectives: {contrastive: {distractors: 3}}"
    text = "corpora: {b: {kind: text, train: [text], budget: 9}}\nobjectives: {stm: {}}\nquota: {text: 2}"
    other = "base: speech.yaml\nobjectives: {contrastive: {distractors: 4}}\nquota: {speech: 3}"
    files = {"speech": speech, "text": text, "other": other}
    both = read(**files, both="base: [text.yaml, other.yaml]")
    assert list(both.corpora) == ["b", "a"] and both.objectives.keys() == {"stm", "contrastive"}
    assert both.objectives["contrastive"].options["distractors"] == 4 and both.quota == {"text": 1, "speech": 3}
    # a file that two bases share is no circle
    shared = read(**files, both="base: [other.yaml, text.yaml, speech.yaml]")
    assert shared.objectives["contrastive"].options["distractors"] == 3 and shared.quota == {"speech": 1, "text": 2}


def test_the_plan_sees_what_the_files_say_together(read):
    whole = GOOD.replace("mode: all", "mode: ratio").replace("{weight: 2, distractors: 20}", "{}")
    merged = read(good=GOOD, child="base: good.yaml\nmode: ratio\nobjectives: {contrastive: {}}")
    plain = read(child=whole)
    assert (merged.corpora, merged.objectives) == (plain.corpora, plain.objectives)
    sizes = {name: 4 for name in plain.corpora}
    hashes = {name: ["x"] * len(corpus.train) for name, corpus in plain.corpora.items()}
    prints = [Plan(corpora, 1, 1, 10).fingerprint(hashes, sizes, 1) for corpora in (merged, plain)]
    assert prints[0] == prints[1]


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("distractors: 20", "distractors: few", "good.yaml:17: objectives.contrastive.distractors: found 'few'"),
        ("[a.tsv, b.tsv]", "[a.tsv, c.tsv]", "good.yaml:7: corpora.dialogue.train.1: found no file"),
        ("quota: {speech: 2,", "quota: {speech: 0,", "good.yaml:3: quota.speech: found 0"),
        ("    kind: speech\n", "", "good.yaml:5: corpora.dialogue.kind: found nothing"),
        ("  prose:", "  dialogue:", "good.yaml:14: corpora.dialogue: found a second time, expected once (first in"),
        ("mode: all", "modes: all", "good.yaml:1: modes: found the unknown name 'modes', expected one of: mode,"),
        ("objectives:\n", "x: {", "good.yaml:17: is not YAML"),
        (GOOD, "[]", "good.yaml: found [], expected a mapping"),
    ],
)
def test_a_fault_in_the_base_is_named_there(read, old, new, message):
    assert old in GOOD
    found = faults(read, good=GOOD.replace(old, new, 1), child="base: good.yaml\nmode: all")
    assert message in found and " | " not in found, "what merely follows from a fault is not reported"


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("{0: [speech, text, pairs]}", "{0: [speech, text]}", "child.yaml:2: stages: found no stage with 'pairs'"),
        ("budget: 99", "budget: few", "child.yaml:4: corpora.prose.budget: found 'few'"),
        ("    budget: 50\n", "", "child.yaml:5: corpora.more.budget: found nothing"),
        ("[b.tsv]", "[c.tsv]", "child.yaml:7: corpora.more.train.0: found no file"),
        ("temperature: 0.3", "temperature: x", "child.yaml:10: objectives.contrastive.temperature: found 'x'"),
        ("  more:", "  prose:", "child.yaml:5: corpora.prose: found a second time, expected once (first in line 4)"),
        ("stages:", "stage:", "child.yaml:2: stage: found the unknown name 'stage'"),
    ],
)
def test_a_fault_in_the_child_is_named_there(read, old, new, message):
    assert old in CHILD
    found = faults(read, good=GOOD, child=CHILD.replace(old, new, 1))
    assert message in found and "good.yaml" not in found


def test_what_an_entry_has_replaced_is_at_fault_no_longer(read):
    broken = GOOD.replace("budget: 2048, block: 128", "budget: none")
    assert "good.yaml:14: corpora.prose.budget" in faults(read, good=broken)
    assert read(child=CHILD).corpora["prose"].budget == 99


@pytest.mark.parametrize(
    "base, message",
    [
        ("nowhere.yaml", "child.yaml:2: base: found no file .*recipes/nowhere.yaml, expected a file that exists"),
        ("n" * 300, "child.yaml:2: base: found no file .*nnn, expected a file that exists"),
        ("[good.yaml, nowhere.yaml]", "child.yaml:2: base.1: found no file .*nowhere.yaml"),
        ("", "child.yaml:2: base: found nothing, expected the path of a file, or a list"),
        ("[]", r"child.yaml:2: base: found \[\], expected the path of a file, or a list"),
        ("3", "child.yaml:2: base: found 3, expected the path of a file, or a list"),
        ("child.yaml", "child.yaml:2: base: found a circle: child.yaml -> child.yaml, expected"),
    ],
)
def test_a_base_that_cannot_be_read(read, base, message):
    with pytest.raises(DataError, match=message) as error:
        read(good=GOOD, child=f"mode: all\nbase: {base}\n")
    assert len(str(error.value).splitlines()) == 1


def test_a_circle_is_named_where_it_closes(read):
    found = faults(
        read,
        a="base: b.yaml",
        b="mode: all\nbase: c.yaml",
        c="mode: all\nquota: {}\nbase: b.yaml",
        start="base: a.yaml",
    )
    assert "c.yaml:3: base: found a circle: b.yaml -> c.yaml -> b.yaml" in found


def test_an_empty_base_adds_nothing(read):
    base = read(good=GOOD)
    assert read(empty="", child="base: [good.yaml, empty.yaml]").corpora == base.corpora


def test_what_is_not_joined_is_replaced_whole(tmp_path):
    (tmp_path / "lower.yaml").write_text("a: {x: 1, y: 2}\nb: {x: 1, y: 2}")
    (tmp_path / "upper.yaml").write_text("a: {y: 3}\n\nb: {y: 3}\nbase: lower.yaml")
    read = read_layered(tmp_path / "upper.yaml", joined=("a",))
    assert read.values == {"a": {"x": 1, "y": 3}, "b": {"y": 3}} and not read.faults
    places = {key: (place.file.rpartition("/")[2], place.line) for key, place in read.places.items()}
    assert places[("a", "x")] == ("lower.yaml", 1) and places[("a", "y")] == ("upper.yaml", 1)
    assert places[("b", "y")] == ("upper.yaml", 3) and ("b", "x") not in places


def multiplying(first: str, form: str) -> str:
    """Return YAML in which each of twenty lines has the one before nine times, in ``form``."""
    lines = [f"a0: &a0 {first}\n"]
    return "".join(lines + [f"a{n}: &a{n} {form.format(', '.join([f'*a{n - 1}'] * 9))}\n" for n in range(1, 20)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (multiplying("[x]", "[{}]"), "keys or 50 levels"),
        (multiplying("{x: 1}", "{{<<: [{}]}}"), "keys or 50 levels"),
        ("a: &a [*a]\n", "keys or 50 levels"),
        ("a: " + "[" * 60 + "]" * 60, "keys or 50 levels"),
        ("[" * 5000, "found lists in lists"),
        ("a: 2001-99-99\n", "is not YAML: month must be in"),
        ("a: 1" + "0" * 5000, "is not YAML: Exceeds the limit"),
        ("? [1, 2]\n: x\n? {3: 4}\n: y\n", "found unhashable key"),
        ("#" * (yaml_layers.MAX_BYTES + 1), "found 4194305 bytes, expected at most 4194304"),
        ("a: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
    ],
)  # fmt: skip
def test_a_few_lines_that_stand_for_too_much(tmp_path, text, message):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(DataError, match=rf"a\.yaml.*{message}"):
        read_layered(tmp_path / "a.yaml", ())


def test_bases_that_are_named_again_are_read_once(tmp_path, monkeypatch):
    """Sixty files that each name the next one twice are 2^60 paths through them."""
    monkeypatch.setattr(yaml_layers, "MAX_DEPTH", 100)
    for number in range(60):
        base = f"base: [{number + 1}.yaml, ./{number + 1}.yaml]\n" if number < 59 else ""
        (tmp_path / f"{number}.yaml").write_text(f"{base}k{number}: {number}\nlast: {number}\n")
    found = read_layered(tmp_path / "0.yaml", ())
    assert found.values == {**{f"k{number}": number for number in range(60)}, "last": 0}
    monkeypatch.setattr(yaml_layers, "MAX_DEPTH", 50)
    with pytest.raises(DataError, match=r"49\.yaml:1: base\.0: found 50 files that build on each other"):
        read_layered(tmp_path / "0.yaml", ())
