"""Put the data folder of all downstream tasks together, from packages alone.

    slam prepare downstream --tree TREE --out FOLDER [--corpora FILE] [--limit N] [--jobs N]

TREE is what ``slam fetch --set downstream`` unpacks. The folder holds

- ``dict.txt``, ``spm.model``: the joint vocabulary of Czech and English, with ``speech``, ``pairs`` and ``text`` to
  pre-train on (``text/cs_train``, ``text/en_train``, each with its ``valid``);
- ``asr``: Czech speech and its transcripts, with a vocabulary of characters;
- ``st``: the same speech in English and in German, an utterance up to twice, with a vocabulary of pieces and language
  tags; ``st/source`` is the joint vocabulary, ``st/mt/{en,de}/{train,valid}.source-target.*`` transcripts and
  translations as text, for joint fine-tuning;
- ``sentiment``, ``paraphrase``: sentences and pairs of them with labels (:mod:`data_prep.text.sentences`), and as
  ``{split}.tsv``;
- ``normalization``: written and spoken sentences, ``{split}.written-spoken.*``, and each one's class;
- ``corpora``: the corpora that the packages became, with lists of what was left out. The manifests of the dialogue are
  those above.

All English input has the same normalization and the joint vocabulary. Test sentences of these tasks are in no text to
pre-train on. Sentences that validate a task also validate pre-training. :mod:`data_prep.packages.downstream_folder` has
the steps in order. The folder appears whole or not at all. If it exists already, nothing is done.
"""

from pathlib import Path

from data_prep.engine.folder import make_folder
from data_prep.packages.data_folder import announce, folder_program, table_of

# Raised when the same input gives another folder, so that an old one is not taken for it.
LAYOUT = 2


def prepare(tree: str | Path, out: str | Path, limit: int | None = None, jobs: int = 2) -> dict:
    """Build the folder ``out`` from the packages unpacked in ``tree``, if it does not exist. Return its statistics.

    ``limit`` is the maximum number of utterances, documents and sentences of each split. Raises :class:`DataError` if
    ``tree`` is incomplete, a check fails, or ``out`` holds something else.
    """

    def fill_it(partial: Path) -> dict:
        # Importing torch and fairseq takes seconds, which a run that has nothing to do need not wait for.
        from data_prep.packages.downstream_folder import fill

        return fill(Path(tree).absolute(), partial, limit, jobs, announce)

    return make_folder(out, {"command": "downstream", "layout": LAYOUT, "limit": limit}, fill_it)


def _table(stats: dict) -> str:
    lines = [table_of(stats)]
    for task in ("translations", "sentences", "normalization"):
        for name, each in stats[task].items():
            lines.append(f"{name}: " + ", ".join(f"{split} {count['rows']}" for split, count in each.items()))
    return "\n".join(lines)


main = folder_program("downstream", __doc__, prepare, _table)
