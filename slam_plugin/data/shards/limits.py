"""The check of a manifest against the limits of its corpus, for every kind that reads speech."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.data.manifests.validate import ensure_valid
from slam_plugin.modules.front_end import DEFAULT_FRONT_END, FrontEnd


def frame_limits(config: Any, front_end: FrontEnd = DEFAULT_FRONT_END) -> tuple[int, int]:
    """Return the fewest and the most frames of an utterance in the corpus of the section ``config``.

    At least ``min_length`` frames and one state of ``front_end``, and at most ``max_length`` frames.
    """
    return max(config.min_length, front_end.fewest_frames(1)), config.max_length


def checked_limits(
    config: Any, manifest: Manifest, root: Path, front_end: FrontEnd, text_columns: Sequence[str]
) -> tuple[int, int]:
    """Return :func:`frame_limits`, after :func:`ensure_valid` of all rows.

    Args:
        config: the corpus's section of ``corpora.yaml``.
    """
    limits = frame_limits(config, front_end)
    upper = f"max_length of the corpus {config.name}"
    ensure_valid(manifest, root, *limits, text_columns, progress=True, upper=upper)
    return limits
