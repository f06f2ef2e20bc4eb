"""Your own data: a table of recordings and texts, or a folder of them, as a folder to train on.

    slam prepare own --kind asr --root table.csv --out data/mine

``--kind`` names the use of the rows: the columns that they need (and may have), and the files of each split:

- ``speech``: audio (speaker, language); ``train.tsv``, a manifest of speech to pre-train on
- ``asr``: audio, text (speaker, language); ``train.tsv``, for recognition, and as pairs to pre-train on
- ``st``: audio, translation (text, speaker, language, target_language); ``train.tsv``, for speech translation
- ``text``: text; ``train.txt``, text to pre-train on, one document per row
- ``classification``: text, label (text2); ``train.tsv``, lines ``label<TAB>text[<TAB>text2]``
- ``normalization``: written, spoken (class); ``train.written``, ``train.spoken``, ``train.classes``

``--root`` is one of these:

- a table: ``.csv`` (commas, quoted if necessary) or ``.tsv`` (tabs, no quotes) with a header, or ``.jsonl`` or
  ``.json`` (one object per line);
- a folder of tables, either all named for splits (``train.csv``, ``valid.csv``, ``test.csv``) or none;
- for speech and asr, a folder of sound files at any depth, for asr each with its text beside it (``a.wav``, ``a.txt``
  or ``.lab``, ``.trn``, ``.normalized.txt``); for text, a folder of ``.txt`` files with one sentence per line and an
  empty line between documents. A file of more than 100 lines without an empty one has a document per line;
- a data set of others: NeMo's manifests (``audio_filepath``, ``offset``, ``duration`` in seconds), Hugging Face's
  ``metadata.csv`` or ``.jsonl`` (``file_name``, ``transcription``), also one in each split's folder, LJSpeech's
  ``metadata.csv``, Kaldi's ``wav.scp`` with ``text`` and ``segments`` (its commands are refused), lhotse's cut sets
  (``.jsonl``, ``.jsonl.gz``), or a folder that ``save_to_disk`` of Hugging Face's ``datasets`` has written.

With ``--kind speech``, recordings longer than ``--max-seconds`` are cut at their pauses, where Silero VAD finds speech
(the extra ``recordings``). What holds none for more than 2 s is left out and listed.

A recording of a folder for asr may have subtitles beside it, ``a.srt`` or ``a.vtt``, with the language before the
ending if there are several (``a.en.srt`` with ``--language en``). They are read if it has no text or is longer than
``--max-seconds``, and need the extra ``recordings``. Subtitles are put together until a pause of 0.5 s, or the end of a
sentence after 3 s. Left out are tags, lines of songs, sounds in brackets, dashes and names (``JOHN:``) of speakers, and
what rolling captions repeat. Subtitles that overlap for more than 0.5 s become one utterance. A long recording with a
plain text is left out: ``slam align`` cuts it.

Columns have the names above, or ``path``, ``sentence``, ``sentence2``, ``lang`` and ``tgt_lang`` for ``audio``,
``text``, ``text2``, ``language`` and ``target_language``, or those given by ``--columns text=words audio=file``. Sound
is flac, wav, ogg, mp3, SPHERE, or with PyAV m4a, mp4 or webm, of any rate. A relative path is below the table's folder,
or below ``--audio-root``, and ``talk.wav:16000:8000`` means 8000 samples from sample 16000 on. Sound is not copied:
leave it where it is. ``--columns channel=NAME`` takes one channel, from 0, instead of the mean of all.

Of a cut set, each supervision is a row for asr, cut to its own times, and each cut is a row for speech. Relative paths
of lhotse are below the folder that it ran in: name it by ``--audio-root``. Padding is cut off. Left out are mixtures of
several cuts, recordings that are changed (by speed, volume and so on; resampling does not matter), that are commands,
at a URL, in memory or in Shar archives, cuts of features alone, and supervisions that reach beyond their cut. Custom
fields are ignored. The split is what follows ``cuts`` in a file's name (``librispeech_cuts_dev-clean.jsonl.gz``).
Other manifests of lhotse beside the cut sets are not read. lhotse does not have to be installed.

A folder of ``save_to_disk`` is read without ``datasets``. Its column of type Audio is the sound, whatever its name.
The sound stays in the Arrow files, as ``data.arrow:OFFSET:LENGTH``: keep them. Class labels become the names of their
classes. Files with compressed record batches are refused.

The split of a row comes from the name of its file (or of the folder right below ``--root``), else from a column
``split``, else it is drawn by the hash of the row's first column in the list above (of its recording, for cuts), with
``--valid-share`` and ``--test-share``. So rows keep their split when others are added. The draw
ignores speakers: name the splits yourself if they should have different speakers. A split without rows is an error; a
small table needs larger shares, or shares of 0. Names of splits, in any case, are train, training; valid, validation,
val, dev, development; test, testing, eval. Files and folders may begin or end with one (``train-clean-100``). What is
not named for a split, beside a folder that is, is left out. Links to folders are followed.

Texts become lower-case words of letters, digits and inner apostrophes; ``--as-written`` keeps case and punctuation.
Turkish and Azerbaijani need their language for it, from a column or by ``--language tr``. A model normalizes the texts
that it is given in the same way.
Digits stay, although how they are read is unknown: for recognition, spell them out before. With ``--vocab`` the
vocabulary is copied and the texts are binarized: the folder is ready for ``slam_sentence_prediction`` (classification),
``slam_translation`` (normalization) or as a corpus of pre-training (text). Without one, train it on the texts with
``slam vocab``.

Rows that cannot be used are left out, listed with file, line and reason in ``OUT/dropped.tsv``, and counted. Every
sound file is decoded once. A run that was stopped resumes: run the same command again. It prepares a corrected table,
or a folder with other files, again.
"""

import argparse
from pathlib import Path

from data_prep.engine.command import preparation
from data_prep.own.corpus import Own
from data_prep.own.kinds import KINDS, SHARE
from data_prep.own.opening import ROLES, open_corpus
from slam_plugin.data.constants import MAX_SECONDS


def _column(text: str) -> tuple[str, str]:
    role, sign, name = text.partition("=")
    if not sign or not name or role not in ROLES:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected ROLE=NAME with a role of {', '.join(ROLES)}")
    return role, name


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kind", required=True, choices=KINDS, help="use of the rows")
    parser.add_argument(
        "--columns", type=_column, nargs="+", default=[], metavar="ROLE=NAME", help="names of the table's columns"
    )
    parser.add_argument(
        "--valid-share",
        type=float,
        default=SHARE,
        metavar="X",
        help="share of rows drawn for validation (default: %(default)s)",
    )
    parser.add_argument(
        "--test-share",
        type=float,
        metavar="X",
        help=f"share of rows drawn for testing (default: {SHARE}; 0 for speech and text)",
    )
    parser.add_argument(
        "--language", metavar="NAME", help="language of the texts, such as tr, if no column names it: for its capitals"
    )
    parser.add_argument("--as-written", action="store_true", help="keep case and punctuation of texts")
    parser.add_argument(
        "--max-seconds", type=float, default=MAX_SECONDS, metavar="S", help="longest utterance (default: %(default)s)"
    )
    parser.add_argument(
        "--audio-root", type=Path, metavar="DIR", help="folder of relative audio paths (default: the table's folder)"
    )
    parser.add_argument(
        "--vocab", type=Path, metavar="FOLDER", help="holds dict.txt and spm.model; binarize the texts with it"
    )


def _corpus_of(arguments: argparse.Namespace) -> Own:
    return open_corpus(
        arguments.root,
        arguments.kind,
        dict(arguments.columns),
        arguments.valid_share,
        arguments.test_share,
        arguments.as_written,
        arguments.max_seconds,
        arguments.vocab,
        arguments.language,
        arguments.audio_root,
    )


main = preparation(
    "own",
    __doc__,
    _corpus_of,
    _add_arguments,
    root_help="a table, a folder of tables, or a folder of sound or text files",
)
