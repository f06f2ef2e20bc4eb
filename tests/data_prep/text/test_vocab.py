import numpy as np
import pytest
import sentencepiece
from fairseq.data import Dictionary
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from data_prep.text import vocab
from data_prep.text.normalize import normalize
from data_prep.text.vocab import train_vocabulary
from slam_plugin.data.errors import DataError
from slam_plugin.data.text.vocabulary import Vocabulary


def czech_words(seed, count):
    rng = np.random.default_rng(seed)
    syllables = ["ko", "čka", "ryb", "ička", "lo", "ď", "před", "stav", "vo", "da", "žlu", "ťou", "ký", "ne", "s'"]
    return ["".join(rng.choice(syllables, rng.integers(1, 4))) for _ in range(count)]


def sentences(seed=0):
    words = czech_words(seed, 2000)
    return [" ".join(words[at : at + 5]) for at in range(0, len(words), 5)]


def load(folder):
    return (
        sentencepiece.SentencePieceProcessor(model_file=str(folder / "spm.model")),
        Dictionary.load(str(folder / "dict.txt")),
    )


@pytest.mark.parametrize(("model_type", "size"), [("unigram", 60), ("char", 200)])
def test_fairseq_reads_it_and_ids_line_up(tmp_path, model_type, size):
    count = train_vocabulary(sentences(), tmp_path, size, model_type)
    pieces, dictionary = load(tmp_path)
    assert dictionary.symbols[:4] == ["<s>", "<pad>", "</s>", "<unk>"]
    assert dictionary.symbols[-1] == "<mask>"
    assert len(dictionary) == count + 4 == len(set(dictionary.symbols))
    # An independent reading of the model: its protobuf, where normal pieces have type 1.
    model = model_pb2.ModelProto()
    model.ParseFromString((tmp_path / "spm.model").read_bytes())
    assert dictionary.symbols[4:-1] == [piece.piece for piece in model.pieces if piece.type == 1]
    for sentence in sentences(seed=1)[:20]:
        ids = [dictionary.index(piece) for piece in pieces.encode(sentence, out_type=str)]
        assert dictionary.unk() not in ids
        # SentencePiece has <unk>, <s> and </s> before its first piece, fairseq four symbols.
        assert [i - 1 for i in ids] == pieces.encode(sentence)
        assert pieces.decode([dictionary[i] for i in ids]) == sentence


def test_every_line_of_the_dictionary_is_symbol_and_count(tmp_path):
    train_vocabulary(["ab ba"], tmp_path, 50, "char")
    assert sorted((tmp_path / "dict.txt").read_text(encoding="utf-8").split("\n")) == [
        "",
        "<mask> 0",
        "a 2",
        "b 2",
        "▁ 2",
    ]


@pytest.mark.parametrize("model_type", ["unigram", "char"])
def test_same_text_same_bytes_wherever_it_is_written(tmp_path, model_type):
    for folder in ("one", "another/place"):
        train_vocabulary(sentences(), tmp_path / folder, 60, model_type)
    for name in ("spm.model", "dict.txt"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "another/place" / name).read_bytes()


def test_small_text_gives_fewer_pieces_than_asked_for(tmp_path):
    assert train_vocabulary(["to je to"], tmp_path, 1000) < 20


def test_characters_are_not_changed(tmp_path):
    train_vocabulary(["① ﬁ Ⅷ ½"], tmp_path, 50, "char")
    pieces, _ = load(tmp_path)
    assert pieces.decode(pieces.encode("① ﬁ Ⅷ ½")) == "① ﬁ Ⅷ ½"


def test_long_lines_are_used(tmp_path):
    train_vocabulary(["a " * 5000 + "ž"], tmp_path, 50, "char")
    assert "ž 1" in (tmp_path / "dict.txt").read_text(encoding="utf-8").splitlines()


def test_text_that_spells_the_symbols_of_fairseq_makes_no_such_piece(tmp_path):
    words = ["<mask>", "<s>", "</s>", "<pad>", "<unk>"]
    train_vocabulary([f"{word} x{word}y {word}{word}" for word in words] * 50, tmp_path, 100)
    symbols = load(tmp_path)[1].symbols
    assert len(symbols) == len(set(symbols)) and not set(words) & set(symbols[4:-1])


def test_byte_fallback_leaves_nothing_unknown(tmp_path):
    count = train_vocabulary(sentences(), tmp_path, 400, byte_fallback=True)
    pieces, dictionary = load(tmp_path)
    assert count > 256
    ids = [dictionary.index(piece) for piece in pieces.encode("голос", out_type=str)]
    assert dictionary.unk() not in ids and pieces.decode([dictionary[i] for i in ids]) == "голос"


def test_faults(tmp_path):
    with pytest.raises(DataError, match="found no sentence"):
        train_vocabulary(["", "  "], tmp_path, 50)
    with pytest.raises(DataError, match="no vocabulary of 4 pieces from 400 sentences"):
        train_vocabulary(sentences(), tmp_path, 4)
    assert list(tmp_path.iterdir()) == []


def test_command(tmp_path, capsys):
    for number in (0, 1):
        (tmp_path / f"{number}.txt").write_text(
            "\ufeff" + "\r\n".join(sentences(number)) + "\r\n\r\n", encoding="utf-8"
        )
    files = [str(tmp_path / "0.txt"), str(tmp_path / "1.txt")]
    assert vocab.main(["--text", *files, "--out", str(tmp_path / "cli"), "--size", "60"]) == 0
    assert "symbols in" in capsys.readouterr().out
    train_vocabulary(sentences(0) + sentences(1), tmp_path / "api", 60)
    assert (tmp_path / "cli/spm.model").read_bytes() == (tmp_path / "api/spm.model").read_bytes()
    assert vocab.main(["--text", str(tmp_path / "none"), "--out", str(tmp_path)]) == 1


def test_language_tags_are_symbols_and_never_text(tmp_path):
    text = sentences()
    plain = train_vocabulary(text, tmp_path / "plain", 60)
    count = train_vocabulary(text, tmp_path / "tagged", 62, languages=["de", "zh-CN"])
    vocabulary = Vocabulary.load(tmp_path / "tagged")
    assert vocabulary.languages == {"de": 4, "zh-CN": 5} and count <= plain + 2
    lines = (tmp_path / "tagged/dict.txt").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["<lang:de> 0", "<lang:zh-CN> 0"]
    tags = set(vocabulary.languages.values())
    for sentence in [*text, normalize("<lang:de> věta"), "lang:de", "< lang:de>", "<lang:en>"]:
        assert not tags & set(vocabulary.encode(sentence).tolist())
    # What nothing here writes: text that spells a tag is cut into it.
    assert vocabulary.encode("<lang:de>")[-1] == vocabulary.languages["de"]


@pytest.mark.parametrize("languages", [["de", "de"], ["d e"], ["de>"], [""]])
def test_languages_that_cannot_be_tags(tmp_path, languages):
    with pytest.raises(DataError, match="expected different names such as de"):
        train_vocabulary(sentences(), tmp_path, 60, languages=languages)


def test_text_that_spells_a_tag_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"spells the language tag <lang:de>: 'a <lang:de> b'"):
        train_vocabulary([*sentences(), "a <lang:de> b"], tmp_path, 60, languages=["en", "de"])
    train_vocabulary([*sentences(), "a <lang:de> b"], tmp_path, 60, languages=["en"])


def test_digits_are_pieces_of_their_own(tmp_path):
    text = [f"in {year} or {year}" for year in range(1900, 2000)]
    train_vocabulary(text, tmp_path / "whole", 60)
    train_vocabulary(text, tmp_path / "split", 60, split_digits=True)
    whole, split = (load(tmp_path / name)[1].symbols[4:] for name in ("whole", "split"))
    assert any(len(piece.strip("▁")) > 1 and piece.strip("▁").isdigit() for piece in whole)
    assert not any(len(piece) > 1 and any(map(str.isdigit, piece)) for piece in split)


def test_command_with_languages_and_digits(tmp_path):
    (tmp_path / "text").write_text("\n".join(sentences()) + "\nv roce 1984\n", encoding="utf-8")
    options = ["--size", "60", "--split-digits", "--languages", "de", "ca", "ar", "tr"]
    assert vocab.main(["--text", str(tmp_path / "text"), "--out", str(tmp_path), *options]) == 0
    symbols = load(tmp_path)[1].symbols
    assert symbols[4:8] == [f"<lang:{name}>" for name in ("de", "ca", "ar", "tr")] and {"1", "9", "8", "4"} <= set(
        symbols
    )


def test_a_sample_is_drawn_evenly_and_always_the_same(tmp_path, capsys):
    lines = [f"{number}" for number in range(20_000)]
    assert vocab.draw(iter(lines), 20_000) == lines
    assert "drawn" not in capsys.readouterr().err
    drawn = vocab.draw(iter(lines), 2000)
    assert capsys.readouterr().err.endswith("drew 2,000 of 20,000 sentences for the vocabulary\n")
    assert drawn == vocab.draw(iter(lines), 2000)
    places = [int(line) for line in drawn]
    assert places == sorted(set(places)) and len(places) == 2000
    # A tenth of each fifth, 400 of 4000: six standard deviations are 6 * sqrt(4000 * 0.1 * 0.9 * 0.9) = 108.
    assert np.abs(np.histogram(places, bins=5, range=(0, 20_000))[0] - 400).max() < 108


def test_a_model_of_a_sample_counts_the_sample(tmp_path):
    train_vocabulary((f"a{'b' * (number % 2)}" for number in range(1000)), tmp_path, 50, "char", sample=100)
    counts = dict(line.split(" ") for line in (tmp_path / "dict.txt").read_text(encoding="utf-8").splitlines())
    assert counts["a"] == counts["▁"] == "100" and 0 < int(counts["b"]) < 100


def test_a_tag_is_found_outside_of_the_sample_too(tmp_path):
    with pytest.raises(DataError, match="spells the language tag <lang:de>"):
        train_vocabulary([*sentences(), "<lang:de>"], tmp_path, 60, languages=["de"], sample=1)


def test_command_with_manifests(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(vocab, "_ROWS_AT_ONCE", 7)
    text = sentences()
    for name, rows in (("one", text[:100]), ("two", text[100:200])):
        lines = [f"{name}{number}\tx.wav\t50\t{row}\tandere\n" for number, row in enumerate(rows)]
        (tmp_path / f"{name}.tsv").write_text("".join(["id\taudio\tn_frames\ttgt_text\tsrc_text\n", *lines]))
    (tmp_path / "text").write_text("\n".join(text[200:]), encoding="utf-8")
    manifests = ["--manifests", str(tmp_path / "one.tsv"), str(tmp_path / "two.tsv")]
    out = ["--size", "60", "--out", str(tmp_path / "out")]
    assert vocab.main([*manifests, "--text", str(tmp_path / "text"), *out]) == 0
    train_vocabulary([*text[200:], *text[:200]], tmp_path / "api", 60)
    for name in ("spm.model", "dict.txt"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "api" / name).read_bytes()
    assert vocab.main([*manifests, "--column", "src_text", "--sample", "5", *out]) == 0
    assert "a 5\n" in (tmp_path / "out/dict.txt").read_text(encoding="utf-8")
    assert vocab.main([*manifests, "--column", "speaker", *out]) == 1
    assert "has no column speaker" in capsys.readouterr().err
    assert vocab.main(out) == 2
    assert "expected --text, --manifests or both" in capsys.readouterr().err
