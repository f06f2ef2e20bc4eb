"""Build steps of the English data folder, in order. The command is ``slam prepare english``."""

from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path

import torch

from data_prep.engine.command import prepare
from data_prep.manifests.check_overlaps import refuse_shared_sentences
from data_prep.manifests.pack import pack_manifests
from data_prep.packages import amazon_queen, bibles, clauses, drascula, steel_sky, wesnoth, wordnet
from data_prep.packages.documents import Documents, read_documents
from data_prep.packages.english_rows import (
    LABEL_MINUTES,
    Roles,
    Row,
    Splits,
    choose,
    keep_clauses_apart,
    labeled,
    read_games,
    translated,
)
from data_prep.packages.fetch import read_record
from data_prep.packages.folder_parts import MAX_SYMBOLS, alphabet, check, describe, texts, write_text
from data_prep.packages.synthetic import Synthetic, draw_sentences
from data_prep.packages.task_parts import binarize_sides, sizes
from data_prep.text.vocab import train_vocabulary
from data_prep.text.vocabulary_files import place_vocabulary
from slam_plugin.data.files import atomic_write
from slam_plugin.data.manifests.manifest import write_manifest

LANGUAGES = ("de", "fr", "es", "it")
TARGET_PIECES = 500
CLAUSE_PIECES = 1000
VALID_DOCUMENTS = 500  # validation on all held-out documents would take longer than a hundred updates
# Characters of the joint vocabulary besides those of its text.
SYMBOLS = "abcdefghijklmnopqrstuvwxyz 0123456789 '"
GAMES = {"steel_sky": steel_sky, "drascula": drascula, "amazon_queen": amazon_queen}
CLAUSES, SYNTHETIC = "clauses", "synthetic"
SYNTHETIC_SENTENCES = 4000  # about three hours, nearly as much as the pairs of Amazon Queen

Pairs = Sequence[tuple[str, str]]  # a sentence and its translation

_SPEECH = ("id", "audio", "n_frames", "speaker", "lang")
_LABELED = ("id", "audio", "n_frames", "tgt_text", "speaker", "lang")
_TRANSLATED = ("id", "audio", "n_frames", "tgt_text", "src_text", "speaker", "lang", "tgt_lang")


def fill(tree: Path, out: Path, limit: int | None, jobs: int, announce: Callable[[str], None]) -> dict:
    """Make everything below ``out`` but the statistics, which are returned. ``announce`` gets the name of each step."""
    torch.set_num_threads(1)
    packages = read_record(tree)

    announce("games: lines and sound")
    left_out = {}
    for name, module in GAMES.items():
        folder = out / "games" / name
        left_out[name] = prepare(module.open_game(tree, folder), folder, jobs)["dropped"]

    announce("clauses: English of a Bible, spoken, and Spanish")
    folder = out / "games" / CLAUSES
    left_out[CLAUSES] = prepare(clauses.open_corpus(tree, folder), folder, jobs)["dropped"]
    spoken_clauses = read_games(out / "games", [CLAUSES], limit)[CLAUSES]
    roles = choose(
        read_games(out / "games", GAMES, limit),
        {row["src_text"] for split in ("dev", "test") for row in spoken_clauses[split]},
    )

    announce("text: catalogs of messages, glosses, the Bible")
    text_corpora = {
        "wesnoth": wesnoth.open_corpus(tree),
        "wordnet": wordnet.open_corpus(tree),
        "bibles": bibles.open_corpus(tree, ["web"]),
    }
    for name, corpus in text_corpora.items():
        left_out[name] = prepare(corpus, out / "games" / name, jobs)["dropped"]
    documents, repeated = _read_documents(out / "games", roles.held_out, limit)
    left_out["text"] = {"sentence that is held out": repeated}

    announce("synthetic pairs: sentences of the text, spoken")
    folder = out / "games" / SYNTHETIC
    left_out[SYNTHETIC] = prepare(_open_synthetic(documents["train"], roles, limit, folder), folder, jobs)["dropped"]

    announce("manifests of all tasks")
    held_out = roles.held_out | {sentence for document in documents["valid"] for sentence in document}
    synthetic = read_games(out / "games", [SYNTHETIC], None)[SYNTHETIC]["train"]
    manifests = _write_manifests(roles, keep_clauses_apart(spoken_clauses, held_out, roles.dropped), synthetic, out)
    left_out["games"] = dict(sorted(roles.dropped.items()))

    announce("log-mel features, once for all manifests")
    pack_manifests(manifests, out / "features.zip", jobs=jobs, progress=True)

    announce("vocabularies: joint characters, pieces of the translations with language tags")
    pairs = _parallel_text(out, roles, held_out, limit)
    targets = texts(out / "st/train.tsv")
    sentences = [*texts(out / "pairs/train.tsv"), *(each for document in documents["train"] for each in document)]
    symbols = {
        "joint": train_vocabulary([*sentences, SYMBOLS], out, MAX_SYMBOLS, "char"),
        "st": train_vocabulary(targets, out / "st", TARGET_PIECES, languages=LANGUAGES),
        # Without tags: a model of these has one target language.
        "st/clauses": train_vocabulary(texts(out / "st/clauses/train.tsv"), out / "st/clauses", CLAUSE_PIECES),
    }
    place_vocabulary(out, out / "asr")
    for name in ("st/source", "st/clauses/source"):
        place_vocabulary(out, out / name)
    for language in LANGUAGES:
        place_vocabulary(out / "st", out / "st" / language)
        place_vocabulary(out, out / "st" / language / "source")

    announce("text and pairs of sentences to numbers")
    text = {split: write_text(out / "text" / split, chosen, out) for split, chosen in documents.items()}
    translations = {}
    known = {name: set("".join(texts(out / name / "train.tsv"))) for name in ("st", "st/clauses")}
    for folder, splits in pairs.items():
        model = folder.partition("/mt")[0]
        kept = [pair for pair in splits["train"] if known[model].issuperset(pair[1])]
        unknown = len(splits["train"]) - len(kept)
        left_out[folder] = {"pair with characters that no translation of speech has": unknown}
        splits["train"] = kept
        translations[folder] = _write_pairs(out / folder, {"source": out, "target": out / model}, splits)

    announce("check of every utterance, and that no held-out sentence is trained on")
    _refuse_overlaps(out, documents["train"], pairs)
    check(manifests, jobs)
    return {
        "packages": packages,
        "manifests": describe(manifests, out),
        "text": text,
        "symbols": symbols,
        "alphabet": alphabet(texts(out / "asr/train_100.tsv")),
        "translations": translations,
        "left_out": left_out,
    }


def _open_synthetic(documents: Documents, roles: Roles, limit: int | None, out: Path) -> Synthetic:
    """Return the synthetic corpus: training sentences that are not transcripts, in the voices of training clauses."""
    transcripts = {row["tgt_text"] for row in roles.train}
    sentences = (sentence for document in documents for sentence in document if sentence not in transcripts)
    count = SYNTHETIC_SENTENCES if limit is None else min(limit, SYNTHETIC_SENTENCES)
    return Synthetic(draw_sentences(sentences, count, "text/train"), out, clauses.TRAINING_VOICES, validates=False)


def _write_manifests(roles: Roles, spoken_clauses: Splits, synthetic: Sequence[Row], out: Path) -> list[Path]:
    """Write the manifests of all tasks, with their audio below ``out/games``, and return their paths."""
    recognition = {"dev": roles.dev, "test": roles.test}
    subsets = {f"train_{minutes}": labeled(roles.train, minutes) for minutes in LABEL_MINUTES}
    tables: dict[str, tuple[Sequence[Row], Sequence[str]]] = {
        "speech/train": (roles.speech, _SPEECH),
        "speech/valid": ([*roles.dev, *roles.pairs_valid], _SPEECH),
        "pairs/train": (roles.pairs, _LABELED),
        "pairs/valid": (roles.pairs_valid, _LABELED),
        "pairs/synthetic": (synthetic, _LABELED),
    }
    tables |= {f"asr/{name}": (rows, _LABELED) for name, rows in (subsets | recognition).items()}
    for name, rows in {"train": roles.train, **recognition}.items():
        tables[f"st/{name}"] = translated(rows, LANGUAGES), _TRANSLATED
        for language in LANGUAGES:
            tables[f"st/{language}/{name}"] = translated(rows, [language]), _TRANSLATED
    tables |= {f"st/clauses/{name}": (rows, _TRANSLATED) for name, rows in spoken_clauses.items()}
    for name, (rows, columns) in tables.items():
        up = "../" * name.count("/")
        write_manifest(out / f"{name}.tsv", ({**row, "audio": f"{up}games/{row['audio']}"} for row in rows), columns)
    return [out / f"{name}.tsv" for name in tables]


def _read_documents(games: Path, held_out: set[str], limit: int | None) -> tuple[dict[str, Documents], int]:
    """Return English documents to train on and to validate with, and how many training sentences were held out."""
    # No task here has a test set of glosses. The Bible's test chapters are those of the clauses.
    sources = {
        "wesnoth": {"train": ["train"], "valid": ["valid"]},
        "wordnet": {"train": ["train", "test"], "valid": ["dev"]},
        "bibles": {"train": ["web.train"], "valid": ["web.dev"]},
    }
    found: dict[str, Documents] = {"train": [], "valid": []}
    for name, splits in sources.items():
        for split, files in splits.items():
            documents = [each for file in files for each in read_documents(games / name / f"{file}.txt")]
            found[split] += documents[:limit]
    found["valid"] = found["valid"][:: max(1, len(found["valid"]) // VALID_DOCUMENTS)]
    kept_apart = held_out | {sentence for document in found["valid"] for sentence in document}
    train = [[each for each in document if each not in kept_apart] for document in found["train"]]
    repeated = sum(map(len, found["train"])) - sum(map(len, train))
    return {"train": [document for document in train if document], "valid": found["valid"]}, repeated


def _parallel_text(out: Path, roles: Roles, held_out: Set[str], limit: int | None) -> dict[str, dict[str, Pairs]]:
    """Return pairs of sentences to train on and to validate with, by folder below ``out``."""
    found = {}
    for language in LANGUAGES:
        valid = [(row["src_text"], row["tgt_text"]) for row in translated(roles.dev, [language])]
        found[f"st/mt/{language}"] = {"train": _read_pairs(out, language, roles.held_out, limit), "valid": valid}
    spoken = {name: _read_clauses(out / f"st/clauses/{name}.tsv") for name in ("train", "dev")}
    folder = out / "games" / CLAUSES
    # Without the files, every training clause is spoken.
    unspoken = _read_parallel(folder, *clauses.UNSPOKEN) if (folder / clauses.UNSPOKEN[0]).exists() else []
    unspoken = [pair for pair in unspoken if pair[0] not in held_out][:limit]
    found["st/clauses/mt"] = {"train": [*spoken["train"], *unspoken], "valid": spoken["dev"]}
    return found


def _read_clauses(manifest: Path) -> Pairs:
    return list(zip(texts(manifest, "src_text"), texts(manifest), strict=True))


def _read_pairs(out: Path, language: str, held_out: Set[str], limit: int | None) -> Pairs:
    """Return training pairs of sentences: Wesnoth's messages, and the lines of Steel Sky without sound."""
    messages = _read_parallel(out / "games/wesnoth", f"{language}.source", f"{language}.target")
    unspoken = _read_parallel(out / "games/steel_sky", "unspoken.en", f"unspoken.{language}")
    # Names are the same in all languages; some lines have no translation.
    pairs = [*messages, *((source, target) for source, target in unspoken if target and target != source)]
    return [pair for pair in dict.fromkeys(pairs) if pair[0] not in held_out][:limit]


def _read_parallel(folder: Path, *names: str) -> list[tuple[str, ...]]:
    return list(zip(*((folder / name).read_text(encoding="utf-8").splitlines() for name in names), strict=True))


def _write_pairs(folder: Path, vocabularies: Mapping[str, Path], splits: Mapping[str, Pairs]) -> dict[str, dict]:
    """Write pairs of sentences to ``folder``, each side with the vocabulary in its folder of ``vocabularies``."""
    counts = {}
    for name, pairs in splits.items():
        for place, side in enumerate(vocabularies):
            with atomic_write(folder / f"{name}.{side}") as file:
                file.writelines(f"{pair[place]}\n" for pair in pairs)
        done = binarize_sides(folder, name, vocabularies)
        counts[name] = {"rows": len(pairs), **sizes(done)}
    return counts


def _refuse_overlaps(out: Path, documents: Documents, pairs: Mapping[str, Mapping[str, Pairs]]) -> None:
    """Raise DataError if a sentence that is held out is in any training data that was written."""
    tests = {f"asr/{name}.tsv": texts(out / f"asr/{name}.tsv") for name in ("dev", "test")}
    translation = [f"{folder}/{name}.tsv" for folder in ("st", "st/clauses") for name in ("dev", "test")]
    tests |= {name: texts(out / name, "src_text") for name in translation}
    recognition = {f"asr/{path.name}": texts(path) for path in sorted((out / "asr").glob("train_*.tsv"))}
    paired = {name: texts(out / name) for name in ("pairs/train.tsv", "pairs/synthetic.tsv")}
    training = paired | recognition
    training |= {name: texts(out / name, "src_text") for name in ("st/train.tsv", "st/clauses/train.tsv")}
    training["text/train"] = [sentence for document in documents for sentence in document]
    training |= {f"{folder}/train.source": [pair[0] for pair in own["train"]] for folder, own in pairs.items()}
    refuse_shared_sentences(tests | {"pairs/valid.tsv": texts(out / "pairs/valid.tsv")}, training)
    refuse_shared_sentences(recognition, paired)
