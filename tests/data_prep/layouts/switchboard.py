"""Switchboard-1, Fisher and Hub5'00 in the LDC's layout: two sides of mu-law at 8 kHz, three notations."""

from pathlib import Path

from tests.data_prep.layouts.sphere import write_sphere

SECONDS = 8.0
ISIP = {
    "A": [
        "sw2001A-ms98-a-0001 0.000000 1.200000 [silence]",
        "sw2001A-ms98-a-0002 1.200000 3.000250 hi um yeah i'd like to talk about [laughter-how] you dress for wo[rk]-",
        "sw2001A-ms98-a-0003 3.000250 5.000000 and t v <b_aside> um-hum [noise] [wolr/world] them_1 <e_aside>",
    ],
    "B": [
        "sw2001B-ms98-a-0001 0.000000 2.500000 [vocalized-noise] uh-huh {yuppiedom}",
        "sw2001B-ms98-a-0002 2.500000 5.000000 [silence]",
    ],
}
FISHER = [
    "# fe_03_00001.sph",
    "# Transcribed by BBN/WordWave",
    "",
    "0.50 2.25 A: and i- generally prefer t._v.'s [laughter]",
    "",
    "2.10 3.00 B: mhm",
    "",
    "3.00 4.75 B: (( now )) what do you think",
]
STM = [
    ';; LABEL "sw" "Switchboard" "Switchboard conversations"',
    ';; LABEL "en" "CallHome" "CallHome conversations"',
    "en_4156 A en_4156_A 0.64 2.64 <O,en,F,en-F>  HE IS (%HESITATION) A POLICE OFFICER",
    "en_4156 B en_4156_B 2.00 4.00 <O,en,M,en-M>  UH-HUH (TH-) <B_ASIDE> { A / THE } T. V. MAN",
    "en_4156 B en_4156_B 4.00 5.00 <O,en,M,en-M>  IGNORE_TIME_SEGMENT_IN_SCORING",
    "sw_4390 A sw_4390_A 1.00 3.50 <O,sw,F,sw-F>  WELL (I-) I KNOW",
]


def write_switchboard(root: Path) -> Path:
    """Write Switchboard-1 without faults except its silences, and return ``root``."""
    write_sphere(root / "swb1_d1/data/sw02001.sph", SECONDS, 8000, 2, seed=1)
    for side, lines in ISIP.items():
        write_isip(root, side, lines)
    (root / "swb_ms98_transcriptions/sw-ms98-dict.text").write_text("a ax\n")
    (root / "swb_ms98_transcriptions/20/2001/sw2001A-ms98-a-word.text").write_text("sw2001A-ms98-a-0001 0 1 hi\n")
    return root


def write_isip(root: Path, side: str, lines: list[str]) -> Path:
    """Write the transcript of one side of conversation 2001."""
    path = root / f"swb_ms98_transcriptions/20/2001/sw2001{side}-ms98-a-trans.text"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def write_fisher(root: Path) -> Path:
    """Write Fisher without faults except uncertain words, and return ``root``."""
    write_sphere(root / "fe_03_p1_sph1/audio/000/fe_03_00001.sph", SECONDS, 8000, 2, seed=2)
    path = root / "fe_03_p1_tran/data/trans/000/fe_03_00001.txt"
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"{line}\n" for line in FISHER))
    return root


def write_hub5(root: Path) -> Path:
    """Write Hub5'00 with a conversation of each kind, and return ``root``."""
    write_sphere(root / "hub5e_00/english/en_4156.sph", SECONDS, 8000, 2, seed=3)
    write_sphere(root / "hub5e_00/english/sw_4390.sph", SECONDS, 8000, 2, seed=4)
    write_references(root, STM)
    return root


def write_references(root: Path, lines: list[str]) -> Path:
    """The table of references."""
    path = root / "2000_hub5_eng_eval_tr/reference/hub5e00.english.000405.stm"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path
