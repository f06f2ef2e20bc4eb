"""SpeechStew: seven corpora of English in one training set without re-balancing, and their tests apart.

    slam prepare speechstew --out DIR [--ami DIR] [--common-voice DIR] [--librispeech DIR] [--switchboard DIR]
        [--fisher DIR] [--hub5 DIR] [--tedlium DIR] [--wsj DIR] [--max-seconds 30] [--jobs N] [--shard I/N | --merge]

Each directory is a corpus as its publisher lays it out; the modules named after them say how, and those that are given
are mixed: ``train.tsv`` holds every training utterance once. Tests are ``test-ami-ihm``, ``test-ami-sdm1``,
``test-common-voice``, ``test-switchboard`` and ``test-callhome`` (both by ``--hub5``), ``test-tedlium``, ``test-wsj``;
where a publisher has a development set, it is ``dev-...`` (of LibriSpeech ``dev-librispeech-clean`` and ``-other``, its
tests are made by ``slam prepare librispeech``), and ``valid.tsv`` holds all of these. Audio stays where it is: a row
names a part of a recording.

Transcripts of all corpora, to train and to score, are written alike: see :mod:`data_prep.text.transcripts`, whose
rules are also the rules of scoring. Left out and listed are utterances without words, shorter than 0.1 s, longer than
``--max-seconds``, those that overlap what the same speaker says before or reach beyond the recording, and recordings
that cannot be decoded, such as SPHERE compressed by shorten.
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
    """What there is to train on and to develop with. No utterance of it is longer than 36 s, and all are kept."""
    found = librispeech.open_corpus(root)
    ours = [name for name in found.subsets if not name.startswith("test-")]
    return librispeech.open_corpus(root, ours, common_notation)


def _splits(name: str, *more: str) -> dict[str, tuple[str, ...]]:
    """Of a corpus with a training set: its development and test sets, of which there are some of each kind."""
    found = {TRAIN: (TRAIN,)}
    for each in more:
        found |= {f"dev{each}": (VALID, f"dev-{name}{each}"), f"test{each}": (f"test-{name}{each}",)}
    return found


# Flag: how its corpus is opened, and what its manifests become.
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
    """The mixture of the corpora at ``roots``, whose keys are of :data:`MEMBERS`.

    Raises :class:`DataError` where there is none, or one is not laid out as its publisher does.
    """
    if not roots:
        raise DataError("no corpus is given, expected one or more of " + ", ".join(f"--{name}" for name in MEMBERS))
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
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help="this corpus as its publisher lays it out")
    parser.add_argument(
        "--max-seconds", type=float, default=MAX_SECONDS, metavar="S", help="longest utterance (default: %(default)s)"
    )


main = preparation("speechstew", __doc__, _open, _add_arguments, root_help=None)
