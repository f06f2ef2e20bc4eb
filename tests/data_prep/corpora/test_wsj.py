"""WSJ from its publisher's discs: indices, transcripts by session, compressed sound, and what is left out."""

import pytest
import soundfile

from data_prep.corpora import wsj
from data_prep.engine.command import prepare
from slam_plugin.data.errors import DataError
from tests.data_prep.layouts.sphere import write_shortened, write_sphere
from tests.data_prep.layouts.wsj import INDICES, SOUNDS, write_lines, write_wsj
from tests.data_prep.preparing import check_clean, check_sharing, dropped, rows_of

TRAIN, TEST, _, DEV = INDICES


def test_every_split(tmp_path):
    root = write_wsj(tmp_path / "corpus")
    made = check_sharing(wsj.open_corpus(root), tmp_path)
    check_clean(made)
    rows = {name: rows_of(made / f"{name}.tsv") for name in ("train", "dev", "test")}
    assert {name: [(row["id"], row["speaker"], row["tgt_text"]) for row in found] for name, found in rows.items()} == {
        "train": [
            ("011c0201", "011", "the sale of the hotels is part of holiday's strategy comma it said period"),
            ("011c0202", "011", "i b m and mister smith declined to comment dash"),
            ("46oc0201", "46o", "double quote yes"),
        ],
        "dev": [("4k0c0301", "4k0", "it closed at a low")],
        "test": [("440c0401", "440", "twenty one percent of it rose")],
    }
    assert rows["train"][2]["audio"] == str(root / "13-1.1/WSJ1/SI_TR_S/46O/46OC0201.WV1")
    assert rows["test"][0]["n_frames"] == 148 and dropped(made) == {}


def test_discs_that_were_put_together(tmp_path):
    root = write_wsj(tmp_path / "discs")
    together = tmp_path / "together"
    for disc in sorted(root.iterdir()):
        for path in (path for path in sorted(disc.rglob("*")) if path.is_file()):
            target = together / path.relative_to(disc).as_posix().lower()
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    assert set(wsj.open_corpus(together).splits) == {"train", "dev", "test"}
    prepare(wsj.open_corpus(together), tmp_path / "out")
    assert [row["id"] for row in rows_of(tmp_path / "out/train.tsv")] == ["011c0201", "011c0202", "46oc0201"]


def test_what_is_left_out_is_listed(tmp_path):
    root = write_wsj(tmp_path / "corpus")
    more = [f"11_1_1:wsj0/si_tr_s/01a/01ac020{number}.wv1" for number in range(1, 8)]
    write_lines(root / TRAIN, [*INDICES[TRAIN], *more, more[0]])
    folder = "11-1.1/wsj0/si_tr_s/01a"
    for number in (2, 3, 4, 5, 6):
        write_sphere(root / folder / f"01ac020{number}.wv1", 3.0 if number == 5 else 1.0)
    write_shortened(root / folder / "01ac0203.wv1")
    write_shortened(root / folder / "01ac0204.wv1")
    samples, rate = soundfile.read(root / SOUNDS[0])
    soundfile.write(root / folder / "01ac0204.wav", samples, rate)
    write_sphere(root / folder / "01ac0207.wv1", 0.05)
    dot = root / "11-4.1/wsj0/transcrpt/dots/si_tr_s/01a/01ac0200.dot"
    write_lines(dot, [f"Words (01ac020{number})" for number in (1, 3, 4, 5, 7)] + ["[cough] . ~ (01ac0206)"])
    dot.write_bytes(dot.read_bytes() + b"\xff (01ac0202)\n")
    stats = prepare(wsj.open_corpus(root, max_seconds=2.0), tmp_path / "out")
    found = dropped(tmp_path / "out")
    assert found.pop(f"{folder}/01ac0203.wv1").startswith("is SPHERE compressed by shorten")
    assert found == {
        "11-4.1/wsj0/transcrpt/dots/si_tr_s/01a/01ac0200.dot:7": "is not UTF-8 (invalid start byte)",
        "si_tr_s/01a/01ac0201": "has no sound file",
        f"{folder}/01ac0202.wv1": "has no transcript",
        f"{folder}/01ac0205.wv1": "is longer than 2.0 s",
        f"{folder}/01ac0206.wv1": "has no words",
        f"{folder}/01ac0207.wv1": "is shorter than 0.1 s",
    }
    audio = [row["audio"] for row in rows_of(tmp_path / "out/train.tsv") if row["id"].startswith("01a")]
    assert audio == [str(root / folder / "01ac0204.wav")]
    assert stats["dropped"]["has no sound file"] == 1
    check_clean(tmp_path / "out")


def test_what_is_no_wsj(tmp_path):
    with pytest.raises(DataError, match=r"holds no index of WSJ, expected wsj0/doc/indices/train/tr_s_wv1\.ndx, "):
        wsj.open_corpus(tmp_path)
    root = write_wsj(tmp_path)
    write_lines(root / DEV, ["4k0c0301"])
    with pytest.raises(DataError, match=r"h1_p0\.ndx: found '4k0c0301', expected a line DISC:PATH"):
        list(wsj.open_corpus(root).units())
    (root / TEST).unlink()
    assert wsj.open_corpus(root).splits == ("train", "dev")
