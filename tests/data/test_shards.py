import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fairseq.data import indexed_dataset

from data_prep.text.vocab import train_vocabulary
from slam_plugin.data.errors import DataError
from slam_plugin.data.manifests.manifest import write_manifest
from slam_plugin.data.padding import TOKENS_MULTIPLE
from slam_plugin.data.plan.dataset import MultiCorpusDataset
from slam_plugin.data.plan.iterator import Key
from slam_plugin.data.shards import KINDS, Setting
from slam_plugin.data.shards.pairs import PairsShard
from slam_plugin.data.shards.speech import SpeechShard
from slam_plugin.data.shards.text import TextShard
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.modules.masking import MaskingSpec, SpecMask
from slam_plugin.modules.selection import LISTS, SIZES, unpack

# An empty line ends a document.
LINES = ["the cat sat", "on the mat", "a dog ran home and back", "", "rain fell all day", "it is late", "", "yes", "no"]
TRANSCRIPTS = ["the cat sat", "a dog ran", "rain fell", "the  cat sat", "yes it is", "no it is late"]
FRAMES = [40, 40, 33, 21, 50, 9]
SPEECH_MASK, TEXT_MASK = (0.49, 10), (0.5, 3)
EQUAL_TRANSCRIPTS = {0, 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    train_vocabulary([*LINES, *TRANSCRIPTS], folder, 60)
    rng = np.random.default_rng(0)
    rows = []
    for i, (frames, text) in enumerate(zip(FRAMES, TRANSCRIPTS, strict=True)):
        np.save(folder / f"{i}.npy", rng.normal(3.0, 2.0, (frames, 80)).astype(np.float16))
        rows.append({"id": f"u{i}", "audio": f"{i}.npy", "n_frames": frames, "tgt_text": text})
    columns = ("id", "audio", "n_frames", "tgt_text")
    write_manifest(folder / "train.tsv", rows, columns)
    write_manifest(folder / "same.tsv", [rows[i] for i in EQUAL_TRANSCRIPTS], columns)
    vocabulary = Vocabulary.load(folder)
    binarize(folder / "text", LINES, vocabulary)
    return folder


def binarize(path, lines, vocabulary):
    binarize_ids(path, [[*vocabulary.encode(line).tolist(), vocabulary.dictionary.eos()] for line in lines])


def binarize_ids(path, sentences):
    builder = indexed_dataset.make_builder(f"{path}.bin", "mmap", 1000)
    for sentence in sentences:
        builder.add_item(torch.tensor(sentence).int())
    builder.finalize(f"{path}.idx")


def setting(folder, seed=1, speech=SPEECH_MASK, text=TEXT_MASK, false_pairs="batch", unpaired=None, **options):
    masking = MaskingSpec(speech, text, false_pairs, **options)
    return Setting(seed, "toy, 0", Vocabulary.load(folder), masking, unpaired)


def config(budget=1000, **options):
    options = {"audio_root": None, "block": None} | options
    return SimpleNamespace(name="own", options=options, min_length=1, max_length=1000, budget=budget)


def open_corpus(folder, kind, name=None, block=None, budget=1000, **options):
    name = name or {"speech": "train.tsv", "pairs": "train.tsv", "text": "text"}[kind]
    return KINDS[kind].open(config(budget, block=block), folder / name, setting(folder, **options))


def same(first, second):
    """Return whether two items, or two batches, are equal in everything."""
    return first.keys() == second.keys() and all(
        torch.equal(value, second[key]) if torch.is_tensor(value) else value == second[key]
        for key, value in first.items()
    )


def words(corpus, ids):
    """Return the words of one row of ids, without padding."""
    ids = ids[ids != corpus.pad]
    return corpus.setting.vocabulary.decode(ids).split()


# ---- all kinds


@pytest.mark.parametrize(
    ("kind", "mask"), [("speech", "speech_mask"), ("text", "token_mask"), ("pairs", "speech_mask")]
)
def test_an_item_follows_from_seed_kind_index_and_cycle(folder, kind, mask):
    corpus, again = open_corpus(folder, kind), open_corpus(folder, kind)
    other_seed = open_corpus(folder, kind, seed=2)
    index = 4
    np.random.seed(3)
    torch.manual_seed(3)
    assert same(corpus.item(index, 0), again.item(index, 0))
    masks = {tuple(corpus.item(index, cycle)[mask].tolist()) for cycle in range(20)}
    assert len(masks) > 10
    assert masks != {tuple(other_seed.item(index, cycle)[mask].tolist()) for cycle in range(20)}


@pytest.mark.parametrize("kind", ["speech", "pairs"])
def test_an_augmented_copy_differs_in_bands_and_stretches_of_zeros_alone(folder, kind):
    corpus = open_corpus(folder, kind, augmentation=SpecMask(freq_width=15, time_width=20))
    items = [corpus.item(i, 3) for i in (4, 2, 0)]
    batch, changed = corpus.collate(items), 0
    assert same(corpus.item(4, 3), items[0])
    for row, item in enumerate(items):
        features, augmented = item["features"], item["augmented_features"]
        zeroed = augmented != features
        assert not augmented[zeroed].any()
        whole = zeroed.all(1)[:, None] | zeroed.all(0)
        assert torch.equal(zeroed, whole) and zeroed.all(0).sum() <= 30 and zeroed.all(1).sum() <= 20
        changed += int(zeroed.any())
        padded = batch["augmented_features"][row]
        assert torch.equal(padded[: len(augmented)], augmented) and not padded[len(augmented) :].any()
    assert changed > 0
    assert "augmented_features" not in open_corpus(folder, kind).collate([open_corpus(folder, kind).item(0, 0)])


def test_kinds_do_not_share_their_draws(folder):
    speech, pairs = open_corpus(folder, "speech"), open_corpus(folder, "pairs")
    assert any(not torch.equal(speech.item(4, c)["speech_mask"], pairs.item(4, c)["speech_mask"]) for c in range(5))


@pytest.mark.parametrize("kind", ["speech", "text", "pairs"])
def test_a_batch_does_not_change_the_masks_of_its_items(folder, kind):
    # Only true pairs: a false transcript comes from the batch.
    corpus = open_corpus(folder, kind, false_pairs=None)
    alone, among = corpus.collate([corpus.item(2, 5)]), corpus.collate([corpus.item(i, 5) for i in (4, 2, 0)])
    compared = 0
    for key in ("features", "mask_indices", "tokens", "token_targets", "token_mask_indices"):
        if key in alone:
            row = alone[key][0]
            assert torch.equal(among[key][1, : len(row)], row)
            compared += 1
    assert compared == {"speech": 2, "text": 3, "pairs": 5}[kind]


@pytest.mark.parametrize("kind", ["speech", "text", "pairs"])
def test_the_seed_of_a_batch_follows_from_its_items(folder, kind):
    corpus = open_corpus(folder, kind)

    def seed(indices, cycle):
        return corpus.collate([corpus.item(i, cycle) for i in indices])["seed"]

    assert seed((0, 1), 0) == seed((0, 1), 0)
    assert len({seed((0, 1), 0), seed((1, 0), 0), seed((0,), 0), seed((0, 1), 1), seed((0, 2), 0)}) == 5
    torch.Generator().manual_seed(seed((0, 1), 0))


@pytest.mark.parametrize("kind", ["speech", "text", "pairs"])
def test_nothing_is_masked_where_no_objective_asks(folder, kind):
    corpus = open_corpus(folder, kind, speech=None, text=None, false_pairs=None)
    batch = corpus.collate([corpus.item(i, 0) for i in (0, 2)])
    assert "mask_indices" not in batch
    if kind != "speech":
        assert torch.equal(batch["tokens"], batch["token_targets"]) and "token_mask_indices" not in batch


def test_a_step_is_collated_slot_by_slot(folder):
    corpora = {"s": open_corpus(folder, "speech"), "t": open_corpus(folder, "text")}
    dataset = MultiCorpusDataset(corpora, {})
    keys = [Key(7, 0, "s", 0, 3), Key(7, 0, "s", 1, 3), Key(7, 1, "s", 2, 3), Key(7, 2, "t", 4, 0)]
    step = dataset.collater([dataset[key] for key in keys])
    assert step["plan_step"] == 7
    expected = [("s", (0, 1), 3), ("s", (2,), 3), ("t", (4,), 0)]
    for batch, (name, indices, cycle) in zip(step["batches"], expected, strict=True):
        assert (batch.pop("corpus"), batch.pop("indices")) == (name, list(indices))
        assert same(batch, corpora[name].collate([corpora[name].item(i, cycle) for i in indices]))


# ---- speech


def test_speech_batches(folder):
    corpus = open_corpus(folder, "speech")
    assert corpus.lengths.tolist() == FRAMES
    items = [corpus.item(i, 0) for i in (1, 3, 5)]
    batch = corpus.collate(items)
    assert batch["kind"] == "speech" and batch["n_frames"] == 40 + 21 + 9 and batch["n_tokens"] == 0
    assert batch["features"].shape == (3, 64, 80) and batch["mask_indices"].shape == (3, 16)
    for row, (i, frames, states) in enumerate(((1, 40, 10), (3, 21, 6), (5, 9, 3))):
        raw = np.load(folder / f"{i}.npy").astype(np.float64)
        expected = (raw - raw.mean(0)) / np.sqrt(raw.var(0) + 1e-5)
        np.testing.assert_allclose(batch["features"][row, :frames].numpy(), expected, atol=1e-4)
        assert not batch["features"][row, frames:].any()
        assert batch["feature_padding_mask"][row].tolist() == [False] * frames + [True] * (64 - frames)
        masked = batch["mask_indices"][row]
        assert masked[:states].any() and not masked[states:].any()
    full = open_corpus(folder, "speech", budget=80).collate([corpus.item(0, 0), corpus.item(1, 0)])
    assert full["features"].shape == (2, 40, 80) and full["feature_padding_mask"] is None


def test_speech_is_checked_when_it_is_opened(folder):
    limits = SimpleNamespace(name="own", options={"audio_root": None}, min_length=10, max_length=1000, budget=1000)
    with pytest.raises(DataError, match="train.tsv:7: u5: 9 frames"):
        SpeechShard.open(limits, folder / "train.tsv", setting(folder))
    limits.min_length, limits.max_length = 1, 49
    with pytest.raises(DataError, match=r"6: u4.* expected at most 49 \(max_length of the corpus own\)"):
        SpeechShard.open(limits, folder / "train.tsv", setting(folder))
    write_manifest(folder / "silent.tsv", [{"id": "a", "audio": "0.npy", "n_frames": 40}], ("id", "audio", "n_frames"))
    open_corpus(folder, "speech", "silent.tsv")
    with pytest.raises(DataError, match="no column tgt_text"):
        open_corpus(folder, "pairs", "silent.tsv")
    assert SpeechShard.fingerprint_of(folder / "train.tsv") != SpeechShard.fingerprint_of(folder / "same.tsv")


# ---- text


def test_sentences(folder):
    corpus = open_corpus(folder, "text")
    assert len(corpus.lengths) == len(LINES)
    for i, line in enumerate(LINES):
        ids = corpus.tokens(i)
        assert ids[0] == corpus.bos and ids[-1] == corpus.eos and corpus.lengths[i] == len(ids)
        assert words(corpus, torch.from_numpy(ids)) == line.split()


@pytest.mark.parametrize("block", [16, 24, "one less than two sentences", "two sentences", 200])
def test_blocks_are_consecutive_sentences_of_one_document(folder, block):
    vocabulary = Vocabulary.load(folder)
    if isinstance(block, str):
        two = 1 + sum(len(vocabulary.encode(line)) + 1 for line in LINES[:2])
        block = two - 1 if block.startswith("one less") else two
    corpus = open_corpus(folder, "text", block=block)
    expected, current = [], []
    for line in [*LINES, ""]:
        sentence = [*vocabulary.encode(line).tolist(), corpus.eos]
        if not line or 1 + len(current) + len(sentence) > block:
            expected += [[corpus.bos, *current]] if current else []
            current = []
        current += sentence if line else []
    found = [corpus.tokens(i).tolist() for i in range(len(corpus.lengths))]
    assert found == expected
    assert corpus.lengths.tolist() == list(map(len, expected))
    assert block < 200 or len(found) == 3
    longest_sentence = max(len(vocabulary.encode(line)) + 2 for line in LINES)
    assert max(corpus.lengths) <= max(block, longest_sentence)


@pytest.mark.parametrize("block", [None, 40])
def test_text_masks(folder, block):
    corpus = open_corpus(folder, "text", block=block)
    dictionary = corpus.setting.vocabulary.dictionary
    seen = set()
    for cycle in range(60):
        for i in range(len(corpus.lengths)):
            item = corpus.item(i, cycle)
            tokens, targets, mask = item["tokens"], item["token_targets"], item["token_mask"]
            assert targets.tolist() == corpus.tokens(i).tolist()
            assert torch.equal(tokens[~mask], targets[~mask])
            assert not mask[targets < dictionary.nspecial].any()
            assert tokens[mask].numel() == 0 or tokens[mask].min() >= dictionary.nspecial
            assert mask.any() == (targets >= dictionary.nspecial).any()
            seen.update(
                "mask" if new == dictionary.index("<mask>") else "kept" if new == old else "random"
                for new, old in zip(tokens[mask].tolist(), targets[mask].tolist(), strict=True)
            )
    assert seen == {"mask", "kept", "random"}


def test_unknown_symbols_are_never_masked(folder):
    vocabulary = Vocabulary.load(folder)
    binarize(folder / "unknown", ["the cat 漢 sat"], vocabulary)
    corpus = open_corpus(folder, "text", "unknown")
    unknown = torch.from_numpy(corpus.tokens(0) == vocabulary.dictionary.unk())
    assert unknown.any()
    assert not any((corpus.item(0, cycle)["token_mask"] & unknown).any() for cycle in range(50))


def test_text_batches(folder):
    corpus = open_corpus(folder, "text")
    items = [corpus.item(i, 0) for i in (2, 7)]
    batch = corpus.collate(items)
    lengths = [len(item["tokens"]) for item in items]
    assert batch["kind"] == "text" and batch["n_tokens"] == sum(lengths) and batch["n_frames"] == 0
    padded = -(-max(lengths) // TOKENS_MULTIPLE) * TOKENS_MULTIPLE
    for row, (item, length) in enumerate(zip(items, lengths, strict=True)):
        rest = padded - length
        assert batch["tokens"][row].tolist() == item["tokens"].tolist() + [corpus.pad] * rest
        assert batch["token_targets"][row].tolist() == item["token_targets"].tolist() + [corpus.pad] * rest
        assert batch["token_mask_indices"][row].tolist() == item["token_mask"].tolist() + [False] * rest
        assert batch["token_padding_mask"][row].tolist() == [False] * length + [True] * rest
    full = open_corpus(folder, "text", budget=lengths[0]).collate(items[:1])
    assert full["tokens"].shape == (1, lengths[0]) and full["token_padding_mask"] is None


def test_text_that_cannot_be_used_is_named(folder):
    with pytest.raises(DataError, match="absent.idx: not found"):
        open_corpus(folder, "text", "absent")
    vocabulary = Vocabulary.load(folder)
    symbols = len(vocabulary.dictionary)
    builder = indexed_dataset.make_builder(str(folder / "larger.bin"), "mmap", symbols + 5)
    builder.add_item(torch.tensor([symbols, 2]).int())
    builder.finalize(str(folder / "larger.idx"))
    with pytest.raises(DataError, match=f"sentence 0 holds symbol {symbols}, but dict.txt has {symbols}"):
        open_corpus(folder, "text", "larger")


@pytest.mark.parametrize("chunk", [1, 4, 7, 1 << 22])
def test_a_foreign_symbol_is_found_wherever_it_stands(folder, monkeypatch, chunk):
    monkeypatch.setattr("slam_plugin.data.text.indexed.CHUNK", chunk)
    symbols = len(Vocabulary.load(folder).dictionary)
    sentences = [[5] * (1 + i % 3) + [2] for i in range(1500)]
    binarize_ids(folder / "late", sentences)
    assert len(open_corpus(folder, "text", "late").lengths) == 1500
    for at in (0, 1234, 1499):
        binarize_ids(folder / "late", [[*s[:-1], symbols + 2] if i == at else s for i, s in enumerate(sentences)])
        with pytest.raises(DataError, match=f"late.bin: sentence {at} holds symbol {symbols + 2}, but dict.txt has"):
            open_corpus(folder, "text", "late")


def test_text_cut_short_is_refused(folder):
    binarize_ids(folder / "short", [[5, 6, 2]] * 20)
    whole = (folder / "short.bin").read_bytes()
    (folder / "short.bin").write_bytes(whole[:-3])
    with pytest.raises(DataError, match=rf"short.bin: found {len(whole) - 3} bytes, expected the {len(whole)} of"):
        open_corpus(folder, "text", "short")


def test_blocks_that_hold_next_to_nothing_are_refused(folder):
    assert len(open_corpus(folder, "text", block=8).lengths)
    for block in (7, 1, 0, -3):
        with pytest.raises(DataError, match=f"block of .*text: found {block}, expected at least 8 tokens"):
            open_corpus(folder, "text", block=block)


def test_other_text_has_another_fingerprint(folder):
    binarize(folder / "shorter", LINES[:-1], Vocabulary.load(folder))
    binarize(folder / "again", LINES, Vocabulary.load(folder))
    marks = [TextShard.fingerprint_of(folder / name) for name in ("text", "again", "shorter")]
    assert marks[0] == marks[1] != marks[2]


# ---- pairs


def test_true_pairs_hold_their_own_transcript(folder):
    corpus = open_corpus(folder, "pairs", false_pairs=None)
    batch = corpus.collate([corpus.item(i, 0) for i in range(6)])
    assert batch["kind"] == "pairs" and batch["matches"].tolist() == [True] * 6
    for row, text in enumerate(TRANSCRIPTS):
        ids = batch["token_targets"][row]
        ids = ids[ids != corpus.pad]
        assert (ids[0], ids[-1]) == (corpus.bos, corpus.eos) and words(corpus, ids) == text.split()
    masked = batch["token_targets"][batch["token_mask_indices"]]
    assert masked.min() >= corpus.setting.vocabulary.dictionary.nspecial
    assert batch["mask_indices"].shape == (6, 16) and batch["n_frames"] == sum(FRAMES)


def test_half_of_the_pairs_are_false(folder):
    corpus = open_corpus(folder, "pairs")
    count = 300
    false = np.array([[corpus.item(i, cycle)["false"] for cycle in range(count)] for i in range(6)])
    assert abs(false.mean() - 0.5) < 4.5 * 0.5 / math.sqrt(6 * count)
    assert (np.abs(false.mean(1) - 0.5) < 4.5 * 0.5 / math.sqrt(count)).all()


@pytest.mark.parametrize("indices", [(0, 1, 2, 3, 4, 5), (0, 3), (0,), (3, 0, 1)])
def test_a_false_transcript_has_other_words(folder, indices):
    corpus = open_corpus(folder, "pairs")
    known = {tuple(text.split()) for text in TRANSCRIPTS}
    drawn = {i: set() for i in indices}
    for cycle in range(60):
        batch = corpus.collate([corpus.item(i, cycle) for i in indices])
        for i, ids, matches in zip(indices, batch["token_targets"], batch["matches"].tolist(), strict=True):
            found, own = words(corpus, ids), TRANSCRIPTS[i].split()
            assert (found == own) == matches
            assert tuple(found) in known
            if not matches:
                drawn[i].add(tuple(found))
    for i in indices:
        own = tuple(TRANSCRIPTS[i].split())
        of_batch = {tuple(TRANSCRIPTS[other].split()) for other in indices} - {own}
        assert drawn[i] == (of_batch or known - {own})


def test_without_another_transcript_there_is_an_error(folder):
    corpus = open_corpus(folder, "pairs", "same.tsv")
    cycle = next(c for c in range(100) if corpus.item(0, c)["false"])
    with pytest.raises(DataError, match="same.tsv: no transcript found that differs from 'the cat sat'"):
        corpus.collate([corpus.item(0, cycle)])


def test_the_one_other_transcript_of_a_corpus_is_found(folder):
    """A corpus of commands may be nearly all the same one, so that random draws miss the others."""
    rows = [{"id": f"u{i}", "audio": "0.npy", "n_frames": 40, "tgt_text": "the cat sat"} for i in range(2000)]
    rows[1000]["tgt_text"] = "rain fell"
    write_manifest(folder / "commands.tsv", rows, ("id", "audio", "n_frames", "tgt_text"))
    corpus = open_corpus(folder, "pairs", "commands.tsv")
    items = [{**corpus.item(i, 0), "false": True} for i in range(8)]
    batch = corpus.collate(items)
    assert {tuple(words(corpus, ids)) for ids in batch["token_targets"]} == {("rain", "fell")}


@pytest.mark.parametrize("block", [None, 40])
def test_false_transcripts_from_unpaired_text(folder, block):
    """Text may begin with the transcript's words, be shorter, be empty or hold several sentences."""
    text = open_corpus(folder, "text", block=block)
    corpus = open_corpus(folder, "pairs", false_pairs="text", unpaired=text)
    specials = (corpus.bos, corpus.eos)
    sources = [[t for t in text.tokens(i).tolist() if t not in specials] for i in range(len(text.lengths))]
    lengths = set()
    for cycle in range(80):
        batch = corpus.collate([corpus.item(i, cycle) for i in range(6)])
        for i, ids, matches in zip(range(6), batch["token_targets"], batch["matches"].tolist(), strict=True):
            ids = ids[ids != corpus.pad].tolist()
            own = corpus.setting.vocabulary.encode(" ".join(TRANSCRIPTS[i].split())).tolist()
            inner = ids[1:-1]
            assert (ids[0], ids[-1]) == specials and not set(specials) & set(inner)
            assert (inner == own) == matches
            if not matches:
                assert 0 < len(inner) <= len(own)
                assert any(source[: len(inner)] == inner for source in sources)
                lengths.add(len(inner) == len(own))
    assert True in lengths


def test_false_transcripts_from_text_need_text(folder):
    with pytest.raises(DataError, match="objectives.stm.negatives: found 'text', expected a corpus of kind text"):
        open_corpus(folder, "pairs", false_pairs="text")
    binarize(folder / "only", ["the cat sat"], Vocabulary.load(folder))
    only = open_corpus(folder, "text", "only")
    corpus = open_corpus(folder, "pairs", false_pairs="text", unpaired=only)
    cycle = next(c for c in range(100) if corpus.item(0, c)["false"])
    with pytest.raises(DataError, match="no sentence of the unpaired text found that differs from .the cat sat."):
        corpus.collate([corpus.item(0, cycle)])


def test_false_transcripts_follow_from_the_keys(folder):
    corpus, again = open_corpus(folder, "pairs"), open_corpus(folder, "pairs")
    for cycle in range(5):
        batches = [c.collate([c.item(i, cycle) for i in range(6)]) for c in (corpus, again)]
        assert same(*batches)
    assert PairsShard.kind == "pairs"


# ---- pairs with a true and a false partner for each transcript


@pytest.mark.parametrize("negatives", ["batch", "hard"])
@pytest.mark.parametrize("indices", [(0, 1, 2, 3, 4, 5), (3, 0, 1), (0, 3), (0,)])
def test_each_transcript_has_one_true_partner_and_one_false_one_of_other_words(folder, indices, negatives):
    corpus = open_corpus(folder, "pairs", false_pairs=negatives, partners="both")
    drawn = {i: set() for i in indices}
    for cycle in range(60):
        batch = corpus.collate([corpus.item(i, cycle) for i in indices])
        assert batch["matches"].all() and batch["false_partners"].shape == (len(indices),)
        for i, ids, partner in zip(indices, batch["token_targets"], batch["false_partners"].tolist(), strict=True):
            assert words(corpus, ids) == TRANSCRIPTS[i].split()
            drawn[i].add(indices[partner] if partner >= 0 else None)
    for i in indices:
        others = {other for other in indices if TRANSCRIPTS[other].split() != TRANSCRIPTS[i].split()}
        if negatives == "hard":
            nearest = min((abs(FRAMES[other] - FRAMES[i]) for other in others), default=None)
            others = {other for other in others if abs(FRAMES[other] - FRAMES[i]) == nearest}
        assert drawn[i] == (others or {None})


def test_both_partners_leave_the_masks_and_the_speech_as_they_are(folder):
    batches = []
    for options in ({"false_pairs": None}, {"false_pairs": "hard", "partners": "both"}):
        corpus = open_corpus(folder, "pairs", **options)
        batches.append(corpus.collate([corpus.item(i, 3) for i in range(6)]))
    plain, both = batches
    partners = both.pop("false_partners")
    listed = [unpack(batch) for batch in batches]
    assert listed[1].pop("rematched").flat.tolist() == (partners >= 0).nonzero().flatten().tolist()
    assert all(same(*(lists[name]._asdict() for lists in listed)) for name in listed[0] | listed[1])
    for batch in batches:
        del batch[LISTS], batch[SIZES]
    assert same(plain, both) and partners.dtype == torch.long
    again = open_corpus(folder, "pairs", false_pairs="hard", partners="both")
    assert torch.equal(again.collate([again.item(i, 3) for i in range(6)])["false_partners"], partners)


def test_a_hard_false_transcript_is_of_the_utterance_nearest_in_length(folder):
    corpus = open_corpus(folder, "pairs", false_pairs="hard")
    drawn = {i: set() for i in range(6)}
    for cycle in range(80):
        batch = corpus.collate([corpus.item(i, cycle) for i in range(6)])
        for i in np.flatnonzero(~batch["matches"].numpy()):
            drawn[i].add(" ".join(words(corpus, batch["token_targets"][i])))
    assert drawn == {
        0: {"a dog ran"},
        1: {"the cat sat"},
        2: {"the cat sat", "a dog ran"},  # 7 frames away from both
        3: {"rain fell", "no it is late"},
        4: {"the cat sat", "a dog ran"},
        5: {"the cat sat"},
    }
