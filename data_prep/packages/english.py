"""Put the English data folder together: speech, text and pairs to pre-train on, recognition and translation.

    slam prepare english --tree TREE --out FOLDER [--corpora FILE] [--limit N] [--jobs N]

TREE is what ``slam fetch --set english`` unpacks. The folder holds

- ``dict.txt``, ``spm.model``: the joint vocabulary, English letters, digits and the apostrophe;
- ``speech/{train,valid}.tsv``: speech of the three games without text;
- ``text/{train,valid}``: English of Wesnoth, WordNet's glosses and the World English Bible;
- ``pairs/{train,valid}.tsv``: speech of Amazon Queen with transcripts;
- ``pairs/synthetic.tsv``: sentences of ``text/train``, spoken by a synthesizer (:mod:`data_prep.packages.synthetic`);
- ``asr/{train_10,train_30,train_100,dev,test}.tsv``: recognition of Steel Sky and Drascula with 10, 30 and 100 minutes
  of transcripts (the smaller sets are parts of the larger), and the joint vocabulary;
- ``st/{train,dev,test}.tsv``: the same two games in German, French, Spanish and Italian, an utterance up to four times,
  with a vocabulary of pieces and language tags; ``st/source`` is the joint vocabulary;
- ``st/de`` and the other languages: the rows of one language, with the vocabulary of all;
- ``st/clauses/{train,dev,test}.tsv``: synthetic speech of short English clauses of the Bible, with Spanish translations
  (:mod:`data_prep.packages.clauses`) and a vocabulary of Spanish pieces; ``st/clauses/source`` is the joint vocabulary;
- ``st/clauses/mt/{train,valid}.source-target.*``: pairs of texts: the clauses above, and in ``train`` further clauses
  without speech;
- ``st/mt/LANGUAGE/{train,valid}.source-target.*``: sentences of Wesnoth and lines of Steel Sky without speech, with
  their translations; ``valid`` has the transcripts and translations of ``st/dev``;
- ``games``: the corpora that the packages became, with sound at its own rate, the games' other languages, and lists of
  what was left out.

Training has only scenes and chapters of training, and no sentence that ``asr/dev``, ``asr/test``, ``st/clauses/dev``,
``st/clauses/test``, ``pairs/valid`` or ``text/valid`` holds. ``pairs`` have no sentence of ``asr``. All text has the
same normalization. Sentences with digits are dropped, because numbers are not spelled out.
:mod:`data_prep.packages.english_folder` has the steps in order. The folder appears whole or not at all. If it exists
already, nothing is done. Clauses and synthetic pairs need ``espeakng-loader`` (PyPI).
"""

from pathlib import Path

from data_prep.engine.folder import make_folder
from data_prep.packages.data_folder import announce, folder_program, table_of

# Raised when the same input gives another folder, so that an old one is not taken for it.
LAYOUT = 5


def prepare(tree: str | Path, out: str | Path, limit: int | None = None, jobs: int = 2) -> dict:
    """Build the folder ``out`` from the packages unpacked in ``tree``, if it does not exist. Return its statistics.

    ``limit`` is the maximum number of utterances of each game's splits and of documents of each text. Raises
    :class:`DataError` if ``tree`` is incomplete, a check fails, or ``out`` holds something else.
    """

    def fill_it(partial: Path) -> dict:
        # Importing torch and fairseq takes seconds, which a run that has nothing to do need not wait for.
        from data_prep.packages.english_folder import fill

        return fill(Path(tree).absolute(), partial, limit, jobs, announce)

    return make_folder(out, {"command": "packages.english", "layout": LAYOUT, "limit": limit}, fill_it)


def _table(stats: dict) -> str:
    lines = [table_of(stats)]
    for name, splits in stats["translations"].items():
        lines.append(f"{name}: " + ", ".join(f"{split} {each['rows']} pairs" for split, each in splits.items()))
    return "\n".join(lines)


main = folder_program("english", __doc__, prepare, _table)
