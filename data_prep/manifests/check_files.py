"""Checks of a data folder's other files: labeled sentences, binarized text, vocabularies, ``corpora.yaml``."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from data_prep.text.labeled import read_rows
from slam_plugin.data.errors import DataError, Fault
from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.data.manifests.tsv import REQUIRED
from slam_plugin.data.manifests.validate import length_faults
from slam_plugin.data.plan.config import Corpora, CorpusConfig, read_corpora
from slam_plugin.data.plan.yaml_layers import read_layered


def is_labeled(path: Path) -> bool:
    """Return whether a ``.tsv`` holds labeled sentences: no header, and no numbers as in a manifest without header."""
    with path.open("rb") as file:
        fields = file.readline().decode("utf-8-sig", "replace").rstrip("\r\n").split("\t")
    return len(fields) in (2, 3) and not set(fields) & set(REQUIRED) and not fields[-1].isdecimal()


def labeled_faults(path: Path) -> Iterator[str]:
    """Yield the fault of the first malformed line of labeled sentences."""
    try:
        read_rows(path)
    except (DataError, OSError) as error:
        yield _named(error, path)


def text_faults(index: Path, top: Path) -> Iterator[str]:
    """Yield the first fault of a binarized text: its files, lengths, or a symbol that its ``dict.txt`` lacks.

    The dictionary is the one in the file's folder or the nearest above it, up to ``top``.
    """
    # Imported only if there is text: importing fairseq takes longer than checking a small folder.
    from slam_plugin.data.text.indexed import open_indexed
    from slam_plugin.data.text.vocabulary import DICTIONARY_FILE, read_dictionary

    folders = [folder for folder in index.parents if folder.is_relative_to(top)]
    found = next((folder for folder in folders if (folder / DICTIONARY_FILE).is_file()), None)
    if found is None:
        yield f"{index}: found no {DICTIONARY_FILE} beside it or above, up to {top}, to check its symbols"
        return
    try:
        sentences = open_indexed(index.with_suffix(""), read_dictionary(found / DICTIONARY_FILE))
    except (DataError, OSError) as error:
        yield _named(error, index)
        return
    if int(sentences.sizes.min()) < 1:
        yield f"{index}: sentence {int(sentences.sizes.argmin())} holds {int(sentences.sizes.min())} symbols"


def vocabulary_faults(folder: Path) -> Iterator[str]:
    """Yield the first fault of a folder's ``dict.txt`` and, if there is one, of its ``spm.model``."""
    from slam_plugin.data.text.vocabulary import DICTIONARY_FILE, MODEL_FILE, Vocabulary, read_symbols

    try:
        if (folder / MODEL_FILE).is_file():
            Vocabulary.load(folder)
        else:  # such as the dictionary of labels
            read_symbols(folder / DICTIONARY_FILE)
    except (DataError, OSError) as error:
        yield _named(error, folder)


def corpora_faults(path: Path) -> Iterator[object]:
    """Yield the faults of a ``corpora.yaml``: files, kinds, objectives, their requirements.

    If there are none, yield the rows of its manifests that training would refuse by their lengths.
    """
    try:
        corpora = _read_corpora(path)
    except UnicodeDecodeError as error:
        yield f"{path}: is not UTF-8 ({error.reason} at byte {error.start})"
    except (ValueError, OSError) as error:  # ValueError: an objective that lacks another
        yield _named(error, path)
    else:
        for corpus in corpora.corpora.values():
            yield from _refused_lengths(corpus)


def _refused_lengths(corpus: CorpusConfig) -> Iterator[Fault]:
    from slam_plugin.data.shards.limits import frame_bounds

    if "audio_root" not in corpus.options:  # text has no limits that refuse a row
        return
    bounds = frame_bounds(corpus)
    for path in filter(None, (*corpus.train, corpus.valid)):
        with contextlib.suppress(DataError, OSError):  # a manifest that cannot be read is reported by itself
            yield from length_faults(Manifest.open(path), bounds)


def _read_corpora(path: Path) -> Corpora:
    """Read a ``corpora.yaml`` whose paths are relative to its folder."""
    import slam_plugin.objectives  # noqa: F401  (registers the objectives)
    from slam_plugin.data.shards import KINDS, TRANSLATION_KINDS
    from slam_plugin.objectives.base import check_requirements, declared_options

    values = read_layered(path).values
    pretraining = not isinstance(values, dict) or "objectives" in values
    if not pretraining:
        return read_corpora(path, path.parent, TRANSLATION_KINDS, {})
    found = read_corpora(path, path.parent, KINDS, declared_options())
    check_requirements(found.objectives)
    return found


def _named(error: Exception, path: Path) -> str:
    return str(error) if isinstance(error, DataError) else f"{path}: {error}"
