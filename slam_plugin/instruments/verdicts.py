"""Warnings: problems that the logged values of a validation reveal, and what to change.

Does not need torch: the report reads the same values from a log.
"""

from collections.abc import Mapping

DEAD_PERPLEXITY = 4.0
DEAD_SHARE = 0.05  # of the codes that as many frames can reach
MIN_OWN = 0.3
MIN_RANK = 0.1  # of a fresh trunk's
# Below this character error rate in percent, CTC recognizes speech. A good recognizer reads a frame's neighbors as
# well: own was .26 to .44 after fine-tuning, and .26 after 3,000 updates of CTC on pairs alone, the recipe that gained
# most.
SPELLING_CER = 80.0
MAX_BLANKS = 0.99
CTC_PATIENCE = 0.15  # share of the updates that train CTC, after which it should output something

PLACES = {"front_end": "the front end", "speech": "the speech encoder", "top": "the shared layers"}


def is_dead(perplexity: float, codes_used: float, codes_reachable: float = 1.0) -> bool:
    """Return whether so few codes are in use that the codebook carries almost no information about the speech.

    Args:
        codes_used: share of the codes that occur.
        codes_reachable: share that would occur on average if all codes were equally frequent: 300 frames can reach only
            3.6 % of BEST-RQ's 8,192 codes.
    """
    return perplexity < DEAD_PERPLEXITY or codes_used < DEAD_SHARE * codes_reachable


def warnings(values: Mapping[str, float]) -> list[str]:
    """Return a warning for each problem, the worst first, empty if there is none.

    Args:
        values: of one validation, by the names that are logged. Missing values are not judged.
    """
    return [*_collapse(values), *dead_codebooks(values).values(), *_silent_ctc(values)]


def _collapse(values: Mapping[str, float]) -> list[str]:
    found = []
    own, fresh = values.get("own"), values.get("own_fresh")
    spells = values.get("ctc_cer", 100.0) < SPELLING_CER
    if own is not None and own < MIN_OWN and not spells:
        baseline = "" if fresh is None else f" (untrained: {fresh:.2f})"
        found.append(
            f"The encoder's states depend on a frame's neighbors and hardly on the frame itself: own is {own:.2f}"
            f"{baseline}. Below {MIN_OWN}, fine-tuning has been worse than training from scratch. Lower the learning "
            "rate (5e-4 to 1e-3 at size tiny), train on more speech per update (--update-freq), and add a loss at "
            "unmasked frames (unmasked_weight of masked_prediction, best_rq or kmeans)."
        )
    for place, words in PLACES.items():
        rank, fresh = values.get(f"rank_{place}"), values.get(f"rank_{place}_fresh")
        if rank is not None and fresh is not None and rank < MIN_RANK * fresh:
            found.append(
                f"The states of {words} have collapsed, they are nearly all the same: their effective rank is "
                f"{rank:.1f} (untrained: {fresh:.1f}). Lower the learning rate, make the warm-up longer, and lower "
                "--clip-norm if gnorm is high."
            )
    return found


def dead_codebooks(values: Mapping[str, float]) -> dict[str, str]:
    """Return a sentence for each dead codebook, by its name.

    Its values are logged as ``NAME_perplexity``, ``NAMEs_used`` and ``NAMEs_reachable``.
    """
    found = {}
    for key, perplexity in values.items():
        name = key.removesuffix("_perplexity")
        used, reachable = values.get(f"{name}s_used"), values.get(f"{name}s_reachable", 1.0)
        if name != key and used is not None and is_dead(perplexity, used, reachable):
            found[name] = (
                f"The codebook ({name}) is dead: perplexity {perplexity:.1f}, {100 * used:.0f} % of the codes in use. "
                "The targets carry almost no information about the speech, so losses on them mean nothing. Lower the "
                "learning rate, raise diversity_weight of contrastive, or use fixed targets (best_rq, kmeans)."
            )
    return found


def _silent_ctc(values: Mapping[str, float]) -> list[str]:
    blanks, progress = values.get("ctc_blanks"), values.get("ctc_progress")
    if blanks is None or progress is None or blanks < MAX_BLANKS or progress < CTC_PATIENCE:
        return []
    return [
        f"CTC still outputs nothing: {100 * blanks:.0f} % of its states are blank after {100 * progress:.0f} % of its "
        "updates. Raise its weight or lower those of the other objectives, train it alone first (stages), use "
        "characters instead of larger pieces, and check ctc_left_out: the transcripts too long for their speech."
    ]


class DeadCodebookError(RuntimeError):
    """A codebook has been dead for the number of validations that ``--stop-when-codebook-dead`` allows."""


class CodebookWatch:
    """Counts the validations in a row in which a codebook is dead.

    Attributes:
        count: by name of the codebook.
    """

    def __init__(self, limit: int) -> None:
        """Take the number of validations after which :meth:`follow` raises. 0: it never does."""
        self.limit = limit
        self.count: dict[str, int] = {}
        self._judged: dict[str, int] = {}  # updates at the last validation

    def follow(self, values: Mapping[str, float], updates: int) -> None:
        """Count a validation after ``updates`` updates. One with several subsets may be reported once for each.

        Raises :class:`DeadCodebookError` once a codebook was dead ``limit`` times in a row.
        """
        dead = dead_codebooks(values)
        for name in (key.removesuffix("_perplexity") for key in values if key.endswith("_perplexity")):
            if self._judged.get(name) == updates:
                continue
            self._judged[name] = updates
            self.count[name] = self.count.get(name, 0) + 1 if name in dead else 0
            if self.limit and self.count[name] >= self.limit:
                raise DeadCodebookError(
                    f"{dead[name]} Found so in {self.count[name]} validations in a row, expected fewer than "
                    f"{self.limit} (--stop-when-codebook-dead)"
                )
