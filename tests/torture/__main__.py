"""Tortures a toy training: `python -m tests.torture --kills 200 --seed 1`, or `make torture KILLS=200`.

It is trained once undisturbed, and again with kills, full disks and signals to stop at random moments of random phases,
on one rank and on two, each start by the same command, until it is finished. Prints a table by phase and ranks, and
ends with 1 if a number differs or anything else is wrong. A chain that fails prints the command that repeats it.
"""

import argparse
import logging
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.torture import toy
from tests.torture.chain import Chain, run_chain, undisturbed
from tests.torture.disturbance import MANNERS, PHASES, Disturbance, draw, draw_full_disk

LENGTH = 8  # disturbances in a chain
IMPORTS = 33  # one kill of this many is while importing, which takes a fresh process
FULL, STOPS = 10, 8  # for this many kills, one full disk, and one signal to stop


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="kills in all, half of them on two ranks")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments")
    parser.add_argument("--ranks", type=int, choices=(1, 2), help="only this number of ranks")
    parser.add_argument(
        "--disturb", action="append", help="a chain of just these disturbances, as a failure prints them"
    )
    parser.add_argument("--folder", type=Path, help="kept folder of all runs (default: a temporary one)")
    parser.add_argument("--forked", action="store_true", help="fork the undisturbed runs as well, which is quicker")
    args = parser.parse_args(arguments)
    logging.getLogger("slam_plugin").setLevel(logging.WARNING)
    folder = args.folder or Path(tempfile.mkdtemp(prefix="torture"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        chains = list(_chains(args, folder.resolve()))
    finally:
        if args.folder is None:
            shutil.rmtree(folder)
    return report(chains)


def _chains(args: argparse.Namespace, folder: Path) -> Iterator[Chain]:
    corpora = folder / "corpora"
    toy.build(corpora)
    for ranks in (args.ranks,) if args.ranks else (1, 2):
        begin = time.monotonic()
        reference = undisturbed(corpora, folder / f"undisturbed{ranks}", toy.Training(ranks), fresh=not args.forked)
        print(f"{ranks} rank(s): undisturbed run in {time.monotonic() - begin:.0f} s", flush=True)
        planned = [Disturbance.parse(text) for text in args.disturb or ()]
        waiting = [planned] if planned else shuffled(args.kills // (1 if args.ranks else 2), ranks, args.seed)
        yield from _through(waiting, corpora, folder, reference, ranks)


def _through(
    waiting: list[list[Disturbance]], corpora: Path, folder: Path, reference: Path, ranks: int
) -> Iterator[Chain]:
    """Run chains until every disturbance has taken place: those that a finished run left over are of a later chain."""
    number, missed = 0, Counter()
    while waiting:
        planned = waiting.pop(0)
        if planned[0].phase == "loading":  # there is nothing to load at a first start
            planned.insert(0, Disturbance("SIGKILL", "validating", 2, 0, 0, "self"))
        number += 1
        where = folder / f"chain{ranks}_{number}"
        chain = run_chain(corpora, where, reference, toy.Training(ranks), planned)
        print(_line(chain, number), flush=True)
        yield chain
        if not _is_wrong(chain):
            shutil.rmtree(where)
        left = [disturbance for disturbance in planned if disturbance not in chain.fired]
        missed.update(left)
        # One that does not take place at the third try is dropped, and is missing in the table.
        left = [disturbance for disturbance in left if missed[disturbance] < 3]
        if left and not chain.faults:
            waiting.append(left)


def shuffled(kills: int, ranks: int, seed: int) -> list[list[Disturbance]]:
    """Return chains of kills of all phases in turn, of full disks and of signals to stop."""
    rng = random.Random(f"{seed} {ranks}")
    names = [name for name in PHASES if name != "importing" and (ranks > 1 or name != "meeting")]
    imports = max(1, kills // IMPORTS) if kills >= len(names) else 0
    phases = ["importing"] * imports + [names[i % len(names)] for i in range(kills - imports)]
    found = [draw(phase, ranks, rng) for phase in phases]
    manners = ("full-once", "full-twice", "full-for-good")
    found += [draw_full_disk(manners[i % len(manners)], ranks, rng) for i in range(kills // FULL)]
    stops = [(rng.choice(names), "SIGTERM" if i % 2 else "SIGUSR1") for i in range(kills // STOPS)]
    found += [draw(phase, ranks, rng, manner) for phase, manner in stops]
    rng.shuffle(found)
    chains = [found[first : first + LENGTH] for first in range(0, len(found), LENGTH)]
    # A run is finished once it has been disturbed at its end: nothing else can follow.
    return [sorted(chain, key=lambda disturbance: disturbance.phase == "ending") for chain in chains]


def _is_wrong(chain: Chain) -> bool:
    return bool(chain.faults or chain.compared.differences)


def _line(chain: Chain, number: int) -> str:
    compared = chain.compared
    phases = ", ".join(f"{d.phase}{'' if d.manner == 'SIGKILL' else f' ({d.manner})'}" for d in chain.fired)
    line = (
        f"{chain.ranks} rank(s), chain {number}: {len(chain.fired)} disturbances ({phases}), {chain.starts} starts, "
        f"{compared.differences} of {compared.numbers:,} numbers differ"
    )
    if not _is_wrong(chain):
        return line
    places = "".join(f"\n    {place}" for place in compared.places[:20])
    return line + f"\n  AGAIN: {chain.command}{places}" + "".join(f"\n    {fault}" for fault in chain.faults)


def report(chains: Sequence[Chain]) -> int:
    """Print the table by phase and ranks. Return 1 if anything differs or is wrong, else 0."""
    print(f"\n{'disturbance':30}{'1 rank':>8}{'2 ranks':>9}{'stuck':>7}{'in chains that differ':>23}")
    rows = Counter((_name(d), chain.ranks) for chain in chains for d in chain.fired)
    stuck = Counter(_name(d) for chain in chains for d in chain.stuck)
    wrong = Counter(_name(d) for chain in chains if _is_wrong(chain) for d in chain.fired)
    for name in dict.fromkeys(name for name, _ in sorted(rows)):
        print(f"{name:30}{rows[name, 1]:8}{rows[name, 2]:9}{stuck[name]:7}{wrong[name]:23}")
    fired = [d for chain in chains for d in chain.fired]
    kills = sum(d.manner == "SIGKILL" for d in fired)
    full = sum(MANNERS[d.manner].signal is None for d in fired)
    starts, bad = sum(chain.starts for chain in chains), sum(map(_is_wrong, chains))
    compared = [chain.compared for chain in chains]
    print(
        f"\n{kills} kills, {full} full disks, {len(fired) - kills - full} signals to stop, {starts - len(chains)} "
        f"restarts, {len(chains)} runs: {sum(c.differences for c in compared)} of {sum(c.numbers for c in compared):,} "
        f"numbers differ, {sum(len(chain.faults) for chain in chains)} other faults, at most "
        f"{max((chain.unfinished for chain in chains), default=0)} unfinished files at once"
    )
    return int(bad > 0 or not fired)


def _name(disturbance: Disturbance) -> str:
    return f"{disturbance.manner} {disturbance.phase}"


if __name__ == "__main__":
    sys.exit(main())
