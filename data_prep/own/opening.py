"""Open what ``--root`` of ``slam prepare own`` names: tables, files, and the data sets of others."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path

from data_prep.engine.splits import FAIRSEQ_SPLITS
from data_prep.engine.units import Dropped
from data_prep.own.corpus import (
    TEXTS,
    Own,
    OwnFiles,
    OwnTables,
    OwnTexts,
    Table,
    drawn_split,
    files_of,
)
from data_prep.own.cuts import OwnCuts, find_cut_sets, named_in, segments_in
from data_prep.own.finding import Named, find_tables, split_files, split_folders
from data_prep.own.kaldi import SOUND_LIST, SPEAKERS, TEXT_LIST, OwnKaldi
from data_prep.own.kinds import CHANNEL, KINDS, PART, SHARE, Settings
from data_prep.own.saved import (
    OwnSaved,
    columns_of_saved,
    find_saved,
    is_saved,
    labels_of,
    rows_of,
    sound_column,
)
from data_prep.own.sounds import OwnSounds
from data_prep.own.tables import SUFFIXES, Record, columns_of, records_of, stretches_of
from data_prep.text.vocabulary_files import vocabulary_hash
from slam_plugin.data.constants import MAX_SECONDS, SOUND_SUFFIXES, TRAIN
from slam_plugin.data.errors import DataError

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
# Kinds of sound and at most its transcript, as Kaldi and lhotse have them.
_OF_SOUND = ("speech", "asr")
_SettingsOf = Callable[[tuple[str, ...], tuple[str, ...]], Settings]  # of roles and splits
_SplitKey = tuple[str | None, str]  # the split of a row, None to draw it, and what it is drawn by
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
    audio_root: str | Path | None = None,
) -> Own:
    """Return the corpus of a table, of the tables in a folder, of sound or text files, or of a data set of others.

    Args:
        columns: names of columns by role that are not in :data:`NAMES`.
        language: of the texts, for its capitals, if no column names it.
        audio_root: relative paths of sound are below it; None for each table's folder.
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
    symbols = vocabulary_hash(vocabulary)
    place = Path(vocabulary).absolute() if vocabulary else None
    sounds = Path(audio_root).absolute() if audio_root else None

    def settings(roles: tuple[str, ...], splits: tuple[str, ...]) -> Settings:
        asked = tuple(sorted((columns or {}).items()))
        return Settings(kind, roles, splits, shares, asked, language, as_written, max_seconds, place, symbols, sounds)

    if is_saved(root):
        return _open_saved(root, kind, settings, shares, columns or {})
    kaldi = _kaldi_folders(root) if kind in _OF_SOUND and root.is_dir() else ()
    if kaldi:
        return _open_kaldi(root, kind, settings, shares, kaldi)
    cut_sets = find_cut_sets(root)
    if cut_sets:
        return _open_cuts(root, kind, settings, shares, cut_sets)
    found = find_tables(root)
    if not found:
        if sounds:
            raise DataError(f"--audio-root: found without a table in {root}, expected one with relative paths")
        return _open_files(root, kind, settings, shares)
    folder = root if root.is_dir() else root.parent
    tables = tuple(
        Table(
            path.relative_to(folder).as_posix(),
            split,
            tuple(_find_columns(f"{path}:1", columns_of(path), kind, columns or {}, _about_separator(path)).items()),
        )
        for path, split in found
    )
    roles = _roles_of(kind, tables)
    left_out: list[Dropped] = []
    rows = (_split_keys(folder, table, roles[0], left_out) for table in tables)
    return OwnTables(folder, settings(roles, _splits_of(folder, rows, shares, left_out)), tables)


def _check_roles(kind: str, columns: Mapping[str, str]) -> None:
    known = (*KINDS[kind].needed, *KINDS[kind].optional, SPLIT)
    for role in columns:
        if role not in known:
            raise DataError(f"--columns: found {role!r}, expected one of {', '.join(known)} for --kind {kind}")


def _find_columns(
    place: str, there: Sequence[str], kind: str, columns: Mapping[str, str], advice: Callable[[Sequence[str]], str]
) -> dict[str, str]:
    """Return the names of a table's columns by role.

    Args:
        place: of the names, for errors.
        advice: returns what else to say if a column is missing, of the names that are there.
    """
    found = {}
    is_cut = not {"offset", "audio_filepath"}.isdisjoint(there)  # elsewhere a duration is no instruction
    for role in (*KINDS[kind].needed, *KINDS[kind].optional, SPLIT):
        asked = (columns[role],) if role in columns else NAMES.get(role, (role,))
        names = [name for name in asked if name in there]
        names = names or [name for name in _OTHER_NAMES.get(role, ()) if name in there]
        if len(names) > 1:
            raise DataError(f"{place}: found {' and '.join(names)}, expected one: --columns {role}=NAME")
        if not names and (role in KINDS[kind].needed or role in columns):
            shown = ", ".join(map(repr, there)) + advice(there)
            raise DataError(
                f"{place}: found the columns {shown}; expected {' or '.join(map(repr, asked))} "
                f"for the {role} of --kind {kind}, or --columns {role}=NAME"
            )
        is_default = role != CHANNEL and (is_cut or role not in PART)
        if names and (is_default or role in columns):
            found[role] = names[0]
    return found


def _about_separator(path: Path) -> Callable[[Sequence[str]], str]:
    expected = {".csv": "a comma", ".tsv": "a tab"}.get(path.suffix)

    def advice(names: Sequence[str]) -> str:
        has_other = len(names) == 1 and any(sign in names[0] for sign in ";,\t|")
        return f" (one column: {path.suffix} needs {expected} between columns)" if expected and has_other else ""

    return advice


def _roles_of(kind: str, tables: Sequence[Table]) -> tuple[str, ...]:
    """Return the roles that all tables have a column for."""
    known = KINDS[kind].needed + KINDS[kind].optional
    return tuple(role for role in known if all(role in dict(table.columns) for table in tables))


def _split_keys(folder: Path, table: Table, first: str, left_out: list[Dropped]) -> Iterator[_SplitKey]:
    """Yield the split of each row, None to draw it, and what it is drawn by. Once for a table named for a split.

    The first malformed row of all tables is put into ``left_out``.
    """
    if table.split:
        yield table.split, ""
        return
    for record in _records(folder / table.path):
        if isinstance(record, Dropped):
            if not left_out:
                left_out.append(record)
            continue
        fields = table.fields(record)
        with suppress(DataError):  # such a row will be left out
            yield table.split_of(fields), fields.get(first, "")


def _splits_of(
    root: Path, rows: Iterable[Iterable[_SplitKey]], shares: tuple[float, float], left_out: Sequence[Dropped] = ()
) -> tuple[str, ...]:
    """Return the splits of the rows of some files. Stop reading a file once each split has a row."""
    drawn = _drawn(shares)
    found: set[str] = set()
    are_drawn = False
    for some in rows:
        for split, key in some:
            are_drawn |= split is None
            found.add(split or drawn_split(key, shares))
            if found >= (drawn if are_drawn else set(FAIRSEQ_SPLITS)):
                break
        else:
            are_drawn |= not found
    _check_splits(root, found, drawn if are_drawn else {TRAIN}, left_out)
    return tuple(split for split in FAIRSEQ_SPLITS if split in found)


def _drawn(shares: tuple[float, float]) -> set[str]:
    return {split for split, share in zip(FAIRSEQ_SPLITS, (1.0, *shares), strict=True) if share}


def _records(path: Path) -> Iterator[Record | Dropped]:
    for stretch in stretches_of(path, path.stat().st_size):
        yield from records_of(path, path.name, stretch)


def _check_splits(root: Path, found: Set[str | None], expected: Set[str], left_out: Sequence[Dropped] = ()) -> None:
    """Refuse splits without a row before any sound is read."""
    absent = [split for split in FAIRSEQ_SPLITS if split in expected - found]
    if absent:
        malformed = f"; rows were left out, such as {left_out[0].place} ({left_out[0].reason})" if left_out else ""
        raise DataError(
            f"{root}: found no row for {', '.join(absent)}: expected more rows, larger shares (--valid-share, "
            f"--test-share; 0 for none), or rows that name their split{malformed}"
        )


def _open_files(root: Path, kind: str, settings: _SettingsOf, shares: tuple[float, float]) -> OwnFiles:
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
    # Subtitles cut utterances out of a recording.
    roles = (*KINDS[kind].needed, *(PART if kind == "asr" else ()))
    return corpus(root, settings(roles, ordered), tuple((path.name, split) for path, split in named))


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
    settings: _SettingsOf,
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


def _open_cuts(root: Path, kind: str, settings: _SettingsOf, shares: tuple[float, float], found: Named) -> OwnCuts:
    if kind not in _OF_SOUND:
        raise DataError(f"{found[0][0]}: found cuts of lhotse with --kind {kind}, expected {' or '.join(_OF_SOUND)}")
    folder, with_text = root if root.is_dir() else root.parent, kind == "asr"
    roles = [*KINDS[kind].needed, *named_in([path for path, _ in found], with_text), *PART, CHANNEL]
    rows = (_cut_keys(path, split, with_text) for path, split in found)
    sets = tuple((path.relative_to(folder).as_posix(), split) for path, split in found)
    return OwnCuts(folder, settings(tuple(roles), _splits_of(folder, rows, shares)), sets)


def _cut_keys(path: Path, split: str | None, with_text: bool) -> Iterator[_SplitKey]:
    if split:
        yield split, ""
        return
    for segment in segments_in(path, with_text):
        yield None, segment.path


def _open_saved(
    root: Path, kind: str, settings: _SettingsOf, shares: tuple[float, float], columns: Mapping[str, str]
) -> OwnSaved:
    found, others = find_saved(root)
    files, labels = [], {}
    for path, split in found:
        sound = sound_column(path) if "audio" in KINDS[kind].needed else None
        asked = {**({"audio": sound} if sound else {}), **columns}
        names = _find_columns(str(path), columns_of_saved(path), kind, asked, lambda there: "")
        files.append(Table(path.relative_to(root).as_posix(), split, tuple(names.items())))
        labels |= labels_of(path)
    roles = _roles_of(kind, files)
    rows = (_saved_keys(root, own_file, roles[0], labels) for own_file in files)
    used = {name for own_file in files for _, name in own_file.columns}
    names = tuple((name, classes) for name, classes in sorted(labels.items()) if name in used)
    return OwnSaved(root, settings(roles, _splits_of(root, rows, shares)), tuple(files), tuple(others), names)


def _saved_keys(root: Path, own_file: Table, first: str, labels: Mapping[str, Sequence[str]]) -> Iterator[_SplitKey]:
    if own_file.split:
        yield own_file.split, ""
        return
    for row in rows_of(root, own_file, (first, SPLIT), labels):
        with suppress(DataError):  # such a row will be left out
            yield own_file.split_of(row.fields), row.key
