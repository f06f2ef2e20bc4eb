"""The files around the code agree with it: version, links, the commands of ``CONTRIBUTING.md``."""

import re
from pathlib import Path

import pytest
import yaml

from slam_plugin import __version__

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path for path in ROOT.rglob("*.md") if not {".venv", "runs", "build"} & set(path.relative_to(ROOT).parts)
)


def test_one_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert re.search(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)[1] == __version__


def test_contributing_names_targets_that_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    named = set(re.findall(r"\bmake ([a-z]+)", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    assert {"venv", "test", "lint"} <= named <= targets


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "SECURITY.md", "docs/reliability.md"])
def test_files_that_are_named_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:slam_plugin|data_prep|tests|examples|benchmarks)/[\w/.]*)`", text))
    assert len(named) > 5 and not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize("path", (ROOT / "docs").glob("*.md"), ids=lambda path: path.name)
def test_the_manual_has_no_retired_phrase(path):
    """Phrases that the manual replaced by plainer ones, and an installation by name: the package is on no index."""
    retired = r"\bmended\b|\bnobody\b|\bhas heard\b|`slam doctor` tells|install '?slam-fairseq"
    assert not re.findall(retired, path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path):
    """Links to files of this repository, with the anchors that GitHub makes of headings."""
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        file, _, anchor = target.partition("#")
        if "://" in target:
            continue
        place = (path.parent / file).resolve() if file else path
        assert place.exists(), f"{path}: links to {target}, which does not exist"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", place.read_text(encoding="utf-8"), re.M)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{path}: links to {target}, found {sorted(anchors)}"
