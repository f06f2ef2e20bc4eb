"""Put the demo's data folder together: Czech dialogue and Czech prose, ready for pre-training and fine-tuning.

    python -m data_prep.demo --tree TREE --out FOLDER [--corpora FILE] [--limit N]

An example to follow for other corpora (:mod:`data_prep.demo_folder` has the steps in their order). Each step is a
command of its own as well: manifests (``data_prep.fillets``), features (``data_prep.pack``), text
(``data_prep.fortunes``), vocabularies (``data_prep.vocab``), text as numbers (``data_prep.binarize``), a check of
everything (``data_prep.validate``). The folder appears whole or not at all; where it is there already, nothing is
done.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from data_prep.folder import make_folder, run, say, table_of

# Raised when the same input gives another folder, so that an old one is not taken for it.
LAYOUT = 1


def prepare(tree: str | Path, out: str | Path, limit: int | None = None, jobs: int = 2) -> dict:
    """Make the folder ``out`` of the packages unpacked in ``tree``, if it is not there, and return its statistics.

    ``limit`` keeps so many utterances of each split and documents of each text. Raises :class:`DataError` where
    ``tree`` is incomplete, a check fails, or ``out`` holds something else.
    """

    def fill_it(partial: Path) -> dict:
        # Importing torch and fairseq takes seconds, which a run that has nothing to do need not wait for.
        from data_prep.demo_folder import fill

        return fill(Path(tree), partial, limit, jobs, say)

    return make_folder(out, {"layout": LAYOUT, "limit": limit}, fill_it)


def main(argv: Sequence[str] | None = None) -> int:
    """Make the folder of the command line and print what it holds; return 1 where that cannot be."""
    return run("data_prep.demo", __doc__.splitlines()[0], prepare, table_of, argv)


if __name__ == "__main__":
    sys.exit(main())
