"""TED-LIUM 3 in its publisher's layout: the legacy division, STM tables of the training and of the scoring kind."""

from pathlib import Path

from tests.data_prep.layouts.sphere import write_sphere

SECONDS = 8.0
TALKS = {
    "train/AaronHuey_2010X": [
        "AaronHuey_2010X 1 AaronHuey_2010X 0.50 2.25 <NA> i 'm here today to show <sil> my photographs(2)",
        "AaronHuey_2010X 1 AaronHuey_2010X 2.25 4.00 <o,f0,male> it 's about <unk> o'clock {NOISE} uh isn 't it "
        "(AaronHuey_2010X-2.25-4.00-F0_M-S1)",
    ],
    "train/911Mothers_2010W": [
        "911Mothers_2010W 1 911Mothers_2010W 1.00 3.07 <o,f0,female> <unk> our two sons weren 't the only ones",
    ],
    "dev/AlGore_2009": [
        ';; LABEL "o" "Overall" "Overall results"',
        "AlGore_2009 1 inter_segment_gap 0 1.00 <o,,unknown> ignore_time_segment_in_scoring",
        "AlGore_2009 1 AlGore 1.00 2.50 <F0_M> last year i showed these two slides",
    ],
    "test/BillGates_2010": [
        "BillGates_2010 1 BillGates 0.25 2.00 <o,f0,male> i 'm going to talk today about energy",
    ],
}


def write_tedlium(root: Path) -> Path:
    """Write a tree without faults and return ``root/TEDLIUM_release-3``."""
    top = root / "TEDLIUM_release-3"
    for seed, (talk, lines) in enumerate(TALKS.items()):
        split, name = talk.split("/")
        write_sphere(top / f"legacy/{split}/sph/{name}.sph", SECONDS, seed=seed)
        write_stm(top, talk, lines)
    (top / "doc").mkdir()
    return top


def write_stm(top: Path, talk: str, lines: list[str]) -> Path:
    """Write the table of ``SPLIT/TALK``."""
    split, name = talk.split("/")
    path = top / f"legacy/{split}/stm/{name}.stm"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path
