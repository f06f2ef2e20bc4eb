"""Text normalization small enough to be memorized: twenty-one sentences, written and spoken."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from data_prep.text.binarize import binarize
from data_prep.text.vocab import train_vocabulary

ROWS = [
    line.split(" | ")
    for line in """\
date | on 3/4/2021 we met | on april third twenty twenty one we met
date | he was born on 12 May 1998 | he was born on the twelfth of may nineteen ninety eight
date | the 1990s were loud | the nineteen nineties were loud
time | the train leaves at 7:45 | the train leaves at seven forty five
time | come at 10:30 pm | come at ten thirty p m
money | it costs $5 | it costs five dollars
money | she paid $3.50 for tea | she paid three dollars and fifty cents for tea
money | a fine of £20 | a fine of twenty pounds
CARDINAL | there are 12 eggs | there are twelve eggs
CARDINAL | 1,024 files were lost | one thousand twenty four files were lost
cardinal | 5 of 7 said no | five of seven said no
ordinal | the 2nd floor is empty | the second floor is empty
ordinal | on the 21st day it rained | on the twenty first day it rained
measure | run 10 km a day | run ten kilometers a day
measure | it weighs 3.2 kg | it weighs three point two kilograms
measure | at -4 °C water freezes | at minus four degrees celsius water freezes
fraction | add 1/2 cup of milk | add one half cup of milk
fraction | 3/4 of it is gone | three quarters of it is gone
digit | dial 555 0199 now | dial five five five oh one nine nine now
letters | the BBC and the FBI | the b b c and the f b i
plain | nothing changes here | nothing changes here""".splitlines()
]
WRITTEN, SPOKEN = ([row[column] for row in ROWS] for column in (1, 2))
CLASSES = {row[0].lower() for row in ROWS}
# A model, as fields and as flags.
SIZES = {
    **{"encoder_dim": 64, "encoder_heads": 2, "encoder_ffn_dim": 128, "multimodal_layers": 1},
    **{"decoder_dim": 64, "decoder_heads": 2, "decoder_ffn_dim": 128, "decoder_layers": 1},
}


def build(folder: Path) -> None:
    """Write a data folder: all rows for training and validation, a validation set of one row, and the classes."""
    train_vocabulary([*WRITTEN, *SPOKEN], folder, 120)
    for split, rows in (("train", slice(None)), ("valid", slice(None)), ("single", slice(4, 5))):
        write_pair(folder, split, WRITTEN[rows], SPOKEN[rows])
        (folder / f"{split}.classes").write_text("".join(f"{row[0]}\n" for row in ROWS[rows]))


def write_pair(
    folder: Path,
    split: str,
    written: Sequence[str],
    spoken: Sequence[str],
    vocabularies: Mapping[str, Path] | None = None,
) -> None:
    """Write ``{split}.written-spoken.*``, with the folder's vocabulary if ``vocabularies`` has no other."""
    for language, lines in (("written", written), ("spoken", spoken)):
        text = folder / f"{split}.{language}.txt"
        text.write_text("".join(f"{line}\n" for line in lines))
        binarize(text, (vocabularies or {}).get(language, folder), folder / f"{split}.written-spoken.{language}")
