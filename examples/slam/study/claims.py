"""Claims that the study tests: one row scores better than another on a column."""

from typing import NamedTuple

from examples.slam.study.scales import TEXT_TASKS


class Claim(NamedTuple):
    """A claim, the rows that it compares, and what the paper measured.

    Attributes:
        paper: the paper's figures, the better row first; None for a question that the paper does not answer.
    """

    words: str
    better: str
    worse: str
    column: str
    paper: str | None


# BLEU is on CoVoST 2 En-De, or the mean of four languages; WER on LibriSpeech test-other with 960 h of labels.
PAPER = (
    Claim("Masked prediction adds to the contrastive loss", "4", "3", "st-de", "27.4 against 27.1 BLEU"),
    Claim("Text without pairs costs translation (contrastive)", "3", "5", "st-de", "27.1 against 25.4 BLEU"),
    Claim("Text without pairs costs translation (w2v-BERT)", "4", "6", "st-de", "27.4 against 26.9 BLEU"),
    Claim("Text without pairs costs recognition", "4", "6", "asr100", "WER 2.9 against 3.3"),
    Claim("TLM regains what text costs", "7", "6", "st-de", "27.5 against 26.9 BLEU"),
    Claim("TLM in two stages is better than in one", "7", "7one", "asr100", "WER 3.1 against 3.2"),
    Claim("Matching adds nothing to TLM", "7", "8", "st-de", "27.5 against 27.2 BLEU"),
    Claim("Going back to speech alone pays", "9", "8", "st-de", "25.0 against 24.0 BLEU, four languages"),
    Claim("So it beats speech alone", "9", "4", "st-de", "25.0 against 24.1 BLEU, four languages"),
)
NONE = ("no pre-training", "0")
SINGLE = (("w2v-BERT", "4"), ("k-means targets", "K"), ("speech and pairs", "C"))
OPEN = tuple(
    Claim(words, better, worse, column, None)
    for words, better, worse in (
        ("Speech alone beats no pre-training", "4", "0"),
        ("Fixed clusters beat no pre-training", "K", "0"),
        ("Joint pre-training beats as much fine-tuning", "8", "0total"),
        ("Fixed clusters are better targets than the codebook", "K", "4"),
        ("Pairs alone beat no pre-training", "P", "0"),
        ("Pairs alone beat speech alone", "P", "4"),
        ("Speech adds to pairs", "C", "P"),
        ("Synthetic pairs add to pairs", "PS", "P"),
        ("Text adds to pairs and synthetic pairs (D)", "D", "PS"),
        ("Text adds to speech and pairs", "J", "C"),
        ("Text as pseudo-speech adds to text", "J2", "J"),
        ("Text spoken by a synthesizer adds to text", "J3", "J"),
        ("So it beats pairs alone", "J3", "P"),
        ("Speech by learned clusters adds to pairs", "S", "P"),
        ("Text adds to that", "J4", "S"),
        *((f"A joint recipe (J) beats {words}", "J", row) for words, row in SINGLE[:2]),
        *((f"A joint recipe (D) beats {words}", "D", row) for words, row in (NONE, *SINGLE, ("pairs alone", "P"))),
        *((f"A joint recipe (J4) beats {words}", "J4", row) for words, row in SINGLE),
    )
    for column in ("asr10", "asr100", "clauses", "clauses-mt", "st-de")
)
TEXT = tuple(
    Claim(words, better, worse, column, None)
    for words, better, worse in (
        ("Text alone beats no pre-training", "T", "0"),
        ("Speech beside it costs what text learns (SLAM)", "T", "6"),
        ("A joint recipe (D) beats text alone", "D", "T"),
    )
    for column in TEXT_TASKS
)
# The paper's comparisons on columns that train at this scale, as st-de does not
STARTED = tuple(
    Claim(words, better, worse, column, None)
    for words, better, worse, columns in (
        ("SLAM beats no pre-training", "6", "0", ("asr10", "asr100", "clauses-mt")),
        ("SLAM-TLM-STM beats no pre-training", "8", "0", ("asr10", "asr100", "clauses-mt")),
        ("SLAM-TLM-STM, then speech only, beats no pre-training", "9", "0", ("asr10", "asr100", "clauses-mt")),
        ("Speech alone beats SLAM", "4", "6", ("asr10", "clauses-mt")),  # asr100 is among the paper's
        ("TLM and matching add to SLAM", "8", "6", ("asr10", "asr100", "clauses-mt")),
        ("Going back to speech alone pays", "9", "8", ("asr10", "asr100", "clauses-mt")),
        ("So it beats speech alone", "9", "4", ("asr10", "asr100", "clauses-mt")),
    )
    for column in columns
)
FURTHER = STARTED + OPEN + TEXT
CLAIMS = PAPER + FURTHER
