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
  ``metadata.csv``, Kaldi's ``wav.scp`` with ``text`` and ``segments`` (its commands are refused).

Columns have the names above, or ``path``, ``sentence``, ``sentence2``, ``lang`` and ``tgt_lang`` for ``audio``,
``text``, ``text2``, ``language`` and ``target_language``, or those given by ``--columns text=words audio=file``. Sound
is flac, wav, ogg, mp3, SPHERE, or with PyAV m4a, mp4 or webm, of any rate. A relative path is below the table's folder,
and ``talk.wav:16000:8000`` means 8000 samples from sample 16000 on. Sound is not copied: leave it where it is.

The split of a row comes from the name of its file (or of the folder right below ``--root``), else from a column
``split``, else it is drawn by the hash of the row's first column in the
list above, with ``--valid-share`` and ``--test-share``. So rows keep their split when others are added. The draw
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
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path

from data_prep.engine.command import preparation
from data_prep.engine.splits import FAIRSEQ_SPLITS
from data_prep.own.corpus import (
    TEXTS,
    Own,
    OwnFiles,
    OwnSounds,
    OwnTables,
    OwnTexts,
    Table,
    drawn_split,
    files_of,
)
from data_prep.own.finding import find_tables, split_files, split_folders
from data_prep.own.kaldi import SOUND_LIST, SPEAKERS, TEXT_LIST, OwnKaldi
from data_prep.own.kinds import KINDS, PART, SHARE, Settings
from data_prep.own.tables import SUFFIXES, Record, columns_of, records_of, stretches_of
from slam_plugin.data.constants import MAX_SECONDS, SOUND_SUFFIXES, TRAIN
from slam_plugin.data.errors import DataError
from slam_plugin.data.text.vocabulary import Vocabulary

SPLIT = "split"
# Default names of columns by role; a role's own name comes first.
NAMES = {
    "audio": ("audio", "path"),
    "text": ("text", "sentence"),
    "text2": ("text2", "sentence2"),
    "language": ("language", "lang"),
    "target_language": ("target_language", "tgt_lang"),
}
# Used in their place if a table has none of them: Hugging Face's and NeMo's.
_OTHER_NAMES = {"audio": ("file_name", "audio_filepath"), "text": ("transcription", "transcript")}
ROLES = tuple(dict.fromkeys([*(role for kind in KINDS.values() for role in kind.needed + kind.optional), SPLIT]))
# Kinds that may be files without a table: the corpus of such a folder, and the endings of its files.
_FROM_FILES: Mapping[str, tuple[type[OwnFiles], tuple[str, ...]]] = {
    "speech": (OwnSounds, SOUND_SUFFIXES),
    "asr": (OwnSounds, SOUND_SUFFIXES),
    "text": (OwnTexts, TEXTS),
}


def open_corpus(
    root: Path,
    kind: str,
    columns: Mapping[str, str] | None = None,
    valid_share: float = SHARE,
    test_share: float | None = None,
    as_written: bool = False,
    max_seconds: float = MAX_SECONDS,
    vocabulary: str | Path | None = None,
    language: str | None = None,
) -> Own:
    """Return the corpus of a table, of the tables in a folder, or of the sound or text files below it.

    Args:
        columns: names of columns by role that are not in :data:`NAMES`.
        language: of the texts, for its capitals, if no column names it.
        test_share: None for the kind's default: 0 for speech and text, otherwise 0.05.

    Raises :class:`DataError` if there is nothing of the kind, or a column is missing.
    """
    test_share = KINDS[kind].test_share if test_share is None else test_share
    if min(valid_share, test_share) < 0 or valid_share + test_share >= 1:
        raise DataError(f"--valid-share {valid_share}, --test-share {test_share}: expected some rows to train on")
    _check_roles(kind, columns or {})
    if vocabulary and not KINDS[kind].has_text:
        raise DataError(f"--vocab: found with --kind {kind}, whose rows have no text")
    shares = (valid_share, test_share)
    symbols = Vocabulary.load(vocabulary).hash if vocabulary else None
    place = Path(vocabulary).absolute() if vocabulary else None

    def settings(roles: tuple[str, ...], splits: tuple[str, ...]) -> Settings:
        asked = tuple(sorted((columns or {}).items()))
        return Settings(kind, roles, splits, shares, asked, language, as_written, max_seconds, place, symbols)

    kaldi = _kaldi_folders(root) if kind in ("speech", "asr") and root.is_dir() else ()
    if kaldi:
        return _open_kaldi(root, kind, settings, shares, kaldi)
    found = find_tables(root)
    if not found:
        return _open_files(root, kind, settings, shares)
    folder = root if root.is_dir() else root.parent
    tables = tuple(
        Table(path.relative_to(folder).as_posix(), split, tuple(_find_columns(path, kind, columns or {}).items()))
        for path, split in found
    )
    known = KINDS[kind].needed + KINDS[kind].optional
    roles = tuple(role for role in known if all(role in dict(table.columns) for table in tables))
    return OwnTables(folder, settings(roles, _splits_of(folder, tables, roles[0], shares)), tables)


def _check_roles(kind: str, columns: Mapping[str, str]) -> None:
    known = (*KINDS[kind].needed, *KINDS[kind].optional, SPLIT)
    for role in columns:
        if role not in known:
            raise DataError(f"--columns: found {role!r}, expected one of {', '.join(known)} for --kind {kind}")


def _find_columns(path: Path, kind: str, columns: Mapping[str, str]) -> dict[str, str]:
    """Return the names of a table's columns by role."""
    there, found = columns_of(path), {}
    is_cut = not {"offset", "audio_filepath"}.isdisjoint(there)  # elsewhere a duration is no instruction
    for role in (*KINDS[kind].needed, *KINDS[kind].optional, SPLIT):
        asked = (columns[role],) if role in columns else NAMES.get(role, (role,))
        names = [name for name in asked if name in there]
        names = names or [name for name in _OTHER_NAMES.get(role, ()) if name in there]
        if len(names) > 1:
            raise DataError(f"{path}:1: found {' and '.join(names)}, expected one: --columns {role}=NAME")
        if not names and (role in KINDS[kind].needed or role in columns):
            shown = ", ".join(map(repr, there)) + _about_separator(path, there)
            raise DataError(
                f"{path}:1: found the columns {shown}; expected {' or '.join(map(repr, asked))} "
                f"for the {role} of --kind {kind}, or --columns {role}=NAME"
            )
        if names and (is_cut or role not in PART or role in columns):
            found[role] = names[0]
    return found


def _about_separator(path: Path, names: Sequence[str]) -> str:
    expected = {".csv": "a comma", ".tsv": "a tab"}.get(path.suffix)
    has_other = len(names) == 1 and any(sign in names[0] for sign in ";,\t|")
    return f" (one column: {path.suffix} needs {expected} between columns)" if expected and has_other else ""


def _splits_of(folder: Path, tables: Sequence[Table], first: str, shares: tuple[float, float]) -> tuple[str, ...]:
    """Return the splits of the rows. Stop reading once each split has a row."""
    drawn = _drawn(shares)
    found: set[str | None] = set()
    are_drawn = False
    for table in tables:
        if table.split:
            found.add(table.split)
            continue
        for record in _records(folder / table.path):
            fields = table.fields(record)
            try:
                split = table.split_of(fields)
            except DataError:  # such a row will be left out
                continue
            are_drawn |= split is None
            found.add(split or drawn_split(fields.get(first, ""), shares))
            if found >= (drawn if are_drawn else set(FAIRSEQ_SPLITS)):
                break
        else:
            are_drawn |= not found
    _check_splits(folder, found, drawn if are_drawn else {TRAIN})
    return tuple(split for split in FAIRSEQ_SPLITS if split in found)


def _drawn(shares: tuple[float, float]) -> set[str]:
    return {split for split, share in zip(FAIRSEQ_SPLITS, (1.0, *shares), strict=True) if share}


def _records(path: Path) -> Iterator[Record]:
    for stretch in stretches_of(path, path.stat().st_size):
        yield from (record for record in records_of(path, path.name, stretch) if isinstance(record, Record))


def _check_splits(root: Path, found: Set[str | None], expected: Set[str]) -> None:
    """Refuse splits without a row before any sound is read."""
    absent = [split for split in FAIRSEQ_SPLITS if split in expected - found]
    if absent:
        raise DataError(
            f"{root}: found no row for {', '.join(absent)}: expected more rows, larger shares (--valid-share, "
            "--test-share; 0 for none), or rows that name their split"
        )


def _open_files(
    root: Path, kind: str, settings: Callable[[tuple[str, ...], tuple[str, ...]], Settings], shares: tuple[float, float]
) -> OwnFiles:
    if kind not in _FROM_FILES:
        raise DataError(f"{root}: found no table, expected one ({', '.join(SUFFIXES)}) for --kind {kind}")
    corpus, suffixes = _FROM_FILES[kind]
    found = [path.relative_to(root).as_posix() for path in files_of(root, suffixes)]
    if not found:
        raise DataError(
            f"{root}: found no table ({', '.join(SUFFIXES)}) and no files to read ({', '.join(suffixes)}) "
            f"for --kind {kind}"
        )
    named = split_folders(root)
    if kind == "text" and not named:
        named = split_files(root, [root / path for path in found if "/" not in path])
    drawn = _drawn(shares)
    if kind != "text" and not named:  # documents are drawn by their content, not by their path
        _check_splits(root, {drawn_split(path, shares) for path in found}, drawn)
    splits = {split for _, split in named} or drawn
    ordered = tuple(split for split in FAIRSEQ_SPLITS if split in splits)
    return corpus(root, settings(KINDS[kind].needed, ordered), tuple((path.name, split) for path, split in named))


def _kaldi_folders(root: Path) -> tuple[tuple[str, str | None], ...]:
    """Return the data folders of Kaldi: ``root``, or those right below it that are named for splits."""
    if (root / SOUND_LIST).is_file():
        return ((".", None),)
    if not any(root.glob(f"*/{SOUND_LIST}")):
        return ()
    return tuple((path.name, split) for path, split in split_folders(root) if split and (path / SOUND_LIST).is_file())


def _open_kaldi(
    root: Path,
    kind: str,
    settings: Callable[[tuple[str, ...], tuple[str, ...]], Settings],
    shares: tuple[float, float],
    folders: tuple[tuple[str, str | None], ...],
) -> OwnKaldi:
    absent = [folder for folder, _ in folders if kind == "asr" and not (root / folder / TEXT_LIST).is_file()]
    if absent:
        raise DataError(f"{root / absent[0]}: found {SOUND_LIST} without {TEXT_LIST}, expected both for --kind asr")
    roles = [*KINDS[kind].needed, *(["speaker"] if (root / folders[0][0] / SPEAKERS).is_file() else []), *PART]
    known = KINDS[kind].needed + KINDS[kind].optional
    splits = {split for _, split in folders if split} or _drawn(shares)
    ordered = tuple(split for split in FAIRSEQ_SPLITS if split in splits)
    return OwnKaldi(root, settings(tuple(role for role in known if role in roles), ordered), folders)


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
    )


main = preparation(
    "own",
    __doc__,
    _corpus_of,
    _add_arguments,
    root_help="a table, a folder of tables, or a folder of sound or text files",
)
