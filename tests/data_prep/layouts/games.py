"""The talkie games and Wesnoth's catalogs in their publishers' layouts, with a few lines each."""

import gettext
import io
import json
import struct

import numpy as np
import soundfile

from data_prep.engine.splits import bucket
from data_prep.packages import amazon_queen, drascula, steel_sky
from data_prep.packages.bibles import MODULES
from data_prep.packages.fetch import RECORD, SETS
from data_prep.packages.game import SCENE_PARTS
from tests.data_prep.layouts.rnc import pack
from tests.data_prep.packages.test_bibles import write_module
from tests.data_prep.packages.test_fetch import deb_of, entry
from tests.data_prep.packages.test_wordnet import write_glosses

RATE = 11025
SCENES_A_SECTION = 12
_WORDS = "we are here now and they go away with our old robot in his red hat".split()
_FOREIGN = {"de": "größe", "fr": "élève", "es": "años", "it": "perché", "sv": "också", "pt": "não", "us": "color"}


def noise(seed, seconds=1.1):
    """Unsigned samples of 8 bits."""
    rng = np.random.default_rng(seed)
    return np.repeat(rng.integers(20, 236, round(seconds * RATE / 5)), 5).astype(np.uint8).tobytes()


def sentence(number):
    """One of very many sentences of four words."""
    rng = np.random.default_rng([number, 7])
    return " ".join(_WORDS[i] for i in rng.integers(0, len(_WORDS), 4))


def scenes_of(name, candidates, train=4, held_out=2):
    """Some of the candidates' names, of each split so many as asked for: the md5 of a scene's name decides."""
    found = {"train": [], "dev": [], "test": []}
    for candidate in candidates:
        part = bucket(f"{name}-{candidate}", SCENE_PARTS)
        split = {0: "test", 1: "test", 2: "dev"}.get(part, "train")
        if len(found[split]) < (train if split == "train" else held_out):
            found[split].append(candidate)
    return [candidate for names in found.values() for candidate in names]


# ---------------------------------------------------------------------------------------------------------------------
# Beneath a Steel Sky


def sky_codes():
    """Characters with their codes: leaves at their depths, each in the leftmost place that is free."""
    codes, taken = [], 0.0
    for digit, character in zip(steel_sky.DEPTHS, steel_sky.CHARACTERS, strict=True):
        depth = int(digit, 17)
        codes.append((character, f"{int(taken * 2**depth):0{depth}b}"))
        taken += 2.0**-depth
    return codes


def messages_file(messages):
    """All messages of a section and language, as the game codes them: bytes by number, others are empty."""
    codes = dict(sky_codes())
    count = max(messages, default=0) + 1
    lengths, blocks, text = bytearray(), [], ""
    for number in range(count):
        bits = "".join(codes[character] for character in messages.get(number, b"") + b"\0")
        units = -(-len(bits) // 2)
        if units >= 128:
            units = -(-units // 8) * 8
        lengths.append(units if units < 128 else 128 | units >> 3)
        text += bits.ljust(2 * units, "0")
        if number % 32 == 0:
            blocks.append(0)
        blocks[-1] += units
    data = bytes(int(text[place : place + 8].ljust(8, "0"), 2) for place in range(0, len(text), 8))
    blocks = blocks[:-1]
    first = 4 + 2 * len(blocks)
    return struct.pack(f"<{2 + len(blocks)}H", first, first + len(lengths), *blocks) + bytes(lengths) + data


def write_sky(tree, train=4, held_out=2, lines=3):
    """A few lines of some scenes, of which the last is not spoken. Returns the English text by (section, number)."""
    names = (f"{section}-{scene}" for scene in range(SCENES_A_SECTION) for section in range(8))
    english = {}
    for name in scenes_of("steel_sky", names, train, held_out):
        section, scene = map(int, name.split("-"))
        for number in range(32 * scene, 32 * scene + lines + 1):
            english[section, number] = f"{sentence(len(english)).capitalize()}, NOW!"
    files = {}
    glyphs = {language: {shown: code for code, shown in own.items()} for language, own in steel_sky._GLYPHS.items()}
    for place, language in enumerate(steel_sky.LANGUAGES):
        for section in range(8):
            messages = {}
            for (own, number), text in english.items():
                if own == section:
                    text = text if language == "en" else f"{text} {_FOREIGN[language]}"
                    coded = "".join(glyphs.get(language, {}).get(letter, letter) for letter in text)
                    messages[number] = coded.encode("latin-1")
            files[60600 + 8 * place + section] = messages_file(messages)
    for (section, number), _ in english.items():
        if number % 32 != lines:
            sound = noise(1000 * section + number)
            files[50000 + steel_sky.SPEECH_BASES[section] + number] = bytes([0x81]) + bytes(21) + pack(sound)
    write_disk(tree / steel_sky.FOLDER, files)
    return english


def write_disk(folder, files):
    """``sky.dnr`` and ``sky.dsk``. Every other file begins at a place that only units of 16 bytes can name."""
    folder.mkdir(parents=True)
    disk, index = bytearray(), b""
    for order, (number, content) in enumerate(sorted(files.items())):
        disk += bytes(-len(disk) % 16)
        place = len(disk) if order % 2 else len(disk) >> 4 | 0x800000
        size = len(content) | (0x800000 if number >= 60000 else 0)
        index += struct.pack("<H", number) + struct.pack("<I", place)[:3] + struct.pack("<I", size)[:3]
        disk += content
    (folder / "sky.dnr").write_bytes(struct.pack("<I", len(files)) + index)
    (folder / "sky.dsk").write_bytes(disk)


# ---------------------------------------------------------------------------------------------------------------------
# Drascula


def write_drascula(tree, train=4, held_out=2, lines=3):
    """English and Spanish sound of a few lines of some scenes. Returns the English text by (bank, number)."""
    sizes = dict.fromkeys(drascula.BANKS, 32 * 8)
    names = (f"{bank or 'HERO'}-{scene}" for scene in range(8) for bank in drascula.BANKS)
    english = {}
    for name in scenes_of("drascula", names, train, held_out):
        bank, _, scene = name.partition("-")
        for number in range(32 * int(scene), 32 * int(scene) + lines):
            english["" if bank == "HERO" else bank, number] = f"{sentence(500 + len(english))}!".upper()
    english["", 10] = "IT IS ABOUT TIME"
    folder = tree / drascula.FOLDER
    for language in ("en", "es"):
        (folder / language).mkdir(parents=True)
        for bank, number in english:
            sound = b"\x80" * 40 * 100 + noise(5000 + number) + b"\x80" * 40 * 200
            (folder / language / f"{bank}{number}.ALS").write_bytes(bytes(32) + sound + bytes(64))
    (folder / "en/drascula.dat").write_bytes(drascula_texts(english, sizes))
    return english


def drascula_texts(english, sizes):
    """``drascula.dat``: rows of other tables first, whose content does not matter."""
    added = {"en": "", "es": " años", "de": " FueR", "fr": " élève", "it": " perché", "ru": " да"}
    data = b"DRASCULA\x06" + b"".join(struct.pack(">H", 2) + bytes(2 * width) for width in drascula.WIDTHS)
    data += struct.pack(">H", len(drascula.ENCODINGS))
    for bank, size in sizes.items():
        data += struct.pack(">H", size)
        for language, encoding in drascula.ENCODINGS.items():
            data += bytes(4)
            for number in range(size):
                text = english.get((bank, number), "")
                coded = (text + added[language] if text else "").encode(encoding) + b"\0"
                data += struct.pack(">H", len(coded) + 2) + coded
    return data


# ---------------------------------------------------------------------------------------------------------------------
# Flight of the Amazon Queen


def write_queen(tree, files=None):
    """``queen.1c`` with two dialogues, a scene and remarks, or of these files. Returns the text of each clip."""
    texts = {}
    if files is None:
        files, texts = queen_files()
    folder = tree / amazon_queen.FOLDER
    folder.mkdir(parents=True)
    start = 15 + 21 * len(files)
    table, content = b"", b""
    for name, data in files.items():
        table += struct.pack(">12sBII", name.encode("latin-1"), 1, start + len(content), len(data))
        content += data
    (folder / amazon_queen.FILE).write_bytes(b"QTBLCEM10" + bytes(4) + struct.pack(">H", len(files)) + table + content)
    return texts


def queen_files():
    """The files, and the text of each clip."""
    files, texts = {}, {}
    scenes = (f"{first}{second}.DOG" for first in "KLMNOPQR" for second in "ABCDEFGH")
    for order, scene in enumerate(scenes_of("amazon_queen", scenes, train=6)):
        key = order + 10
        said = [f"{sentence(900 + 10 * order + place).capitalize()}." for place in range(5)]
        hero, other = [said[0], f"{said[1]}*BY{said[2]}"], [said[3]]
        files[scene] = dialogue(key, hero, other, said[4], "")
        for name, text in {
            f"{key}0000J1": said[0], f"{key}0001J1": said[1], f"{key}0001J2": said[2], f"{key}0000P1": said[3],
            f"{key}SSSSJ1": said[0], f"{key}XXXXP1": said[4],
        }.items():  # fmt: skip
            texts[name] = text
    files["C10A.CUT"] = cut(["", "The door*XY12345678901 opens*AB.", "Who are you?"])
    texts |= {"C10A_021": "The door", "C10A_022": "opens", "C10A_031": "Who are you?"}
    remarks = [f"I see {sentence(2000 + number)}" for number in range(12)]
    answers = [f"No, {sentence(3000 + number)}" for number in range(40)]
    files["QUEEN2.JAS"] = "\r\n".join([*remarks, "walk to", "a", "b", "c", *answers]).encode("cp437")
    texts |= {f"JOE{41 + number:04d}1": text for number, text in enumerate(remarks)}
    texts |= {f"JOE{1 + number:04d}1": text for number, text in enumerate(answers[:2])}
    for seed, name in enumerate(sorted({*texts, "10SSSSZ1"})):
        buffer = io.BytesIO()
        samples = np.frombuffer(noise(seed), np.uint8).astype(np.int16) - 128
        soundfile.write(buffer, samples * 100, RATE, format="MP3", subtype="MPEG_LAYER_III")
        files[f"{name}.SB"] = buffer.getvalue()
    return files, texts


def pascal(text, align, place):
    """A text with its length, and zeros up to where the next number begins."""
    data = bytes([len(text)]) + text.encode("cp437")
    return data + bytes(-(place + len(data)) % align) if text else data


def dialogue(key, hero, other, *ends):
    """A ``.DOG`` file: of each line two numbers and the text. The hero's line with the number 0 opens the dialogue."""
    levels = 1
    data = bytearray(32 + 96 * levels)

    def append(lines):
        begin = len(data)
        for number, text in enumerate(lines):
            data.extend(struct.pack(">hh", 0, number))
            data.extend(pascal(text, 4, len(data)))
        data.extend(bytes(len(data) % 2))
        return begin

    append(hero)
    at_other = append(other)
    at_ends = len(data)
    for text in ends:
        data.extend(pascal(text, 2, len(data)))
    struct.pack_into(">5h", data, 0, levels, 0, key, len(hero), len(other))
    struct.pack_into(">3H", data, 22, at_other, 0, at_ends)
    return bytes(20) + bytes(data)


def cut(lines):
    """A ``.CUT`` file of numbered lines."""
    data = bytearray(10)
    struct.pack_into(">h", data, 2, -len(lines))
    struct.pack_into(">H", data, 8, len(data))
    for text in ("MUSIC", *lines):
        data.extend(pascal(text, 2, len(data)))
    return bytes(20) + bytes(data)


# ---------------------------------------------------------------------------------------------------------------------
# Wesnoth


def write_catalog(path, messages):
    """A catalog of gettext, the text of each message by the message. A pair of messages has a plural."""
    header = "Content-Type: text/plain; charset=UTF-8\nPlural-Forms: nplurals=2; plural=n != 1;\n"
    entries = {"": header}
    for message, text in messages.items():
        entries["\0".join(message) if isinstance(message, tuple) else message] = (
            "\0".join(text) if isinstance(text, tuple) else text
        )
    keys = sorted(entries)
    blobs = [[key.encode() for key in keys], [entries[key].encode() for key in keys]]
    place = 28 + 16 * len(keys)
    tables, content = b"", b""
    for blob in blobs:
        for data in blob:
            tables += struct.pack("<II", len(data), place + len(content))
            content += data + b"\0"
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack("<7I", gettext.GNUTranslations.LE_MAGIC, 0, len(keys), 28, 28 + 8 * len(keys), 0, 0)
    path.write_bytes(header + tables + content)


def write_wesnoth(tree, count=60):
    """Messages of two domains in all languages."""
    for language in ("de", "fr", "es", "it"):
        word = _FOREIGN[language]
        messages = {
            f"scene^The wizard says that {sentence(4000 + number)}. Then he goes.":
            f"{word} {word} {word} {word} {word} {number % 9 * 'a'}. Die {word}." for number in range(count)
        }  # fmt: skip
        folder = tree / "usr/share/games/wesnoth/1.16/locale" / language / "LC_MESSAGES"
        write_catalog(folder / "wesnoth-units.mo", messages)
        write_catalog(folder / "wesnoth.mo", {"One of our guards": f"{word} {word} {word}"})


# ---------------------------------------------------------------------------------------------------------------------
# all packages of the English data folder


def write_english(tree, leak=False):
    """All packages, with a record of where they come from. With a leak, a pair says what a test utterance says."""
    sky = write_sky(tree)
    write_drascula(tree)
    files, _ = queen_files()
    if leak:
        remarks = files["QUEEN2.JAS"].decode("cp437").split("\r\n")
        said = [text for (section, number), text in sky.items() if _is_held_out(f"{section}-{number // 32}")]
        files["QUEEN2.JAS"] = "\r\n".join([*said[:12], *remarks[12:]]).encode("cp437")
    write_queen(tree, files)
    write_wesnoth(tree)
    write_glosses(tree, [f'a thing that is {sentence(6000 + number)}; "one example"' for number in range(80)])
    write_english_and_spanish(tree)
    record = {name: {"file": f"{name}_1_all.deb", "version": "1", "sha256": "0"} for name in SETS["english"]}
    (tree / RECORD).write_text(json.dumps(record))


def write_english_and_spanish(tree, chapters=50):
    """Two Bibles of one verse a chapter, two clauses a verse. A Spanish word is the English one and a letter."""
    english, spanish = {}, {}
    for chapter in range(1, chapters + 1):
        said = sentence(7000 + chapter)
        english["Genesis", chapter, 1] = f"In the beginning, {said}."
        foreign = " ".join(f"{word}é" for word in said.split())
        spanish["Genesis", chapter, 1] = f"En el principio; ¡{foreign}!"
    write_module(tree, "web", english | {("Matthew", 1, 1): "The book of the generations."})
    write_module(tree, "rv1909", spanish | {("Matthew", 1, 1): "Libro de la generación."})


def write_debs(folder):
    """The packages of :func:`write_english` as files."""
    tree = folder / "tree"
    write_english(tree)
    for name, place in {
        "beneath-a-steel-sky": steel_sky.FOLDER, "drascula": drascula.FOLDER,
        "flight-of-the-amazon-queen": amazon_queen.FOLDER, "wesnoth-1.16-data": "usr/share/games/wesnoth",
        "wordnet-base": "usr/share/wordnet", "sword-text-web": MODULES["web"], "sword-text-sparv": MODULES["rv1909"],
    }.items():  # fmt: skip
        files = sorted(path for path in tree.rglob("*") if path.is_file() and str(place) in path.as_posix())
        entries = (entry(f"./{path.relative_to(tree)}", path.read_bytes()) for path in files)
        deb_of(folder / f"{name}_1_all.deb", *entries)


def _is_held_out(scene):
    return bucket(f"steel_sky-{scene}", SCENE_PARTS) < 3
