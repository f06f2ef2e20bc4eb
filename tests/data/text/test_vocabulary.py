import io

import pytest
import sentencepiece
import torch
from fairseq.data import Dictionary

from slam_plugin.data.errors import DataError
from slam_plugin.data.text.pieces import join_pieces
from slam_plugin.data.text.vocabulary import Vocabulary, read_dictionary

TEXT = ["the cat sat on the mat", "a dog and a cat", "mats and hats", "čtyři kočky"] * 20


def train(folder, **options):
    """Write spm.model and dict.txt by SentencePiece alone."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT),
        model_writer=model,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        character_coverage=1.0,
        minloglevel=2,
        **{"vocab_size": 60, **options},
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [processor.id_to_piece(i) for i in range(len(processor))]
    symbols = [piece for piece in pieces if piece not in ("<unk>", "<s>", "</s>")] + ["<mask>"]
    folder.mkdir(exist_ok=True)
    (folder / "spm.model").write_bytes(model.getvalue())
    (folder / "dict.txt").write_text("".join(f"{symbol} 1\n" for symbol in symbols), encoding="utf-8")
    return processor, symbols


@pytest.mark.parametrize("model_type", ["unigram", "char"])
def test_ids_are_sentencepieces_in_fairseqs_order(tmp_path, model_type):
    processor, symbols = train(tmp_path, model_type=model_type)
    vocabulary = Vocabulary.load(tmp_path)
    assert vocabulary.dictionary.symbols == ["<s>", "<pad>", "</s>", "<unk>", *symbols]
    for text in TEXT[:4]:
        ids = vocabulary.encode(text)
        assert ids.dtype == torch.int64
        assert [vocabulary.dictionary[i] for i in ids] == processor.encode(text, out_type=str)
        assert vocabulary.decode(ids) == text
        assert vocabulary.decode([0, *ids.tolist(), 2]) == text


def test_unknown_characters(tmp_path):
    train(tmp_path, model_type="char")
    vocabulary = Vocabulary.load(tmp_path)
    ids = vocabulary.encode("catß")
    assert ids[-1] == vocabulary.dictionary.unk()
    assert vocabulary.decode(ids) == "cat<unk>"


@pytest.mark.parametrize("piece", [b"<unk>", b"</s>", b"ats"])
def test_a_piece_that_is_no_utf8_is_named(tmp_path, piece):
    train(tmp_path)
    model = tmp_path / "spm.model"
    content = model.read_bytes()
    assert piece in content
    model.write_bytes(content.replace(piece, b"\xff" + piece[1:], 1))
    with pytest.raises(DataError, match="spm.model holds a piece that is not UTF-8"):
        Vocabulary.load(tmp_path)


def test_byte_pieces_are_read_as_utf8(tmp_path):
    train(tmp_path, byte_fallback=True, vocab_size=320)
    vocabulary = Vocabulary.load(tmp_path)
    assert vocabulary.decode(vocabulary.encode("the žluť cat")) == "the žluť cat"


def test_strings_are_pieces_whatever_post_processing_is_asked():
    assert join_pieces("▁a b ▁c") == "ab c"
    assert join_pieces("▁ a b ▁ c ▁") == "ab c"
    assert join_pieces("") == ""


def test_post_process_flags_change_nothing(tmp_path):
    train(tmp_path, model_type="char")
    vocabulary = Vocabulary.load(tmp_path)
    ids = vocabulary.encode("a cat")
    for symbol in (None, "sentencepiece", "@@ "):
        assert join_pieces(vocabulary.dictionary.string(ids, symbol)) == "a cat"


def test_state_makes_the_same_vocabulary(tmp_path):
    train(tmp_path)
    vocabulary = Vocabulary.load(tmp_path)
    file = tmp_path / "state.pt"
    torch.save(vocabulary.state(), file)
    again = Vocabulary.from_state(torch.load(file, weights_only=True))
    assert again.hash == vocabulary.hash
    assert again.dictionary.symbols == vocabulary.dictionary.symbols
    assert torch.equal(again.encode(TEXT[0]), vocabulary.encode(TEXT[0]))


def test_another_vocabulary_is_refused_with_both_hashes_and_places(tmp_path):
    train(tmp_path / "a", vocab_size=60)
    train(tmp_path / "b", model_type="char")
    a, b = Vocabulary.load(tmp_path / "a"), Vocabulary.load(tmp_path / "b")
    a.check_same(a.hash, "itself")
    with pytest.raises(DataError) as error:
        a.check_same(b.hash, "elsewhere")
    for part in (a.hash, b.hash, str(tmp_path / "a"), "elsewhere"):
        assert part in str(error.value)


def test_dictionary_and_model_have_to_match(tmp_path):
    _, symbols = train(tmp_path)
    swapped = [symbols[1], symbols[0], *symbols[2:]]
    (tmp_path / "dict.txt").write_text("".join(f"{symbol} 1\n" for symbol in swapped), encoding="utf-8")
    with pytest.raises(DataError, match="line 1 of dict.txt"):
        Vocabulary.load(tmp_path)
    (tmp_path / "dict.txt").write_text("".join(f"{symbol} 1\n" for symbol in symbols[:-1]), encoding="utf-8")
    with pytest.raises(DataError, match="nothing, expected '<mask>'"):
        Vocabulary.load(tmp_path)


def test_faults_of_the_files_are_named(tmp_path):
    with pytest.raises(DataError, match="dict.txt: there is no such file"):
        Vocabulary.load(tmp_path)
    train(tmp_path)
    (tmp_path / "dict.txt").write_text("a 1\nb\n", encoding="utf-8")
    with pytest.raises(DataError, match="dict.txt:2: found 'b'"):
        Vocabulary.load(tmp_path)
    train(tmp_path)
    (tmp_path / "spm.model").write_bytes(b"no model")
    with pytest.raises(DataError, match="no SentencePiece model"):
        Vocabulary.load(tmp_path)


@pytest.mark.parametrize("count", ["1" * 5000, "9" * 19, "-1", "1.5", "²"])
def test_counts_that_are_none_are_named(tmp_path, count):
    (tmp_path / "dict.txt").write_text(f"a 1\nb {count}\n", encoding="utf-8")
    with pytest.raises(DataError, match="dict.txt:2: found 'b ") as error:
        read_dictionary(tmp_path / "dict.txt")
    assert len(str(error.value)) < len(str(tmp_path)) + 400


def test_a_dictionary_is_read_as_fairseq_reads_it(tmp_path):
    path = tmp_path / "dict.txt"
    path.write_text("▁a 5\n b 2\nmadeupword0000 0\n", encoding="utf-8")
    found, expected = read_dictionary(path), Dictionary.load(str(path))
    assert (found.symbols, found.count) == (expected.symbols, expected.count)
    path.write_bytes(b"caf\xe9 1\n")
    with pytest.raises(DataError, match="dict.txt: expected UTF-8"):
        read_dictionary(path)
