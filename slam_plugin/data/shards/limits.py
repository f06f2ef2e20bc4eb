"""The check of a manifest against the limits of its corpus, for every kind that reads speech."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.data.manifests.validate import Bounds, ensure_valid
from slam_plugin.modules.front_end import DEFAULT_FRONT_END, FrontEnd


def frame_bounds(config: Any, front_end: FrontEnd = DEFAULT_FRONT_END) -> Bounds:
    """Return the bounds of an utterance's frames in the corpus of the section ``config``.

    At least ``min_length`` frames and one state of ``front_end``, and at most ``max_length`` frames.
    """
    least = max(config.min_length, front_end.fewest_frames(1))
    return Bounds(least, config.max_length, f"max_length of the corpus {config.name}")


def checked_limits(
    config: Any, manifest: Manifest, root: Path, front_end: FrontEnd, text_columns: Sequence[str]
) -> tuple[int, int]:
    """Return the ends of :func:`frame_bounds`, after :func:`ensure_valid` of all rows.

    Args:
        config: the corpus's section of ``corpora.yaml``.
    """
    least, most, upper = frame_bounds(config, front_end)
    ensure_valid(manifest, root, least, most, text_columns, progress=True, upper=upper)
    return least, most
