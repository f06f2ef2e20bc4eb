"""Margins of utterances that are cut out of a recording by the times of their words."""

from collections.abc import Sequence

MARGIN = 0.2  # s


def with_margins(times: Sequence[tuple[float, float]], duration: float) -> list[tuple[float, float]]:
    """Return begin and end of each utterance with ``MARGIN`` on each side, at most half of the pause to a neighbor.

    Args:
        times: begin and end of each utterance in seconds, in order.
        duration: of the recording in seconds.

    Example:
        >>> with_margins([(0.5, 1.0), (1.25, 2.0)], 2.0)
        [(0.3, 1.125), (1.125, 2.0)]
    """
    before = [0.0, *(end for _, end in times)]  # ends of the neighbors before each utterance
    after = [*(begin for begin, _ in times), duration]
    found = []
    for place, (begin, end) in enumerate(times):
        left = (begin - before[place]) / (2 if place else 1)
        right = (after[place + 1] - end) / (2 if place + 1 < len(times) else 1)
        found.append((begin - max(0.0, min(MARGIN, left)), end + max(0.0, min(MARGIN, right))))
    return found
