import numpy as np
import pytest
import soundfile

from data_prep.engine.command import prepare
from data_prep.engine.splits import split_of
from data_prep.engine.units import Dropped
from data_prep.packages import fillets
from data_prep.packages.fillets import LEVEL_PARTS, Utterance, open_corpus
from data_prep.packages.fillets_scripts import parse_dialogue
from slam_plugin.data.audio import frames_in, load_features
from slam_plugin.data.errors import DataError
from tests.data_prep.preparing import check_clean, check_sharing, dropped, rows_of, run_command

# Levels of the game by the md5 of their names.
TRAIN, DEV, TEST = "airplane", "hole", "steel"
SENTENCE = "Co je to za divnou loď?"


def lua(*lines):
    return "\n\n".join(
        f'dialogId("{name}", "{font}", "{english}")\ndialogStr("{text}")' for name, font, english, text in lines
    )


class Tree:
    """A tree in the publisher's layout, written piece by piece."""

    def __init__(self, root):
        self.root = root
        self.game = root / "usr/share/games/fillets-ng"

    def script(self, path, text, encoding="utf-8"):
        file = self.game / "script" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding=encoding)

    def sound(self, level, name, seconds=1.5, rate=22050, channels=1):
        file = self.game / "sound" / level / "cs" / f"{name}.ogg"
        file.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(len(name)).normal(0, 0.1, (int(seconds * rate), channels))
        soundfile.write(file, noise, rate, format="OGG", subtype="VORBIS")
        return file


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path / "tree")


def write_three_levels(tree):
    for level, text in ((TRAIN, "Vidíš to oko?"), (DEV, "Sedadla."), (TEST, "Buď ráda.")):
        tree.script(f"{level}/dialogs_cs.lua", lua(("id", "font_big", "It’s one.", text)))
        tree.sound(level, "id")


def read(root, *options):
    """Utterances of all levels, and what is left out."""
    corpus = open_corpus(root, *options)
    found = [each for unit in corpus.units() for each in corpus.utterances(unit.key)]
    return [[each for each in found if isinstance(each, kind)] for kind in (Utterance, Dropped)]


def the_only(root, *options):
    (utterance,) = read(root, *options)[0]
    return utterance


def reasons(root):
    return [each.reason for each in read(root)[1]]


def test_lua_strings_comments_and_line_breaks():
    source = r"""
    -- dialogId("commented", "font_big", "out")
    --[[ dialogId("block", "font_big", "out")
    dialogStr("out") ]]
    dialogId("a", "font_small",
    "C:\\WINDOWS \"quoted\"")
    dialogStr(
    "p\197\153ed\010dva \065")
    dialogId('b', 'font_big', 'it\'s -- no comment')
    dialogStr("dva")
    for i = 0, 29 do dialogId("key"..i, "", "") end
    dialogStr("no name of its own")
    dialogId("never", "font_big", "followed")
    """
    assert parse_dialogue(source, "x.lua") == [
        ("a", "font_small", 'C:\\WINDOWS "quoted"', "před\ndva A"),
        ("b", "font_big", "it's -- no comment", "dva"),
    ]


def test_string_without_end_names_file_and_line():
    with pytest.raises(DataError, match=r"x\.lua:2: a string without an end"):
        parse_dialogue('dialogId("a", "f", "e")\ndialogStr("open)\n', "x.lua")


@pytest.mark.parametrize("escape", [r"\197", r"\300"])
def test_escapes_that_are_no_utf8_are_named(escape):
    with pytest.raises(DataError, match=r"x\.lua: escapes that are no UTF-8 in one of .*p"):
        parse_dialogue(f'dialogId("a", "f", "e") dialogStr("p{escape}")', "x.lua")


def test_one_utterance_in_full(tree):
    tree.script(f"{TRAIN}/dialogs_cs.lua", lua(("let-m", "font_small", "What’s that ship?", SENTENCE)))
    sound = tree.sound(TRAIN, "let-m", seconds=2.0)
    utterance = the_only(tree.root)
    assert utterance == (
        f"{TRAIN}-let-m",
        sound,
        frames_in(32000),
        "train",
        "small",
        "co je to za divnou loď",
        {"en": "what's that ship"},
    )


def test_cased_translation_keeps_punctuation(tree):
    tree.script(f"{TRAIN}/dialogs_cs.lua", lua(("a", "font_big", "What’s that?", SENTENCE)))
    tree.sound(TRAIN, "a")
    assert the_only(tree.root, ["en"], True).translations == {"en": "What's that?"}


def test_another_target_language(tree):
    tree.script(f"{TRAIN}/dialogs_cs.lua", lua(("a", "font_big", "No.", SENTENCE), ("b", "font_big", "Yes.", SENTENCE)))
    tree.script(f"{TRAIN}/dialogs_de.lua", lua(("a", "font_big", "No.", "Straße: Größe!")))
    tree.sound(TRAIN, "a")
    tree.sound(TRAIN, "b")
    utterances, _ = read(tree.root, ["de", "en"])
    assert [each.translations for each in utterances] == [{"de": "straße größe", "en": "no"}, {"en": "yes"}]


@pytest.mark.parametrize(("rate", "channels"), [(44100, 1), (22050, 2), (16000, 1), (11025, 2)])
@pytest.mark.parametrize("seconds", [0.511, 1.0007])
def test_frames_are_those_of_the_features(tree, rate, channels, seconds):
    sound = tree.sound(TRAIN, "a", seconds, rate, channels)
    tree.script(f"{TRAIN}/dialogs_cs.lua", lua(("a", "font_big", "x", SENTENCE)))
    assert the_only(tree.root).frames == len(load_features(str(sound), "/"))


@pytest.mark.parametrize(
    ("english", "czech", "reason"),
    [
        ("It took %1 hours", "Konkrétně %1 hodin!", "a placeholder"),
        ("What [sighs]", "Co [vzdech] je", "a remark in brackets"),
        ("Eight", "A víš, kolik je 8 trilobitů?", "digits or no letters"),
        ("...", "...", "digits or no letters"),
        ("", "", "no subtitle"),
        ("Wait", "Подожди, na semaforu", "letters that are not Czech"),
        ("Oh", "A.", "fewer than 3 or more than 30 characters a second"),
        ("Oh", "Velmi dlouhá věta. " * 5, "fewer than 3 or more than 30 characters a second"),
    ],
)
def test_text_that_is_not_what_is_spoken_leaves_unlabeled_speech(tree, english, czech, reason):
    tree.script(f"{TRAIN}/dialogs_cs.lua", lua(("a", "font_big", english, czech)))
    tree.sound(TRAIN, "a")
    assert the_only(tree.root)[-2:] == (None, {})
    assert reasons(tree.root) == [f"text not used: {reason}"]


def test_sound_without_subtitle_and_subtitle_without_sound(tree):
    tree.script(f"{TRAIN}/dialogs_cs.lua", lua(("silent", "font_big", "x", SENTENCE)))
    tree.sound(TRAIN, "spoken")
    utterance = the_only(tree.root)
    assert utterance.speaker == "unknown" and utterance.transcript is None
    assert read(tree.root)[1] == [
        Dropped(f"{TRAIN}-spoken", "text not used: no subtitle"),
        Dropped(f"{TRAIN}-silent", "subtitle without sound"),
    ]


def test_level_with_sound_and_no_dialogues(tree):
    tree.script(f"{DEV}/code.lua", "local i")
    tree.sound(TRAIN, "a")
    assert the_only(tree.root).transcript is None


def test_too_short_and_too_long_sounds_are_dropped(tree):
    lines = [(name, "font_big", "x", SENTENCE) for name in ("short", "fits", "long")]
    tree.script(f"{TRAIN}/dialogs_cs.lua", lua(*lines))
    for name, seconds in (("short", 0.49), ("fits", 0.8), ("long", 15.1)):
        tree.sound(TRAIN, name, seconds)
    assert the_only(tree.root).id == f"{TRAIN}-fits"
    assert reasons(tree.root) == ["sound shorter than 0.5 s or longer than 15 s"] * 2


def test_shared_dialogues_and_scripts_with_a_prefix(tree):
    tree.script("share/black_dialogs_cs.lua", lua(("smrt", "font_big", "Darn.", "Zatraceně.")))
    tree.script(f"{TRAIN}/demo_dialogs_cs.lua", lua(("d", "font_big", "Demo.", "Ukázka.")))
    tree.sound("share/blackjokes", "smrt")
    tree.sound(TRAIN, "d")
    said = {each.id: each.transcript for each in read(tree.root)[0]}
    assert said == {"share-blackjokes-smrt": "zatraceně", f"{TRAIN}-d": "ukázka"}


def test_splits_are_by_level(tree):
    assert [split_of(level, LEVEL_PARTS) for level in (TRAIN, DEV, TEST)] == ["train", "dev", "test"]
    write_three_levels(tree)
    assert {each.id: each.split for each in read(tree.root)[0]} == {
        f"{TRAIN}-id": "train",
        f"{DEV}-id": "dev",
        f"{TEST}-id": "test",
    }


def test_script_that_is_not_utf8_is_named(tree):
    tree.sound(TRAIN, "a")
    tree.script(f"{TRAIN}/dialogs_cs.lua", 'dialogStr("loď")', encoding="cp1250")
    with pytest.raises(DataError, match=r"dialogs_cs\.lua: expected UTF-8 .* at byte 13"):
        read(tree.root)


def test_damaged_sound_is_left_out(tree):
    sound = tree.sound(TRAIN, "a")
    sound.write_bytes(b"no sound at all")
    tree.script(f"{TRAIN}/dialogs_cs.lua", lua(("a", "font_big", "x", SENTENCE)))
    assert [each.place for each in read(tree.root)[1]] == [f"{TRAIN}-a"] and not read(tree.root)[0]


def test_tree_without_the_game(tmp_path, capsys):
    assert run_command(fillets.main, "--tree", tmp_path, "--out", tmp_path / "out") == 1
    assert "expected script/LEVEL" in capsys.readouterr().err


def test_manifests_of_every_use(tree, tmp_path, capsys):
    write_three_levels(tree)
    tree.sound(TRAIN, "unlabeled")
    out = tmp_path / "out"
    assert run_command(fillets.main, "--tree", tree.root, "--out", out) == 0
    assert "left out: 1 text not used: no subtitle" in capsys.readouterr().out
    check_clean(out, 40)
    names = [path.relative_to(out).as_posix() for path in sorted(out.rglob("*.tsv")) if path.name != "dropped.tsv"]
    rows = {name: rows_of(out / name) for name in names}
    assert {name: len(found) for name, found in rows.items()} == {
        "asr/dev.tsv": 1, "asr/test.tsv": 1, "asr/train.tsv": 1,
        "pairs/train.tsv": 1, "pairs/valid.tsv": 1,
        "speech/train.tsv": 2, "speech/valid.tsv": 1,
        "st/dev.tsv": 1, "st/test.tsv": 1, "st/train.tsv": 1,
    }  # fmt: skip
    (row,) = rows["st/train.tsv"]
    assert row.pop("audio") == str(tree.game / f"sound/{TRAIN}/cs/id.ogg")
    del row["n_frames"]
    assert row == {
        "id": f"{TRAIN}-id", "tgt_text": "it's one", "src_text": "vidíš to oko",
        "speaker": "big", "lang": "cs", "tgt_lang": "en",
    }  # fmt: skip
    assert rows["asr/dev.tsv"][0]["tgt_text"] == "sedadla"
    assert "tgt_text" not in rows["speech/train.tsv"][0]


def test_manifest_without_rows_is_named(tree, tmp_path):
    tree.script(f"{TRAIN}/dialogs_cs.lua", lua(("a", "font_big", "x", SENTENCE)))
    tree.sound(TRAIN, "a")
    with pytest.raises(DataError, match=r"found no item for speech/valid\.tsv, pairs/valid\.tsv, asr/dev\.tsv"):
        prepare(open_corpus(tree.root), tmp_path / "out")


def test_two_targets_and_the_same_however_the_work_is_shared(tree, tmp_path):
    write_three_levels(tree)
    # One line repeats a line of dev.
    lines = [("id", "f", "It’s one.", "Vidíš to oko?"), ("id-2", "f", "x", "Vidíš?"), ("leak", "f", "x", "Sedadla!")]
    tree.script(f"{TRAIN}/dialogs_cs.lua", lua(*lines))
    for name in ("id-2", "leak"):
        tree.sound(TRAIN, name)
    tree.script(f"{TRAIN}/dialogs_de.lua", lua(("id", "font_big", "It’s one.", "Das ist eins, ja.")))
    folder = check_sharing(open_corpus(tree.root, ["en", "de"]), tmp_path)
    rows = rows_of(folder / "st/train.tsv")
    assert [row["id"] for row in rows] == [f"{TRAIN}-id-2-en", f"{TRAIN}-id-de", f"{TRAIN}-id-en"]
    assert [(row["tgt_lang"], row["tgt_text"]) for row in rows[1:]] == [("de", "das ist eins ja"), ("en", "it's one")]
    assert rows[1]["audio"] == rows[2]["audio"] and rows[1]["src_text"] == rows[2]["src_text"] == "vidíš to oko"
    # Without a German script the level has its English row alone.
    assert [row["id"] for row in rows_of(folder / "st/dev.tsv")] == [f"{DEV}-id-en"]
    for use in ("speech", "pairs", "asr"):
        assert [row["id"] for row in rows_of(folder / f"{use}/train.tsv")] == [f"{TRAIN}-id", f"{TRAIN}-id-2"]
    assert dropped(folder) == {f"{TRAIN}-leak": "train transcript that occurs in dev or test"}
