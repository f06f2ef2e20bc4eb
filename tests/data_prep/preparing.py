"""What every command of data preparation must hold: the same bytes, however the work is shared and cut short."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep import command, parts
from data_prep.corpus import Corpus
from slam_plugin.data.manifest import Manifest
from slam_plugin.data.validate import check_manifest

PART_BYTES = 1  # a part for each unit, unless a test says otherwise


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the Arrow copies, which hold the time of what they are copies of."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if path.suffix != ".arrow"}


def check_sharing(corpus: Corpus, tmp_path: Path, part_bytes: int = PART_BYTES) -> Path:
    """Prepare ``corpus`` by one process, four, three shards, and by a run that is cut short; the first one's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(corpus), "part_bytes", part_bytes)
        made = {name: tmp_path / name for name in ("one", "four", "shards", "cut")}
        command.prepare(corpus, made["one"])
        command.prepare(corpus, made["four"], jobs=4)
        for index in (3, 1, 2):
            assert command.prepare(corpus, made["shards"], shard=parts.Shard(index, 3)) is None
        command.merge(corpus, made["shards"])
        with contextlib.suppress(InterruptedError):
            parts.make_parts(_stopping(corpus), made["cut"])
        assert not (made["cut"] / "stats.json").exists()
        command.prepare(corpus, made["cut"])
    expected = contents(made["one"])
    assert expected
    for name, folder in made.items():
        assert contents(folder) == expected, name
    return made["one"]


def _stopping(corpus: Corpus) -> Corpus:
    """A copy that stops in the middle of its second unit, or of its only one."""
    seen = []

    class Stopping(type(corpus)):
        def read(self, unit):
            seen.append(unit)
            for number, each in enumerate(super().read(unit)):
                if number and len(seen) > 1:
                    raise InterruptedError
                yield each
            if len(seen) > 1:
                raise InterruptedError

    stopping = object.__new__(Stopping)
    stopping.__dict__.update(corpus.__dict__)
    return stopping


def rows_of(path: Path) -> list[dict]:
    """All rows of a manifest."""
    manifest = Manifest.open(path)
    return [manifest.row(index) for index in range(len(manifest))]


def check_clean(folder: Path, least: int = 3, most: int = 3000) -> None:
    """Every manifest below ``folder`` is without a fault, its audio decoded once more."""
    manifests = sorted(folder.rglob("*.tsv"))
    tables = [path for path in manifests if path.name != "dropped.tsv"]
    assert tables
    for path in tables:
        manifest = Manifest.open(path)
        texts = [column for column in ("tgt_text", "src_text") if column in manifest.columns]
        assert check_manifest(manifest, path.parent, least, most, texts) == [], path


def dropped(folder: Path) -> dict[str, str]:
    """What was left out, and why."""
    header, *lines = (folder / "dropped.tsv").read_text(encoding="utf-8").splitlines()
    assert header == "place\treason"
    return dict(line.split("\t") for line in lines)


def run_command(main: Callable[[list[str]], int], *words: object) -> int:
    """A command as a user calls it, in this process."""
    return main([str(word) for word in words])
