"""The files of a vocabulary, ``dict.txt`` and ``spm.model``, in the folders that are prepared."""

import shutil
from pathlib import Path


def place_vocabulary(vocabulary: str | Path, out: str | Path) -> None:
    """Copy ``dict.txt`` and ``spm.model`` into the folder ``out``, which is made."""
    Path(out).mkdir(parents=True, exist_ok=True)
    for name in ("dict.txt", "spm.model"):
        shutil.copyfile(Path(vocabulary, name), Path(out, name))


def vocabulary_hash(folder: str | Path | None) -> str | None:
    """Return the hash of the vocabulary in ``folder``, None without a folder.

    Raises :class:`slam_plugin.data.errors.DataError` if a file is absent or the two do not match.
    """
    if folder is None:
        return None
    from slam_plugin.data.text.vocabulary import Vocabulary  # not before --help: it needs fairseq

    return Vocabulary.load(folder).hash
