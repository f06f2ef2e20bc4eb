"""The rows of the study: the pre-trainings. A new row is an entry of ``ROWS`` and a corpora file."""

from collections.abc import Mapping
from typing import NamedTuple


class Targets(NamedTuple):
    """The states of one layer of another row's model, whose clusters are the targets of ``kmeans`` (HuBERT, round 2).

    Attributes:
        row: whose pre-training of the same seed gives the model.
        layer: counted from 0.
    """

    row: str
    layer: int


class Row(NamedTuple):
    """A pre-training.

    Attributes:
        label: in tables; the paper's number of the row if it has one.
        title: in tables.
        corpora: the corpora file below examples/slam/config; None for no pre-training.
        optimizer, lr: of pre-training, as in the measurements of the recipes (docs/results.md).
        targets: None for the clusters of cepstra in the data folder.
        gentle: fine-tune to recognition with SpecAugment and a small rate of the trunk. That pays only for a trunk that
            CTC on pairs has trained: row 4 lost 13 points of CER by it.
        total_compute: fine-tune for as many more updates as the CPU time of row 8's pre-training allows.
    """

    label: str
    title: str
    corpora: str | None
    optimizer: str = "slam_muon"
    lr: float = 0.003
    targets: Targets | None = None
    gentle: bool = False
    total_compute: bool = False


LEARNED = Targets("P", layer=3)  # the fourth of six layers, two of which are the speech encoder's
ROWS: Mapping[str, Row] = {
    "0": Row("0", "from scratch", None),
    "0total": Row("0, total compute", "from scratch, with the total compute of row 8", None, total_compute=True),
    "3": Row("3", "contrastive only", "study/w2v_conformer.yaml"),
    "4": Row("4", "w2v-BERT", "study/w2v_bert.yaml"),
    "K": Row("K", "k-means targets, speech alone", "study/kmeans.yaml"),
    "T": Row("T", "text only, span masking", "laptop/text.yaml"),
    "5": Row("5", "contrastive + text", "study/w2v_conformer_text.yaml"),
    "6": Row("6", "SLAM: w2v-BERT + text", "study/slam.yaml"),
    "7": Row("7", "SLAM-TLM, two stages", "study/slam_tlm.yaml"),
    "7one": Row("7'", "SLAM-TLM, one stage", "study/slam_tlm_one_stage.yaml"),
    "8": Row("8", "SLAM-TLM-STM", "study/slam_tlm_stm.yaml"),
    "9": Row("9", "SLAM-TLM-STM, then speech only", "study/slam_tlm_stm_speech.yaml"),
    "P": Row("P", "pairs alone by CTC", "laptop/pairs.yaml", gentle=True),
    "PS": Row("PS", "pairs and synthetic pairs by CTC", "study/pairs_synthetic.yaml", gentle=True),
    "C": Row("C", "speech, then CTC on pairs, no text", "study/speech_ctc.yaml", gentle=True),
    "J": Row("J", "row C + text by span masking", "study/joint.yaml", gentle=True),
    "J2": Row("J2", "row J + text as pseudo-speech", "study/joint_pseudo_speech.yaml", gentle=True),
    "J3": Row("J3", "row J + text spoken by a synthesizer", "study/joint_synthetic.yaml", gentle=True),
    "D": Row("D", "the demo: speech, then text, pairs and synthetic pairs", "laptop/demo.yaml", gentle=True),
    "S": Row("S", "row P + speech by its own clusters", "study/speech_beside_ctc.yaml", targets=LEARNED, gentle=True),
    "J4": Row("J4", "row S + text by span masking", "study/joint_beside_ctc.yaml", targets=LEARNED, gentle=True),
}
