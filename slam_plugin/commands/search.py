"""Flags of CTC search with a language model, a lexicon and hotwords, for commands that run a model."""

import argparse
import dataclasses

from slam_plugin.decoding.options import DEFAULT_LM_WEIGHT, SearchFlags, SearchOptions, options_of
from slam_plugin.program import UsageError

# Types of the flags that take no text, and what the others name.
_TYPES = {"word_score": float, "unk_score": float, "hotword_weight": float, "beam_threshold": float}
_TYPES |= {"beam_size_token": int}


def add_search(parser: argparse.ArgumentParser) -> None:
    """Add the flags of :class:`SearchFlags`, and ``--lm-weight``."""
    group = parser.add_argument_group("CTC with a language model, a lexicon or hotwords (flashlight-text)")
    for flag in dataclasses.fields(SearchFlags):
        of_type = _TYPES.get(flag.name)
        group.add_argument(
            f"--{flag.name.replace('_', '-')}",
            type=of_type or str,
            default=flag.default,
            metavar="FILE" if of_type is None else "N" if of_type is int else "SCORE",
            help=flag.metadata["help"] + ("" if flag.default is None else " (%(default)s)"),
        )
    group.add_argument(
        "--lm-weight",
        type=float,
        default=DEFAULT_LM_WEIGHT,
        metavar="WEIGHT",
        help="factor of the language model's log10 probabilities (%(default)s)",
    )


def search_of(options: argparse.Namespace) -> SearchOptions | None:
    """Return the options that the flags set, None if none. Raises :class:`UsageError` if they do not go together."""
    try:
        return options_of(options, options.lm_weight)
    except ValueError as error:
        raise UsageError(str(error)) from error
