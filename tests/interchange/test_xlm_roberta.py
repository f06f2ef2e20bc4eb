"""Word embeddings of an XLM-R, by piece."""

import pytest
import torch

from slam_plugin.checkpoints import read_checkpoint
from slam_plugin.data.errors import DataError
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.interchange.w2v_bert_2 import import_weights
from slam_plugin.interchange.xlm_roberta import read_word_embeddings
from tests.support import training, w2v_bert_2

transformers = pytest.importorskip("transformers")

DIM, PIECES = 16, 34
EMBEDDING = "trunk.text_embedding.tokens.weight"
# Half of the toy's words, so that some pieces are in both vocabularies and some are not.
LINES = [" ".join(training.WORDS[start : start + 4]) for start in range(0, 12)] * 5


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speech")
    model = w2v_bert_2.make_model(0, num_hidden_layers=2, hidden_size=DIM, num_attention_heads=2)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def text(tmp_path):
    return w2v_bert_2.save_xlm_roberta(tmp_path / "xlm-r", LINES, PIECES, DIM)


@pytest.mark.parametrize("kind", ["XLMRobertaModel", "XLMRobertaForMaskedLM"])
def test_rows_are_copied_by_piece(toy, speech, tmp_path, kind):
    folder = w2v_bert_2.save_xlm_roberta(tmp_path / kind, LINES, PIECES, DIM, kind)
    report = import_weights(speech, toy, tmp_path / "with.pt", text_embedding=folder)
    import_weights(speech, toy, tmp_path / "without.pt")
    found, fresh = (read_checkpoint(tmp_path / name)["model"] for name in ("with.pt", "without.pt"))
    tokenizer = transformers.XLMRobertaTokenizer.from_pretrained(folder)
    theirs = getattr(transformers, kind).from_pretrained(folder).get_input_embeddings().weight
    symbols = Vocabulary.load(toy).dictionary.symbols
    known = tokenizer.get_vocab()
    taken = [symbol for symbol in symbols if symbol in known and symbol != "<pad>"]
    assert {"<s>", "</s>", "<unk>", "<mask>"} < {*taken} and 10 < len(taken) < len(symbols) - 5
    for number, symbol in enumerate(symbols):
        row = theirs[known[symbol]] if symbol in taken else fresh[EMBEDDING][number]
        assert torch.equal(found[EMBEDDING][number], row), symbol
    assert not found[EMBEDDING][symbols.index("<pad>")].any()
    assert f"{folder}: taken: {len(taken)} of {len(symbols)} rows of the text embedding" in report
    others = found.keys() - {EMBEDDING}
    assert others == fresh.keys() - {EMBEDDING} and all(torch.equal(found[name], fresh[name]) for name in others)


def refuse(folder, message, dim=DIM):
    with pytest.raises(DataError, match=message):
        read_word_embeddings(folder, dim)


def test_another_size_is_refused(text):
    refuse(text, r"config.json: hidden_size: found 16, expected 24", dim=24)


def test_a_roberta_is_refused(tmp_path):
    config = transformers.RobertaConfig(
        vocab_size=9, hidden_size=DIM, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    transformers.RobertaModel(config).save_pretrained(tmp_path)
    refuse(tmp_path, "model_type: found 'roberta', expected 'xlm-roberta'")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "sentencepiece.bpe.model").unlink(), "sentencepiece.bpe.model: there is no such"),
        (lambda folder: (folder / "sentencepiece.bpe.model").write_bytes(b"xyz"), "is no SentencePiece model"),
        (
            lambda folder: w2v_bert_2.change_weights(
                folder, lambda w: w.update({"embeddings.word_embeddings.weight": torch.zeros(PIECES, DIM)})
            ),
            r"found the shape \(34, 16\), expected \(36, 16\): a row for each piece",
        ),
        (
            lambda folder: w2v_bert_2.change_weights(folder, lambda w: w.pop("embeddings.word_embeddings.weight")),
            "found 0 tensors of word embeddings",
        ),
        (
            lambda folder: w2v_bert_2.change_weights(
                folder, lambda w: w["embeddings.word_embeddings.weight"].fill_(torch.inf)
            ),
            "found 576 numbers that are NaN or infinite",
        ),
    ],
)
def test_what_does_not_fit_is_refused(text, change, message):
    change(text)
    refuse(text, message)


def test_another_models_pieces_are_refused(text):
    """A vocabulary of this project has the first symbols in another order than XLM-R."""
    w2v_bert_2.train_pieces(text / "other", LINES, PIECES, pad_id=0, unk_id=1, bos_id=2, eos_id=3)
    (text / "other.model").rename(text / "sentencepiece.bpe.model")
    refuse(text, "found the first pieces .*expected")
