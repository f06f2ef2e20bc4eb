"""SpeechStew: seven English corpora in one training set without re-balancing, with separate tests.

    slam prepare speechstew --ami ami --tedlium TEDLIUM_release-3 --wsj wsj --out data/speechstew --jobs 8

Each flag names a corpus in its publisher's layout, described in the module of its name in ``data_prep/corpora``. The
given corpora are mixed: ``train.tsv`` holds every training utterance once. Tests are ``test-ami-ihm``,
``test-ami-sdm1``, ``test-common-voice``, ``test-switchboard`` and ``test-callhome`` (both from ``--hub5``),
``test-tedlium`` and ``test-wsj``. Development sets are ``dev-...``, and ``valid.tsv`` holds all of them. For
LibriSpeech there are ``dev-librispeech-clean`` and ``-other``; ``slam prepare librispeech`` makes its tests. Audio is
not copied: a row names a part of a recording.

All transcripts, for training and scoring, are in one notation (:mod:`data_prep.text.transcripts`). Utterances are left
out and listed if they have no words, are shorter than 0.1 s or longer than ``--max-seconds``, overlap an earlier
utterance of the same speaker or reach beyond the recording; recordings if they cannot be decoded, such as SPHERE
compressed by shorten.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from data_prep.corpora import ami, common_voice_asr, librispeech, switchboard, tedlium, wsj
from data_prep.engine.command import preparation
from data_prep.engine.mixture import Member, Mixture
from data_prep.engine.units import Corpus
from data_prep.text.transcripts import common_notation
from slam_plugin.data.constants import MAX_SECONDS, TRAIN, VALID
from slam_plugin.data.errors import DataError


def _librispeech(root: Path, _: float) -> librispeech.LibriSpeech:
    """Return the training and development subsets. Their longest utterance has 36 s, and all are kept."""
    found = librispeech.open_corpus(root)
    ours = [name for name in found.subsets if not name.startswith("test-")]
    return librispeech.open_corpus(root, ours, common_notation)


def _splits(name: str, *more: str) -> dict[str, tuple[str, ...]]:
    """Return the outputs of a corpus: ``train``, and a development and a test set for each suffix in ``more``."""
    found = {TRAIN: (TRAIN,)}
    for suffix in more:
        found |= {f"dev{suffix}": (VALID, f"dev-{name}{suffix}"), f"test{suffix}": (f"test-{name}{suffix}",)}
    return found


# By flag: the function that opens the corpus, and the outputs of its manifests.
MEMBERS: Mapping[str, tuple[Callable[[Path, float], Corpus], Mapping[str, tuple[str, ...]]]] = {
    "ami": (ami.open_corpus, _splits("ami", "-ihm", "-sdm1")),
    "common-voice": (common_voice_asr.open_corpus, _splits("common-voice", "")),
    "librispeech": (_librispeech, _splits("librispeech", "-clean", "-other")),
    "switchboard": (switchboard.Switchboard, _splits("switchboard")),
    "fisher": (switchboard.Fisher, _splits("fisher")),
    "hub5": (switchboard.Hub5, {name: (name,) for name in switchboard.TESTS.values()}),
    "tedlium": (tedlium.open_corpus, _splits("tedlium", "")),
    "wsj": (wsj.open_corpus, _splits("wsj", "")),
}


def open_corpus(roots: Mapping[str, Path], max_seconds: float = MAX_SECONDS) -> Mixture:
    """Return the mixture of the corpora at ``roots``, whose keys are from :data:`MEMBERS`.

    Raises :class:`DataError` if there is none, or one is not in its publisher's layout.
    """
    if not roots:
        raise DataError("found no corpus, expected one or more of " + ", ".join(f"--{name}" for name in MEMBERS))
    absent = [str(root) for root in roots.values() if not root.is_dir()]
    if absent:
        raise DataError(f"{', '.join(absent)}: there is no such folder")
    members = [
        Member(name, opened(roots[name].absolute(), max_seconds), names)
        for name, (opened, names) in MEMBERS.items()
        if name in roots
    ]
    return Mixture("speechstew", tuple(members))


def _open(arguments: argparse.Namespace) -> Mixture:
    given = {name: getattr(arguments, name.replace("-", "_")) for name in MEMBERS}
    return open_corpus({name: root for name, root in given.items() if root}, arguments.max_seconds)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    for name in MEMBERS:
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help="this corpus in its publisher's layout")
    parser.add_argument(
        "--max-seconds", type=float, default=MAX_SECONDS, metavar="S", help="longest utterance (default: %(default)s)"
    )


main = preparation("speechstew", __doc__, _open, _add_arguments, root_help=None)
