"""Put the demo's data folder together: Czech dialogue and Czech prose, ready for pre-training and fine-tuning.

    python -m data_prep.demo --tree TREE --out FOLDER [--corpora FILE] [--limit N]

An example to follow for other corpora (:mod:`data_prep.demo_folder` has the steps in their order). Each step is a
command of its own as well: manifests (``data_prep.fillets``), features (``data_prep.pack``), text
(``data_prep.fortunes``), vocabularies (``data_prep.vocab``), text as numbers (``data_prep.binarize``), a check of
everything (``data_prep.validate``). The folder appears whole or not at all; where it is there already, nothing is
done.
"""

import argparse
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from slam_plugin.data.errors import DataError
from slam_plugin.data.files import atomic_write

STATS = "stats.json"
# Raised when the same input gives another folder, so that an old one is not taken for it.
LAYOUT = 1


def prepare(tree: str | Path, out: str | Path, limit: int | None = None, jobs: int = 2) -> dict:
    """Make the folder ``out`` of the packages unpacked in ``tree``, if it is not there, and return its statistics.

    ``limit`` keeps so many utterances of each split and documents of each text. Raises :class:`DataError` where
    ``tree`` is incomplete, a check fails, or ``out`` holds something else.
    """
    out = Path(out).absolute()
    recipe = {"layout": LAYOUT, "limit": limit}
    if (out / STATS).is_file():
        stats = json.loads((out / STATS).read_text(encoding="utf-8"))
        if stats["recipe"] != recipe:
            raise DataError(f"{out}: was made by {stats['recipe']}, not {recipe}; remove it or choose another folder")
        return stats
    if out.is_dir() and any(out.iterdir()):
        raise DataError(f"{out}: holds files but no {STATS}: no finished data folder; remove it or choose another")
    # Importing torch and fairseq takes seconds, which a run that has nothing to do need not wait for.
    from data_prep.demo_folder import fill

    partial = out.with_name(f".{out.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    stats = {"recipe": recipe, **fill(Path(tree), partial, limit, jobs, _say)}
    with atomic_write(partial / STATS) as file:
        json.dump(stats, file, indent=1, ensure_ascii=False)
    os.rename(partial, out)
    return stats


def place_corpora(corpora: str | Path, out: str | Path) -> None:
    """Put the file that says what to train on into the data folder, unless the same is there."""
    wanted, target = Path(corpora).read_bytes(), Path(out, "corpora.yaml")
    if not target.is_file() or target.read_bytes() != wanted:
        with atomic_write(target, "wb") as file:
            file.write(wanted)


def _say(step: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {step}", flush=True)


def _table(stats: dict) -> str:
    lines = [f"{'manifest':20}{'utterances':>12}{'minutes':>10}{'speakers':>10}"]
    for name, each in stats["manifests"].items():
        lines.append(f"{name:20}{each['utterances']:12}{each['minutes']:10.1f}{each['speakers']:10}")
    for split, each in stats["text"].items():
        lines.append(
            f"text/{split}: {each['documents']} documents, {each['sentences']} sentences, {each['tokens']} tokens"
        )
    lines.append("symbols: " + ", ".join(f"{name} {count}" for name, count in stats["symbols"].items()))
    for corpus, reasons in stats["left_out"].items():
        lines += [f"left out of {corpus}: {count} {reason}" for reason, count in reasons.items()]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Make the folder of the command line and print what it holds; return 1 where that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--tree", type=Path, required=True, help="the unpacked packages (python -m data_prep.fetch)")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--corpora", type=Path, metavar="FILE", help="corpora.yaml to put into the folder")
    parser.add_argument(
        "--limit", type=int, metavar="N", help="only so many utterances of each split, for a quick trial"
    )
    parser.add_argument("--jobs", type=int, default=2, help="threads that compute features (default: 2)")
    arguments = parser.parse_args(argv)
    try:
        stats = prepare(arguments.tree, arguments.out, arguments.limit, arguments.jobs)
        if arguments.corpora:
            place_corpora(arguments.corpora, arguments.out)
    except (DataError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(_table(stats))
    return 0


if __name__ == "__main__":
    logging.getLogger("slam_plugin").setLevel(logging.WARNING)  # each manifest's Arrow copy would be announced
    sys.exit(main())
