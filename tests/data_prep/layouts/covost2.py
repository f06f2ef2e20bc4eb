"""CoVoST 2 in its publisher's layout: Common Voice and a table of translations for each pair of languages."""

from pathlib import Path

from tests.data_prep.layouts.common_voice import clip_name, write_common_voice, write_table

HEADER = ("path", "translation", "split")
# By the number of the clip, in an order that is not that of the clips.
TRANSLATIONS = {
    "en_de": {
        4: ("Caféhaustische standen in einer Reihe.", "train"),
        0: ("Die Party ist vorbei, nicht wahr?", "train"),
        1: ("„Hallo“, sagte sie, „was ist?“", "train_covost"),
        6: ("Es ist ein Mädchen.", "dev"),
        7: ("Geh, hörst du?", "test"),
    },
    "en_ca": {
        0: ("La festa s’ha acabat, oi?", "train"),
        1: ('"Hola," va dir, "què és?"', "train_covost"),
        3: ("Ningú no va contestar.", "train"),
        6: ("És una nena.", "dev"),
        7: ("Vés, que ho sents?", "test"),
    },
    "fr_en": {
        2: ('"Wait!" she says.', "train"),
        0: ("Where is the station?", "dev"),
        1: ("The weather is fine today.", "test"),
    },
}


def write_covost2(root: Path) -> Path:
    """Write English to German and Catalan and French to English, without faults, and return ``root``."""
    write_common_voice(root, ("en", "fr"))
    for pair, translations in TRANSLATIONS.items():
        # The publisher's recipes unpack it to either place.
        folder = root / "fr" if pair == "fr_en" else root
        rows = [
            {"path": clip_name(pair[:2], number), "translation": text, "split": split}
            for number, (text, split) in translations.items()
        ]
        write_table(folder / f"covost_v2.{pair}.tsv", HEADER, rows)
    return root
