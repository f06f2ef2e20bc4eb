"""Every reader of users' files under damaged and invented input.

    make fuzz N=100000                                     all readers, about N cases
    python -m tests.fuzz --cases 5000 --jobs 1             the same by hand
    python -m tests.fuzz --reader manifest.tsv --cases 500 one reader
    python -m tests.fuzz --reader manifest.tsv --case 17   one case again, with its traceback

A *reader* (:mod:`tests.fuzz.reader`) writes a valid input as publishers have it, and reads it. A *case* is a reader and
a number. The number decides alone what is changed (:mod:`tests.fuzz.cases`), so a case can be run again. The only
outcomes that are right are a result, and a :class:`DataError` that names the file. All else is a *finding*: another
exception, an error without the name, death by a signal, too much time or memory, a program that is started, a file
that is made or changed outside of the case's folder (:mod:`tests.fuzz.batch`). A new reader is one entry in the table
of its area (``tests/fuzz/of_*.py``).
"""

import argparse
import gc
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.batch import ERROR, FINDING, RESULT, Outcome, outcomes
from tests.fuzz.invented import invented
from tests.fuzz.reader import Reader
from tests.fuzz.table import READERS

_BATCH = 250  # cases of a process
KEPT = Path("build/fuzz")
_SECONDS = "seconds"  # of CPU time, among the counts of a reader
_SHOWN = 3  # findings of a kind that are printed


class Batch(NamedTuple):
    """Cases ``begin`` to ``end`` of a reader."""

    reader: Reader
    begin: int
    end: int

    def __reduce__(self) -> tuple:
        # To a process that has the table: readers hold functions without a name.
        return _batch_of, (self.reader.name, self.begin, self.end)


def _batch_of(name: str, begin: int, end: int) -> Batch:
    return Batch(next(reader for reader in READERS if reader.name == name), begin, end)


def batches_of(readers: Sequence[Reader], cases: int) -> list[Batch]:
    """Share about ``cases`` cases by weight, each reader two or more."""
    total = sum(reader.weight for reader in readers)
    found = []
    for reader in readers:
        count = max(2, round(cases * reader.weight / total))
        found += [Batch(reader, begin, min(begin + _BATCH, count)) for begin in range(0, count, _BATCH)]
    return found


def run(batches: Sequence[Batch], jobs: int, kept: Path) -> Iterator[tuple[Reader, Outcome]]:
    """Yield the outcome of each case, batch by batch, with ``jobs`` processes at a time."""
    invented("a.txt", b"a", 0)  # Hypothesis reads all modules once, here and not in each child
    gc.freeze()  # a child would copy every page that its collector looks at
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=_memory_disk()) as work, ExitStack() as stack:
        run_one = partial(_run_batch, work=Path(work), kept=kept)
        if jobs > 1:
            found = stack.enter_context(multiprocessing.get_context("fork").Pool(jobs)).imap(run_one, batches)
        else:
            found = map(run_one, batches)
        for batch, these in zip(batches, found, strict=True):
            yield from ((batch.reader, outcome) for outcome in these)


def _run_batch(batch: Batch, work: Path, kept: Path) -> list[Outcome]:
    return list(outcomes(batch.reader, range(batch.begin, batch.end), work, kept))


def _memory_disk() -> str | None:
    """Return a disk in memory, where fsync costs nothing, None for the usual one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) and shutil.disk_usage("/dev/shm").free > 2 << 30 else None


def table(counts: dict[str, Counter[str]]) -> str:
    """Return the outcomes of each reader as lines."""
    width = max(map(len, (*counts, "reader")))
    lines = [f"{'reader':{width}}   cases  results   errors  findings  ms a case"]
    total: Counter[str] = Counter()
    for name, found in [*counts.items(), ("total", total)]:
        cases = found[RESULT] + found[ERROR] + found[FINDING]
        milliseconds = 1000 * found[_SECONDS] / max(cases, 1)
        row = f"{cases:7} {found[RESULT]:8} {found[ERROR]:8} {found[FINDING]:9} {milliseconds:10.1f}"
        lines.append(f"{name:{width}} {row}")
        total.update(found)
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 1 if there is a finding, else 0."""
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=2000, help="of all readers together (%(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (%(default)s)")
    parser.add_argument("--reader", help="only readers whose name begins with this")
    parser.add_argument("--case", type=int, help="run this case of --reader alone and print what comes of it")
    parser.add_argument("--kept", type=Path, default=KEPT, help="folder for the files of findings (%(default)s)")
    options = parser.parse_args(arguments)
    readers = [reader for reader in READERS if reader.name.startswith(options.reader or "")]
    if not readers:
        parser.error(f"--reader: found {options.reader!r}, expected one of {', '.join(each.name for each in READERS)}")
    batches = batches_of(readers, options.cases)
    if options.case is not None:
        batches = [Batch(readers[0], options.case, options.case + 1)]
    counts = {reader.name: Counter() for reader in readers}
    kinds: Counter[tuple[str, str]] = Counter()
    for reader, (number, kind, text, seconds) in run(batches, options.jobs, options.kept.absolute()):
        counts[reader.name].update({kind: 1, _SECONDS: seconds})
        last = text.strip().rpartition("\n")[2]
        kinds[reader.name, last[:60]] += kind == FINDING
        if options.case is not None:
            print(f"{reader.name} {number}: {kind}\n{text}\nfiles: {options.kept / f'{reader.name}-{number}'}")
        elif kind == FINDING and kinds[reader.name, last[:60]] <= _SHOWN:
            print(f"FINDING python -m tests.fuzz --reader {reader.name} --case {number}\n{text}\n", flush=True)
    print(table(counts))
    return 1 if any(found[FINDING] for found in counts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
