"""The page of a manifest, read as a browser does: its numbers, its unchanged texts, its sound as in training."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile

from data_prep.manifests.pack import pack_manifests
from data_prep.manifests.show import main
from data_prep.manifests.show_numbers import extremes, histogram, sample
from slam_plugin.data.audio import frames_in, load_features, read_audio
from slam_plugin.data.manifests.manifest import write_manifest
from tests.data_prep.layouts.sounds import cut_short

COLUMNS = ("id", "audio", "n_frames", "src_text", "tgt_text", "speaker", "lang", "tgt_lang")
NASTY = "<script>alert('x')</script> & \"quoted\""
ARABIC = "سوف يهطل المطر غدا"


class Page(HTMLParser):
    """Parser that collects tags with their attributes in order, all text, and tags left open."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(html)
        self.text = "\n".join(self.words)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "path"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def sources(self, tag):
        return [attributes["src"] for name, attributes in self.tags if name == tag]


def row_of(folder, name, audio, text, translation="translation", speaker="anna", language="en"):
    frames = len(load_features(audio, folder))
    return dict(zip(COLUMNS, (name, audio, frames, text, translation, speaker, language, "ar"), strict=True))


@pytest.fixture
def folder(tmp_path):
    """Sound of 0.5, 1, 2 and 4 s, a part of one, and texts that are dangerous or run from right to left."""
    noise = np.random.default_rng(0).standard_normal(64000) * 0.1
    for name, seconds in (("half.wav", 0.5), ("one.flac", 1), ("two.ogg", 2), ("four.wav", 4)):
        soundfile.write(tmp_path / name, noise[: int(seconds * 16000)], 16000)
    rows = [
        row_of(tmp_path, "u-half", "half.wav", "fast words here in a hurry", NASTY),
        row_of(tmp_path, "u-one", "one.flac", NASTY, ARABIC, "bob"),
        row_of(tmp_path, "u-two", "two.ogg", "two words"),
        row_of(tmp_path, "u-four", "four.wav", "slow"),
        row_of(tmp_path, "u-part", "four.wav:16000:24000", "of a part"),
    ]
    write_manifest(tmp_path / "train.tsv", rows, COLUMNS)
    return tmp_path


def shown(folder, *words):
    assert main([str(folder / "train.tsv"), *words]) == 0
    return Page((folder / "train.html").read_text(encoding="utf-8"))


def test_the_page_is_whole_and_loads_nothing(folder, capsys):
    page = shown(folder)
    assert capsys.readouterr().out == f"{folder}/train.html\n"
    assert page.open == []
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe")]
    links = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert links and all(link.startswith("data:") for link in links)


def test_numbers_are_those_of_the_manifest(folder):
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", (shown(folder), folder / "train.html")[1].read_text()))
    # 48 + 98 + 198 + 398 + 148 frames of 10 ms
    assert facts["utterances"] == "5" and facts["of sound"] == "8.9 s" and facts["on average"] == "1.8 s"
    assert facts["speakers"] == "2" and facts["languages"] == "1"
    assert facts["words"] == str(6 + 3 + 2 + 1 + 3)


def test_texts_are_escaped_and_run_from_their_own_side(folder):
    page = shown(folder)
    assert NASTY in page.words and ARABIC in page.words
    texts = [
        attributes for tag, attributes in page.tags if tag == "p" and "text" in attributes.get("class", "").split()
    ]
    assert texts and all(attributes["dir"] == "auto" for attributes in texts)
    assert {attributes["lang"] for attributes in texts if "translation" in attributes["class"]} == {"ar"}


def test_sound_is_that_of_training(folder):
    players = shown(folder).sources("audio")
    assert len(players) == 5
    for player, place in zip(
        players, ("half.wav", "one.flac", "two.ogg", "four.wav", "four.wav:16000:24000"), strict=True
    ):
        kind, _, data = player.partition(";base64,")
        assert kind == "data:audio/flac"
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="float32")
        assert rate == 16000
        np.testing.assert_allclose(samples, read_audio(f"{folder}/{place}").numpy(), atol=0.51 / 32768)


def test_sound_outside_of_the_root_is_not_played(folder, tmp_path_factory, capsys):
    """A manifest from elsewhere cannot put other files of its reader into a page."""
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.wav"
    soundfile.write(secret, np.zeros(8000), 16000)
    for audio in (str(secret), f"../{secret.parent.name}/secret.wav", f"{secret}:0:8000"):
        row = {"id": "u", "audio": audio, "n_frames": 48}
        write_manifest(folder / "train.tsv", [row], list(row))
        page = shown(folder)
        assert page.sources("audio") == []
        message = f"is outside of {folder}, expected audio below it, or --no-inside-root"
        assert message in page.text and message in capsys.readouterr().err
        assert len(shown(folder, "--no-inside-root").sources("audio")) == 1


def test_sound_in_a_zip_is_heard_and_features_are_seen(folder):
    before = shown(folder).sources("audio")
    pack_manifests([folder / "train.tsv"], folder / "audio.zip", audio=True)
    assert shown(folder).sources("audio") == before
    pack_manifests([folder / "train.tsv"], folder / "features.zip")
    page = shown(folder)
    assert page.sources("audio") == [] and len(page.sources("img")) == 5
    assert all(source.startswith("data:image/png;base64,") for source in page.sources("img"))
    assert page.text.count("No sound: the manifest names features.") == 5


def test_samples_are_drawn_by_the_seed(folder):
    pages = [shown(folder, "--samples", "2", "--seed", seed).sources("audio") for seed in ("1", "1", "2", "3", "4")]
    assert pages[0] == pages[1] and any(page != pages[0] for page in pages[2:])
    assert all(len(page) == 2 for page in pages)
    assert shown(folder, "--samples", "0").sources("audio") == []
    whole = [(folder / "train.html").read_bytes() for _ in range(2) if shown(folder)]
    assert whole[0] == whole[1]


def test_the_extremes_are_in_order(folder):
    shown(folder, "--samples", "0")
    html = (folder / "train.html").read_text()
    tables = {
        title: html.partition(f"<h2>The {title}</h2>")[2].partition("</section>")[0]
        for title in ("longest", "shortest", "fastest", "slowest")
    }
    ids = {title: re.findall(r'<td class="id">(.*?)</td>', table) for title, table in tables.items()}
    assert ids["longest"] == ["u-four", "u-two", "u-part", "u-one", "u-half"]
    assert ids["shortest"] == ids["longest"][::-1]
    # characters a second: 26/.48, 41/.98, 9/1.98, 4/3.98, 9/1.48
    assert ids["fastest"] == ["u-half", "u-one", "u-part", "u-two", "u-four"]
    assert ids["slowest"] == ids["fastest"][::-1]


def test_speech_without_texts_and_speakers(folder):
    rows = [{"id": "a", "audio": "one.flac", "n_frames": 98}]
    write_manifest(folder / "train.tsv", rows, ["id", "audio", "n_frames"])
    page = shown(folder)
    assert len(page.sources("audio")) == 1 and "The fastest" not in page.text and "speakers" not in page.text


@pytest.mark.parametrize(
    "spoil, message",
    [(cut_short, "cannot be decoded|is cut short"), (lambda path: path.unlink(), "there is no such file")],
)
def test_a_sample_that_cannot_be_heard_says_why(folder, capsys, spoil, message):
    spoil(folder / "one.flac")
    page = shown(folder)
    assert len(page.sources("audio")) == 4
    error = capsys.readouterr().err
    assert error.startswith(f"warning: {folder}/train.tsv:3: ") and re.search(message, error)
    assert re.search(message, page.text)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"id\taudio\tn_frames\n", "holds no rows"),
        (b"id\taudio\tn_frames\nu\t\xff.wav\t9\n", "train.tsv:2: not UTF-8"),
        (None, "there is no such manifest"),
    ],
)
def test_manifests_that_cannot_be_shown_are_named(tmp_path, capsys, content, message):
    if content is not None:
        (tmp_path / "train.tsv").write_bytes(content)
    assert main([str(tmp_path / "train.tsv")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "train.html").exists()


def test_the_manifest_is_not_written_over(folder):
    assert main([str(folder / "train.tsv"), "--out", str(folder / "train.tsv")]) == 2
    assert main([str(folder / "train.tsv"), "--samples", "-1"]) == 2


@pytest.mark.parametrize("seed", range(5))
def test_bars_and_extremes_against_plain_ones(seed):
    values = np.random.default_rng(seed).gamma(2, 3, 3000).round(1 + seed % 2)
    found = histogram(values)
    for left, right, height in zip(found.edges, found.edges[1:], found.heights, strict=False):
        assert height == sum(left - 1e-6 <= value < right - 1e-6 for value in values)
    assert found.heights.sum() + found.beyond == 3000 and found.beyond <= 0.005 * 3000
    weighed = histogram(values, values)
    assert weighed.heights.sum() == pytest.approx(values[values < found.edges[-1]].sum())
    order = sorted(range(3000), key=lambda row: values[row])
    assert extremes(values, 9, False) == order[:9]
    assert extremes(values, 9, True) == sorted(range(3000), key=lambda row: -values[row])[:9]
    assert extremes(values[:3], 9, True) == sorted(range(3), key=lambda row: -values[row])


def test_bars_of_values_that_are_all_alike():
    for values in (np.zeros(5), np.full(5, 7.0), np.array([frames_in(16000)])):
        found = histogram(values)
        assert found.heights.sum() == len(values) and found.beyond == 0


def test_a_sample_is_of_the_whole():
    rows = sample(5_000_000, 12, 1)
    assert rows == sorted(set(rows)) and len(rows) == 12 and max(rows) > 2_500_000
