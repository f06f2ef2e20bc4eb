"""Put data folders of English text tasks together, with the vocabulary of a pre-training.

    slam prepare english-tasks --tree TREE --vocabulary FOLDER --out FOLDER [--limit N] [--jobs N]

TREE is what ``slam fetch --set english-tasks`` unpacks, ``--vocabulary`` the data folder of the pre-training, with
``dict.txt`` and ``spm.model``. The folder holds

- ``sentiment``, ``paraphrase``: sentences and pairs of them with labels (:mod:`data_prep.text.sentences`), and as
  ``{split}.tsv``;
- ``normalization``: written and spoken sentences, ``{split}.written-spoken.*``, and each one's class. Sentences that
  the vocabulary cannot write are left out and counted: one of letters and digits has no ``$3.50``. ``valid`` and
  ``test`` are of glosses that ``slam prepare english`` validates pre-training with;
- ``corpora``: the corpora that the packages became, with lists of what was left out.

Test sentences of these tasks are in no text that ``slam prepare english`` pre-trains on. The folder appears whole or
not at all. If it exists already, nothing is done.
"""

import argparse
import hashlib
from pathlib import Path

from data_prep.engine.folder import make_folder
from data_prep.packages.data_folder import announce
from data_prep.packages.tree import add_tree
from slam_plugin.program import Program, positive

# Raised when the same input gives another folder, so that an old one is not taken for it.
LAYOUT = 1


def prepare(tree: Path, vocabulary: Path, out: Path, limit: int | None = None, jobs: int = 2) -> dict:
    """Build the folder ``out`` from the packages unpacked in ``tree``, if it does not exist. Return its statistics.

    Raises :class:`DataError` if ``tree`` is incomplete, or ``out`` holds something else.

    Args:
        vocabulary: folder of ``dict.txt`` and ``spm.model``.
        limit: maximum number of sentences of each split.
    """
    symbols = hashlib.sha256((vocabulary / "dict.txt").read_bytes()).hexdigest()
    recipe = {"command": "english-tasks", "layout": LAYOUT, "limit": limit, "vocabulary": symbols}

    def fill_it(partial: Path) -> dict:
        # Importing torch and fairseq takes seconds, which a run that has nothing to do need not wait for.
        from data_prep.packages.english_tasks_folder import fill

        return fill(tree.absolute(), vocabulary.absolute(), partial, limit, jobs, announce)

    return make_folder(out, recipe, fill_it)


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_tree(parser)
    parser.add_argument("--vocabulary", type=Path, required=True, metavar="FOLDER", help="of dict.txt and spm.model")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the folder to create")
    parser.add_argument("--limit", type=positive, metavar="N", help="at most N sentences per split, for a quick trial")
    parser.add_argument("--jobs", type=positive, default=2, help="threads (default: 2)")


def run(options: argparse.Namespace) -> None:
    """Build the folder and print its counts."""
    stats = prepare(options.tree, options.vocabulary, options.out, options.limit, options.jobs)
    for name, splits in stats["tasks"].items():
        print(f"{name}: " + ", ".join(f"{split} {counts['rows']}" for split, counts in splits.items()))
    for corpus, reasons in stats["left_out"].items():
        for reason, count in reasons.items():
            print(f"left out of {corpus}: {count} {reason}")


main = Program("slam prepare english-tasks", __doc__, add, run)
