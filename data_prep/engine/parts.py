"""Read a corpus part by part, with several processes and on several machines, so that a killed run resumes.

A part is a run of neighboring units. Its results are in ``OUT/.parts/NUMBER``, a folder that appears by one rename: the
files of the outputs, ``items.npy`` for outputs without duplicates, ``dropped.tsv`` and ``counts.json``. A run makes
the parts that are missing. Shard i of n makes every n-th part. A part is the same whoever makes it, so shards may be
killed, repeated, and use different n.
"""

import errno
import fcntl
import hashlib
import json
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from tqdm import tqdm

from data_prep.engine.contents import differences_of, full_recipe, settings_of
from data_prep.engine.units import Corpus, Dropped, Item, Noted, Output, Unit, is_unicode
from slam_plugin.data.errors import DataError
from slam_plugin.data.files import atomic_write

PARTS = ".parts"
PLAN = "plan.json"
COUNTS, DROPPED, ITEMS = "counts.json", "dropped.tsv", "items.{}.npy"
# Increase it when the files of a part change, so that parts of an earlier version are refused.
LAYOUT = 1
MAX_UNITS = 20_000  # of a part, however small they are
_BREAKS = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")
PLAIN_LINE_SECONDS = 30.0  # between progress lines if stderr is no terminal


class WorkShard(NamedTuple):
    """Share ``index``, from 1, of ``count``."""

    index: int
    count: int

    def has(self, part: int) -> bool:
        """Return whether part ``part``, counted from 0, belongs to this shard."""
        return part % self.count == self.index - 1


WHOLE = WorkShard(1, 1)


def make_parts(corpus: Corpus, out: Path, jobs: int = 1, shard: WorkShard = WHOLE) -> int:
    """Make the missing parts of ``shard`` with ``jobs`` processes and return the number of parts of the corpus.

    Parts of an earlier state of the corpus are removed. Raises :class:`DataError` if ``out`` holds parts of another
    recipe, if the corpus cannot be used, or if a process was killed. Finished parts are kept in any case.
    """
    recipe = full_recipe(corpus)
    parts = list(_cut(corpus))
    if not parts:
        raise DataError(f"{out}: found nothing to read in the corpus")
    plan = _plan_of(recipe, parts)
    folder = out / PARTS
    _remove_stale_parts(plan, out)
    with locked(out, fcntl.LOCK_SH):
        _write_plan(plan, folder)
        todo = [
            number for number in range(len(parts)) if shard.has(number) and not part_folder(folder, number).exists()
        ]
        total = sum(unit.size for number in todo for unit in parts[number])
        with progress(total) as bar:
            if jobs == 1 or len(todo) < 2:
                for number in todo:
                    for size in _make_part(corpus, folder, number, parts[number]):
                        bar.update(size)
            else:
                _make_by_processes(corpus, folder, {number: parts[number] for number in todo}, jobs, bar)
    return len(parts)


def part_folder(folder: Path, number: int) -> Path:
    """Return the folder of part ``number``, counted from 0, below the folder of parts."""
    return folder / f"{number:06d}"


def read_plan(out: Path) -> dict[str, Any]:
    """Return the plan of the parts in ``out``: recipe, fingerprint of the units, number of parts."""
    path = out / PARTS / PLAN
    try:
        plan = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON in UTF-8 ({error}); remove its folder to start again") from error
    except FileNotFoundError as error:
        raise DataError(f"{out}: found no parts of a corpus ({path} does not exist)") from error
    is_plan = isinstance(plan, dict) and isinstance(plan.get("recipe"), dict) and isinstance(plan.get("parts"), int)
    if not is_plan:
        raise DataError(f"{path}: expected a recipe and a number of parts; remove its folder to start again")
    return plan


@contextmanager
def locked(out: Path, how: int) -> Iterator[None]:
    """Lock ``out``: several runs may make parts at once (LOCK_SH), only one may merge them (LOCK_EX)."""
    (out / PARTS).mkdir(parents=True, exist_ok=True)
    with (out / PARTS / "lock").open("w") as file:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(f"{out}: another run is using this folder") from error
        yield


def _cut(corpus: Corpus) -> Iterator[list[Unit]]:
    """Yield runs of neighboring units of about ``part_bytes``. The cut depends on the corpus alone."""
    part, size = [], 0
    for unit in corpus.units():
        if part and (size + unit.size > corpus.part_bytes or len(part) == MAX_UNITS):
            yield part
            part, size = [], 0
        part.append(unit)
        size += unit.size
    if part:
        yield part


def _plan_of(recipe: Mapping[str, Any], parts: Sequence[Sequence[Unit]]) -> dict[str, Any]:
    units = hashlib.sha256(repr([[tuple(unit) for unit in part] for part in parts]).encode()).hexdigest()[:16]
    plan = {"layout": LAYOUT, "recipe": recipe, "units": units, "parts": len(parts)}
    return json.loads(json.dumps(plan))


def _remove_stale_parts(plan: Mapping[str, Any], out: Path) -> None:
    """Remove parts that the same command made from files that have changed since. Raise if another run makes them."""
    if not _is_stale(plan, out):
        return
    with locked(out, fcntl.LOCK_EX):
        if not _is_stale(plan, out):
            return
        print(
            f"{out}: the corpus has changed since a run that did not finish: its parts are made again", file=sys.stderr
        )
        for path in (out / PARTS).iterdir():
            if path.is_dir():
                shutil.rmtree(path)
        (out / PARTS / PLAN).unlink()  # last: a run that is killed before continues here


def _is_stale(plan: Mapping[str, Any], out: Path) -> bool:
    if not (out / PARTS / PLAN).exists():
        return False
    found = read_plan(out)
    return found != plan and settings_of(found["recipe"]) == settings_of(plan["recipe"])


def _write_plan(plan: Mapping[str, Any], folder: Path) -> None:
    """Write the plan, or compare it with the one that is there."""
    if (folder / PLAN).exists():
        found = read_plan(folder.parent)
        if found != plan:
            differences = differences_of(found["recipe"], plan["recipe"])
            what = f"recipe ({differences})" if differences else "state of the corpus"
            raise DataError(f"{folder}: holds parts of another {what}; remove it to start again")
        return
    with atomic_write(folder / PLAN) as file:
        json.dump(plan, file, indent=1)


def _make_by_processes(corpus: Corpus, folder: Path, parts: Mapping[int, Sequence[Unit]], jobs: int, bar: tqdm) -> None:
    with processes(min(jobs, len(parts)), type(corpus).__module__, folder) as pool:
        waiting = {pool.submit(_make_whole_part, corpus, folder, number, part) for number, part in parts.items()}
        try:
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    bar.update(future.result())
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def processes(count: int, module: str, what: object) -> Iterator[ProcessPoolExecutor]:
    """Start processes that have imported ``module``, use one torch thread each, and die with this one.

    Raises :class:`DataError` that begins with ``what`` if one was killed.
    """
    # Not forked from this process: torch may have started threads, which a fork would lack. They are forked from a
    # server that has imported ``module`` once for all of them.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    try:
        with (
            _one_thread_each(),
            ProcessPoolExecutor(count, mp_context=context, initializer=_die_with_parent) as pool,
        ):
            yield pool
    except BrokenProcessPool as error:
        raise DataError(f"{what}: a process was killed, perhaps out of memory; fewer --jobs need less") from error


def _make_whole_part(corpus: Corpus, folder: Path, number: int, units: Sequence[Unit]) -> int:
    return sum(_make_part(corpus, folder, number, units))


def _make_part(corpus: Corpus, folder: Path, number: int, units: Sequence[Unit]) -> Iterator[int]:
    """Write one part under a temporary name and rename it. Yield the size of each unit when it is done."""
    partial = Path(tempfile.mkdtemp(prefix=f".{number:06d}.", dir=folder))
    try:
        with _PartWriter(partial, corpus.outputs) as writer:
            for unit in units:
                for result in corpus.read(unit):
                    writer.write(result, unit.key)
                yield unit.size
        _place(partial, part_folder(folder, number))
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _place(partial: Path, target: Path) -> None:
    partial.chmod(0o755)
    try:
        partial.rename(target)
    except OSError as error:
        # Another run has finished the same part in the meantime.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


class _PartWriter:
    """Writer of the files of one part and its counts."""

    def __init__(self, folder: Path, outputs: Mapping[str, Output]) -> None:
        self._folder, self._outputs = folder, outputs
        self._counts = {"dropped": Counter(), "noted": Counter()}
        self._hashes: dict[str, list[tuple[int, ...]]] = {name: [] for name in outputs if outputs[name].unique}

    def __enter__(self) -> "_PartWriter":
        with ExitStack() as stack:
            names = {name: part_files(name, output) for name, output in self._outputs.items()}
            self._files = {
                name: [stack.enter_context((self._folder / file).open("wb")) for file in files]
                for name, files in names.items()
            }
            self._dropped = stack.enter_context(_open_list(self._folder / DROPPED))
            self._stack = stack.pop_all()
        return self

    def write(self, result: Item | Dropped | Noted, key: str) -> None:
        """Write what reading the unit ``key`` yields."""
        if isinstance(result, Item) and not all(map(is_unicode, result.texts)):
            result = Dropped(key, f"holds {_ascii(result.texts)}, which is not UTF-8")
        match result:
            case Item(output, texts):
                data = [text.encode() for text in texts]
                for file, content in zip(self._files[output], data, strict=True):
                    file.write(content)
                if output in self._hashes:
                    self._hashes[output].append((_hash(data), *map(len, data)))
            case Dropped(place, reason):
                self._counts["dropped"][kind_of(reason)] += 1
                self._dropped.write(f"{_shown(place)}\t{' '.join(reason.split())}\n")
            case Noted(what):
                self._counts["noted"][what] += 1

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        with self._stack:
            for file in (*(file for files in self._files.values() for file in files), self._dropped):
                if kind is None:
                    file.flush()
                    os.fsync(file.fileno())
        if kind is None:
            for name, rows in self._hashes.items():
                width = 1 + len(self._outputs[name].files)
                np.save(self._folder / ITEMS.format(name), np.array(rows, np.uint64).reshape(-1, width))
            with atomic_write(self._folder / COUNTS) as file:
                json.dump({kind: dict(sorted(counts.items())) for kind, counts in self._counts.items()}, file)


def _open_list(path: Path) -> TextIO:
    """Open a list of names for writing. Bytes of names that are not UTF-8 are escaped."""
    return path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n")


def _shown(place: str) -> str:
    """Return a place as it is, but with tabs and line breaks escaped."""
    return _BREAKS.sub(lambda found: found[0].encode("unicode_escape").decode(), place)


def _ascii(texts: Sequence[str]) -> str:
    return ascii(" ".join(texts)[:100])


def part_files(name: str, output: Output) -> list[str]:
    """Return the names of an output's files within a part."""
    return [f"{name}.{place}" for place in range(len(output.files))]


def kind_of(reason: str) -> str:
    """Return the reason without its numbers. Reasons are counted by it."""
    return re.sub(r"\d+(\.\d+)?", "#", " ".join(reason.split()))


def _hash(data: Sequence[bytes]) -> int:
    digest = hashlib.blake2b(b"\0".join(data), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _die_with_parent() -> None:
    """Exit when the parent process ends: a worker must not outlive a run that was killed."""

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let processes that start inside use one torch thread each, so that they do not compete for the cores."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def progress(total: int, delay: float = 0.0) -> tqdm:
    """Return a progress bar in bytes. Without a terminal, a line every 30 s. Hidden for the first ``delay`` seconds."""
    seconds = 0.1 if sys.stderr.isatty() else PLAIN_LINE_SECONDS
    return tqdm(
        total=total, unit="B", unit_scale=True, mininterval=seconds, maxinterval=seconds, leave=False, delay=delay
    )
