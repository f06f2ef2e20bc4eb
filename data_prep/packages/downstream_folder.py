"""Build steps of the downstream tasks' data folder, in order. The command is ``slam prepare downstream``."""

import hashlib
import itertools
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch

from data_prep.engine.command import prepare
from data_prep.engine.splits import PRETRAINING_SPLITS, SPLIT_OF_FAIRSEQ
from data_prep.manifests.pack import pack_manifests
from data_prep.packages import bibles, fillets, fortunes, movie_reviews, normalization, wordnet
from data_prep.packages.documents import Documents, read_documents
from data_prep.packages.folder_parts import MAX_SYMBOLS, alphabet, check, describe, texts, write_text
from data_prep.packages.task_parts import (
    binarize_sides,
    read_sentences,
    sizes,
    write_classified,
    write_normalization,
)
from data_prep.text.labeled import read_rows
from data_prep.text.normalize import ENGLISH_LETTERS, foreign_letters, is_spelled_out
from data_prep.text.parallel import SIDES
from data_prep.text.vocab import train_vocabulary
from data_prep.text.vocabulary_files import place_vocabulary
from slam_plugin.data.constants import TRAIN, VALID
from slam_plugin.data.files import atomic_write
from slam_plugin.data.manifests.manifest import Manifest, write_manifest

LANGUAGES = ("en", "de")
JOINT_PIECES = 4000
# Shared by two languages. For one, with as few translations, 500 are enough.
TARGET_PIECES = 1000
# Characters of written forms in the joint vocabulary's text, for each character of Czech and of English.
WRITTEN_SHARE = 0.25
# Corpora of text, by their folders below ``corpora``.
TEXT_CORPORA = {
    "fortunes": fortunes,
    "bibles": bibles,
    "wordnet": wordnet,
    "movie_reviews": movie_reviews,
    "normalization": normalization,
}


ManifestRows = dict[str, list[dict[str, str | int]]]


def fill(tree: Path, out: Path, limit: int | None, jobs: int, announce: Callable[[str], None]) -> dict:
    """Make everything below ``out`` but the statistics, which are returned. ``announce`` gets the name of each step."""
    torch.set_num_threads(1)
    corpora = out / "corpora"

    announce("dialogue: sound files, transcripts and translations to manifests")
    stats = prepare(fillets.open_corpus(tree, LANGUAGES), corpora / "fillets", jobs)
    left_out = {"fillets": stats["dropped"] | _write_dialogue(corpora / "fillets", out, limit)}
    manifests = sorted(out / use / f"{name}.tsv" for use, splits in fillets.MANIFESTS.items() for name in splits)

    announce("dialogue: log-mel features, once for all manifests")
    pack_manifests(manifests, out / "features.zip", jobs=jobs, progress=True)

    announce("text: prose, Bibles, definitions, reviews, written and spoken forms")
    made = {name: prepare(module.open_corpus(tree), corpora / name, jobs) for name, module in TEXT_CORPORA.items()}
    left_out |= {name: stats["dropped"] for name, stats in made.items()}
    documents = {
        f"cs_{split}": read_documents(corpora / "fortunes" / f"{split}.txt")[:limit] for split in PRETRAINING_SPLITS
    }
    for split in PRETRAINING_SPLITS:
        documents[f"en_{split}"] = _english(SPLIT_OF_FAIRSEQ[split], corpora, limit)
    sentences = {split: read_sentences(corpora / "normalization", split)[:limit] for split in SPLIT_OF_FAIRSEQ}

    announce("vocabularies: joint pieces, characters, pieces of the translations with language tags")
    transcripts = texts(out / "asr/train.tsv")
    czech = [*transcripts, *(sentence for document in documents["cs_train"] for sentence in document)]
    english = [sentence for document in documents["en_train"] for sentence in document]
    written, spoken = ([getattr(sentence, side) for sentence in sentences["train"]] for side in SIDES)
    size = sum(map(len, czech))
    joint = [*czech, *_thinned(english, size), *_thinned(written, size * WRITTEN_SHARE)]
    joint = _with_all_characters(joint, itertools.chain(english, written, spoken))
    symbols = {
        "joint": train_vocabulary(joint, out, JOINT_PIECES, split_digits=True),
        "asr": train_vocabulary(transcripts, out / "asr", MAX_SYMBOLS, "char"),
        "st": train_vocabulary(texts(out / "st/train.tsv"), out / "st", TARGET_PIECES, languages=LANGUAGES),
    }
    place_vocabulary(out, out / "st/source")

    announce("text: sentences to numbers")
    text = {name: write_text(out / "text" / name, chosen, out) for name, chosen in documents.items()}
    classified = write_classified(corpora, out, out, limit)
    translated = {f"st/mt/{language}": _write_translated(out, language) for language in LANGUAGES}
    normalized = {"normalization": write_normalization(out / "normalization", sentences, out)}

    announce("check of every utterance")
    check(manifests, jobs)
    return {
        "manifests": describe(manifests, out),
        "text": text,
        "symbols": symbols,
        "alphabet": alphabet(transcripts),
        "translations": translated,
        "sentences": classified,
        "normalization": normalized,
        "sources": {"normalization": made["normalization"]["noted"]},
        "left_out": left_out,
    }


def _write_dialogue(folder: Path, out: Path, limit: int | None) -> dict[str, int]:
    """Write the manifests of the dialogue in ``folder``. Return how many transcripts have no translation."""
    paths = [f"{use}/{name}.tsv" for use, splits in fillets.MANIFESTS.items() for name in splits]
    tables = {path: _rows(folder / path) for path in paths}
    chosen = _choose(tables, limit)
    for path, rows in tables.items():
        kept = [row for row in rows if _utterance(row) in chosen]
        write_manifest(out / path, kept, fillets.COLUMNS[path.partition("/")[0]])
    # They name sound files of the packages, which a finished folder does not need.
    for use in fillets.MANIFESTS:
        shutil.rmtree(folder / use)
    transcribed = chosen & {row["id"] for path, rows in tables.items() if path.startswith("asr/") for row in rows}
    return {
        f"transcript without a translation in {language}": len(transcribed - ids)
        for language, ids in _translated(tables).items()
    }


def _rows(path: Path) -> list[dict[str, str | int]]:
    manifest = Manifest.open(path)
    return [manifest.row(index) for index in range(len(manifest))]


def _utterance(row: Mapping[str, str | int]) -> str:
    """Return the id of the utterance of a row, which ends with the language in ``st``."""
    return row["id"].removesuffix(f"-{row['tgt_lang']}") if "tgt_lang" in row else row["id"]


def _translated(tables: ManifestRows) -> dict[str, set[str]]:
    """Return the ids of the utterances with a translation, by language."""
    rows = [row for path, rows in tables.items() if path.startswith("st/") for row in rows]
    return {language: {_utterance(row) for row in rows if row["tgt_lang"] == language} for language in LANGUAGES}


def _choose(tables: ManifestRows, limit: int | None) -> set[str]:
    """Return the ids of at most ``limit`` utterances of each split, those with all texts first, spread over levels."""
    # The language with the fewest translations decides, so that few utterances still are in all languages.
    translated = min(_translated(tables).values(), key=len)
    chosen: set[str] = set()
    # Without a transcript, an utterance of test is of no use.
    for path in ("speech/train.tsv", "speech/valid.tsv", "asr/test.tsv"):
        ids = [row["id"] for row in tables[path]]
        chosen |= set(sorted(ids, key=lambda key: (key not in translated, hashlib.md5(key.encode()).digest()))[:limit])
    return chosen


def _english(split: str, corpora: Path, limit: int | None) -> Documents:
    """Return English to pre-train on: chapters, glosses, and reviews that are spelled out, each a document."""
    files = [f"bibles/{name}.{split}.txt" for name in bibles.ENGLISH_MODULES]
    sources = [read_documents(corpora / file) for file in [*files, f"wordnet/{split}.txt"]]
    reviews = [row.texts[0] for row in read_rows(corpora / f"movie_reviews/{split}.tsv")]
    sources.append([[text] for text in reviews if is_spelled_out(text) and not foreign_letters(text, ENGLISH_LETTERS)])
    return [document for source in sources for document in source[:limit]]


def _thinned(sentences: Sequence[str], length: float) -> Sequence[str]:
    """Return every n-th sentence, with about ``length`` characters in total."""
    return sentences[:: max(1, round(sum(map(len, sentences)) / max(length, 1)))]


def _with_all_characters(chosen: list[str], sentences: Iterable[str]) -> list[str]:
    """Return ``chosen``, extended by sentences until it has every character that occurs in ``sentences``."""
    known = set().union(*chosen)
    for sentence in sentences:
        if not known.issuperset(sentence):
            chosen.append(sentence)
            known |= set(sentence)
    return chosen


def _write_translated(out: Path, language: str) -> dict[str, dict]:
    """Write transcripts and translations of one language as text, below ``st/mt``."""
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
