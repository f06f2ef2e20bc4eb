"""Merge the parts of a corpus into its output files, ``dropped.tsv`` and, last, ``stats.json``."""

import fcntl
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from data_prep.engine.folder import STATS, write_stats
from data_prep.engine.parts import (
    COUNTS,
    DROPPED,
    ITEMS,
    PARTS,
    kind_of,
    locked,
    part_files,
    part_folder,
    read_plan,
)
from data_prep.engine.statistics import describe
from data_prep.engine.units import Corpus, Output
from slam_plugin.data.errors import DataError
from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.data.manifests.validate import leave_stamp

MERGED = ".merged"
DUPLICATES = "occurs before (in {})"
# At most about this many hashes are compared at once, to bound the memory for a large corpus.
_HASHES_AT_ONCE = 16 << 20
_COPY_BYTES = 1 << 20


def merge_parts(corpus: Corpus, out: Path) -> dict[str, Any]:
    """Merge the parts in ``out`` into the outputs of ``corpus``, remove them, and return the statistics.

    Raises :class:`DataError` if a part is missing, naming it, or an output got no item: then ``dropped.tsv`` is there
    for the reasons. Each file appears by a rename, ``stats.json`` last. Outputs of an earlier state of the corpus are
    replaced, or removed if there is no such output.
    """
    folder = out / PARTS
    with locked(out, fcntl.LOCK_EX):
        parts = _all_parts(out, folder)
        staged = out / MERGED
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        counts = _counts(parts)
        for name, output in corpus.outputs.items():
            twice = _write_output(name, output, parts, staged)
            if twice:
                counts["dropped"][DUPLICATES.format(name)] = twice
        with (staged / DROPPED).open("wb") as file:
            file.write(b"place\treason\n")
            _concatenate([part / DROPPED for part in parts], file)
        _refuse_empty(corpus, staged, counts, out)
        corpus.finish(staged)
        stats = {"recipe": read_plan(out)["recipe"], "outputs": _describe(corpus.outputs, staged)}
        stats |= {kind: dict(sorted(counter.items())) for kind, counter in counts.items()}
        _remove_earlier(out, stats["outputs"])
        _move(staged, out)
        write_stats(out, stats)
        shutil.rmtree(folder)
    return stats


def _all_parts(out: Path, folder: Path) -> list[Path]:
    parts = [part_folder(folder, number) for number in range(read_plan(out)["parts"])]
    missing = [number for number, part in enumerate(parts, 1) if not part.is_dir()]
    if missing:
        shown = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
        raise DataError(
            f"{out}: {len(missing)} of {len(parts)} parts are missing: {shown}; "
            "a shard did not finish: run it again, or run the command without --shard"
        )
    return parts


def _counts(parts: Sequence[Path]) -> dict[str, Counter[str]]:
    counts = {"dropped": Counter(), "noted": Counter()}
    for part in parts:
        path = part / COUNTS
        try:
            for kind, found in json.loads(path.read_bytes()).items():
                counts[kind].update({str(what): int(number) for what, number in found.items()})
        except (OSError, ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
            raise DataError(f"{path}: expected counts as JSON ({error}); remove its folder to make it again") from error
    return counts


def _write_output(name: str, output: Output, parts: Sequence[Path], staged: Path) -> int:
    """Write the files of one output and return the number of duplicates that were left out."""
    keep = _first_occurrences(name, output, parts) if output.unique else None
    for place, path in enumerate(output.files):
        target = staged / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            if output.columns:
                file.write("\t".join(output.columns).encode() + b"\n")
            sources = [part / part_files(name, output)[place] for part in parts]
            if keep is None:
                _concatenate(sources, file)
            else:
                _filter(sources, [part / ITEMS.format(name) for part in parts], place, keep, file)
            file.flush()
            os.fsync(file.fileno())
    return 0 if keep is None else int((~keep).sum())


def _concatenate(sources: Sequence[Path], file: IO[bytes]) -> None:
    for source in sources:
        with source.open("rb") as opened:
            shutil.copyfileobj(opened, file, _COPY_BYTES)


def _first_occurrences(name: str, output: Output, parts: Sequence[Path]) -> np.ndarray:
    """Return (items,) bool: whether the item is the first with its 64-bit hash."""
    tables = [_items(part / ITEMS.format(name), len(output.files)) for part in parts]
    total = sum(map(len, tables))
    keep = np.zeros(total, dtype=bool)
    shares = 1 + total // _HASHES_AT_ONCE
    for share in range(shares):
        places, hashes, start = [], [], 0
        for table in tables:
            column = np.asarray(table[:, 0])
            mine = np.flatnonzero(column % np.uint64(shares) == share)
            places.append(mine + start)
            hashes.append(column[mine])
            start += len(column)
        _, first = np.unique(np.concatenate(hashes), return_index=True)
        keep[np.concatenate(places)[first]] = True
    return keep


def _items(path: Path, files: int) -> np.ndarray:
    """Return the table of a part (items, 1 + files), memory-mapped. Raises :class:`DataError` if it is damaged."""
    try:
        table = np.load(path, mmap_mode="r")
        if table.ndim != 2 or table.shape[1] != 1 + files or table.dtype != np.uint64:
            raise ValueError(f"found {table.dtype} of shape {table.shape}")
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: cannot be read ({error}); remove its folder to make it again") from error
    return table


def _filter(sources: Sequence[Path], tables: Sequence[Path], place: int, keep: np.ndarray, file: IO[bytes]) -> None:
    """Copy the items that are kept. A row of ``tables`` is an item: its hash, and its bytes in each file."""
    start = 0
    for source, table in zip(sources, tables, strict=True):
        lengths = np.load(table)[:, 1 + place].tolist()
        with source.open("rb") as opened:
            for length, kept in zip(lengths, keep[start : start + len(lengths)], strict=True):
                content = opened.read(length)
                if kept:
                    file.write(content)
        start += len(lengths)


def _refuse_empty(corpus: Corpus, staged: Path, counts: Mapping[str, Counter[str]], out: Path) -> None:
    empty = [path for output in corpus.outputs.values() for path in output.files if _is_empty(staged / path, output)]
    if empty:
        left_out = _left_out(counts["dropped"], staged / DROPPED)
        if not (out / STATS).is_file():  # beside finished outputs the list stays that of theirs
            (staged / DROPPED).replace(out / DROPPED)
        shards = corpus.recipe.get("train shards", 1)
        cure = f"; expected fewer --train-shards than {shards}" if shards > 1 and empty[0].startswith("train-") else ""
        raise DataError(f"{out}: found no item for {', '.join(empty)}; left out: {left_out}{cure}")


def _left_out(counts: Counter[str], dropped: Path) -> str:
    """Return the most frequent reasons in words, each with the first place that ``dropped`` lists for it."""
    first: dict[str, str] = {}
    with dropped.open(encoding="utf-8") as lines:
        next(lines)
        for line in lines:
            place, _, reason = line.rstrip("\n").partition("\t")
            first.setdefault(kind_of(reason), f"such as {place} ({reason})")
    return ", ".join(f"{count} {first.get(kind, kind)}" for kind, count in counts.most_common(5)) or "nothing"


def _is_empty(path: Path, output: Output) -> bool:
    header = len("\t".join(output.columns).encode()) + 1 if output.columns else 0
    return path.stat().st_size == header


def _describe(outputs: Mapping[str, Output], staged: Path) -> dict[str, dict[str, Any]]:
    """Return the statistics of each file, and stamp manifests as checked: all of their audio was decoded."""
    found = {}
    for output in outputs.values():
        for path in output.files:
            found[path] = describe(staged / path, output.columns is not None)
            if output.columns:
                leave_stamp(Manifest.open(staged / path), (staged / path).parent)
    return found


def _remove_earlier(out: Path, outputs: Mapping[str, Any]) -> None:
    """Remove the statistics of an earlier state, lest it counts as finished, and its outputs not in ``outputs``."""
    if not (out / STATS).is_file():
        return
    earlier = json.loads((out / STATS).read_text(encoding="utf-8"))["outputs"]
    (out / STATS).unlink()
    for path in earlier.keys() - outputs.keys():
        (out / path).unlink(missing_ok=True)


def _move(staged: Path, out: Path) -> None:
    for source in sorted(_files(staged)):
        target = out / source.relative_to(staged)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)
    shutil.rmtree(staged)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())
