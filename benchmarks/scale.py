"""Data at scale, millions of rows and tens of millions of sentences: start, memory, change of shards, feeding."""

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import scale_data
from benchmarks.corpus import BenchmarkData, cached_corpus, sound_corpus
from benchmarks.figures import Figure, Goal, Scale

ROOT = Path(__file__).resolve().parent.parent
KIB, MB = 1024, 1e6
INTERVAL = 0.01  # seconds between readings of the memory
WORKERS = 2
FEED_UTTERANCES = 100
MEMORY = Goal("<=", 300)
FLAT = Goal("<=", 10)
IN_ONE_FILE = {"blocks": scale_data.BLOCK, "sentences": None}  # block lengths for text in one file
PRIVATE = (
    f"MB of anonymous memory (RssAnon) of the largest process, main or one of {WORKERS} workers, above that of a fresh "
    f"process that has imported torch and fairseq alone, looked at every {1000 * INTERVAL:.0f} ms from outside. Pages "
    "of mapped files are the page cache's and do not count; pages that a worker shares with the main process count in "
    "both"
)
START = (
    "seconds of the clock from setting up the task to the first plan step, Arrow copy and stamp of decoded audio being "
    "there, imports left out; cpu_seconds are the main process's"
)
FEED = (
    "seconds of audio for each second of CPU time of one process that loads and collates unpaired and paired speech "
    "with its text; {words}"
)


class Event(NamedTuple):
    """An event that a child reported, and since the last one the peak of anonymous memory of any of its processes."""

    name: str
    found: dict[str, Any]
    peak: int
    mapped: int


def figures(scale: Scale) -> list[Figure]:
    """Return the figures. Needs about three gigabytes in a temporary folder."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "data")
        folder.mkdir()
        scale_data.write_vocabulary(folder)
        found = _manifest(folder, scale)
        found += _shards(folder, scale)
        found += _whole(folder, scale)
    with tempfile.TemporaryDirectory() as scratch:
        return found + _feeding(Path(scratch), scale)


def _manifest(folder: Path, scale: Scale) -> list[Figure]:
    path = scale_data.write_manifest(folder, scale.rows)
    imported, built = watched("build", path)
    scale_data.stamp(path)
    what = f"{scale.rows:,} rows of {path.stat().st_size / scale.rows:.0f} bytes"
    name = f"manifest of {words(scale.rows)} rows, index built"
    meaning = f"seconds of the clock for the Arrow copy of {what}; cpu_seconds are the process's"
    return [
        Figure(f"{name}, seconds", built.found["wall"], "s", meaning, Goal("<=", 60), {"build": built.found["cpu"]}),
        Figure(f"{name}, MB", (built.peak - imported.peak) / MB, "MB", f"{PRIVATE}; {what}", MEMORY),
    ]


def _shards(folder: Path, scale: Scale) -> list[Figure]:
    """Return the figures of training on shards of blocks, for an epoch and the start of the next one."""
    count = scale_data.SHARDS
    texts = [f"text{shard}" for shard in range(count)]
    for shard, text in enumerate(texts):
        scale_data.write_text(folder / text, scale.sentences // count, shard)
    name = f"{words(scale.rows)} rows, {words(scale.sentences)} sentences in {count} shards"
    base, start, *quarters, change = _training(folder, scale, texts, scale_data.BLOCK)
    for text in texts:
        for suffix in (".bin", ".idx"):
            (folder / f"{text}{suffix}").unlink()
    grown = max(0, quarters[-1].peak - quarters[1].peak)
    more = f"{scale.steps} plan steps of an epoch, text in blocks of {scale_data.BLOCK} tokens"
    return [
        *_started(name, base, start, more),
        Figure(f"{name}, epoch, MB", _above(base, quarters), "MB", f"{PRIVATE}; {more}", MEMORY),
        Figure(
            f"{name}, growth over the epoch, MB",
            grown / MB,
            "MB",
            f"the peak of the last quarter less that of the second one, of the largest process; {more}",
            FLAT,
        ),
        Figure(
            f"{name}, change of epoch, MB",
            _above(base, [change]),
            "MB",
            f"{PRIVATE}; from the end of an epoch to the first plan step of the next one, which visits another shard",
            MEMORY,
        ),
        Figure(
            f"{name}, shards open after the change",
            change.mapped,
            "shards",
            "text shards that the main process maps at the first plan step of the second epoch",
            Goal("<=", 1),
        ),
    ]


def _whole(folder: Path, scale: Scale) -> list[Figure]:
    """Return the figures of training on text in one file: in blocks, as for documents, and sentence by sentence."""
    scale_data.write_text(folder / "text", scale.sentences, 0)
    found = []
    for how, block in IN_ONE_FILE.items():
        name = f"{words(scale.rows)} rows, {words(scale.sentences)} sentences in one file, {how}"
        base, start, *quarters, change = _training(folder, scale, ["text"], block)
        more = f"an item is {'a block of up to 512 tokens' if block else 'a sentence'}"
        found += _started(name, base, start, more)
        found.append(Figure(f"{name}, epoch, MB", _above(base, quarters), "MB", f"{PRIVATE}; {more}", MEMORY))
    return found


def _training(folder: Path, scale: Scale, texts: list[str], block: int | None) -> list[Event]:
    corpora = scale_data.write_corpora(folder / "corpora.yaml", texts, block)
    return watched("train", folder, corpora, scale.steps, WORKERS, mapped=folder / "text")


def _started(name: str, base: Event, start: Event, more: str) -> list[Figure]:
    cpu = {"main process": start.found["cpu"]}
    return [
        Figure(f"{name}, first batch, seconds", start.found["wall"], "s", f"{START}; {more}", Goal("<=", 10), cpu),
        Figure(f"{name}, start, MB", _above(base, [start]), "MB", f"{PRIVATE}; up to the first plan step", MEMORY),
    ]


def _above(base: Event, events: list[Event]) -> float:
    return (max(event.peak for event in events) - base.peak) / MB


def _feeding(scratch: Path, scale: Scale) -> list[Figure]:
    """Return the audio per second of CPU time. Two workers are two cores."""
    utterances = max(16, FEED_UTTERANCES * scale.rounds // 8)
    found = []
    for name, make, share, bound in (
        ("cached features", lambda folder: cached_corpus(scale.data, folder, utterances), WORKERS, 1000),
        ("FLAC", lambda folder: sound_corpus(folder, utterances), 1, 2000),
    ):
        folder = scratch / name.split()[0]
        folder.mkdir()
        corpus: BenchmarkData = make(folder)
        *_, fed = watched("feed", corpus.folder.resolve(), max(2, 3 * scale.rounds))
        whose = "a core" if share == 1 else f"{share} cores"
        meaning = FEED.format(words=corpus.words) + (f", times {share} workers with a core each" if share > 1 else "")
        value = share * fed.found["rate"]
        found.append(Figure(f"audio a second for {whose}, {name}", value, "s/s", meaning, Goal(">=", bound)))
    return found


def words(count: int) -> str:
    """Return a count in words: 5 million, 50 thousand."""
    return f"{count // 1_000_000} million" if count >= 1_000_000 else f"{count // 1000} thousand"


def watched(*arguments: Any, mapped: Path | None = None) -> list[Event]:
    """Run :mod:`benchmarks.scale_child` and return its events, each with the number of mapped files ``mapped``*.bin."""
    command = [sys.executable, "-m", "benchmarks.scale_child", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    events, peak = [], 0
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE) as child:
        while True:
            spoken, _, _ = select.select([child.stdout], [], [], INTERVAL)
            peak = max([peak, *map(anonymous, _family(child.pid))])
            if not spoken:
                continue
            line = child.stdout.readline()
            if not line:
                break
            found = json.loads(line)
            events.append(Event(found.pop("event"), found, peak, _mapped(child.pid, mapped) if mapped else 0))
            peak = 0
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return events


def _family(process: int) -> Iterator[int]:
    """Yield a process and its descendants, as far as they have not ended."""
    yield process
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii")
    except FileNotFoundError:
        return
    for child in children.split():
        yield from _family(int(child))


def anonymous(process: int) -> int:
    """Return the anonymous resident bytes of a process, 0 if it has ended."""
    try:
        with open(f"/proc/{process}/status", encoding="ascii") as lines:
            return KIB * sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _mapped(process: int, prefix: Path) -> int:
    """Return the number of files ``prefix``*.bin that a process has mapped."""
    with open(f"/proc/{process}/maps", encoding="utf-8") as lines:
        paths = {line.split(maxsplit=5)[-1].strip() for line in lines}
    return sum(path.startswith(str(prefix)) and path.endswith(".bin") for path in paths)
