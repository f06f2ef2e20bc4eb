"""The transformers side of the example: a recognizer to import, and the pipeline on what was exported.

    SIDE="python -m examples.slam.w2v_bert_2.transformers_side"
    $SIDE train DATA --minutes 10 --updates 800 --out theirs
    $SIDE transcribe DATA --manifest asr/test.tsv --model theirs --out theirs.txt

DATA is a folder of ``slam prepare english``. The plugin reads manifests and sound here, and nothing else.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from slam_plugin.data.audio import read_audio
from slam_plugin.data.constants import MEL_BINS, SAMPLE_RATE
from slam_plugin.data.errors import DataError
from slam_plugin.data.files import atomic_write
from slam_plugin.data.locations import parse_location, read_bytes
from slam_plugin.data.manifests.manifest import Manifest

# A stand-in for the published model of 24 layers and 1,024 channels.
SIZES = {
    "hidden_size": 96,
    "num_attention_heads": 4,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "conv_depthwise_kernel_size": 31,
}
BLANK, UNKNOWN, DELIMITER = "<pad>", "<unk>", "|"
BATCH = 4
RATE = 0.003
REPORTED = 20  # updates


class Utterance(NamedTuple):
    """A waveform (samples,) at 16 kHz with its id in the manifest and its transcript."""

    id: str
    waveform: np.ndarray
    text: str


def utterances(data: Path, manifest: str) -> list[Utterance]:
    """Return the utterances of a manifest of recognition, with the sound that its features were made from.

    Raises :class:`DataError` if no corpus in ``data/games`` has an utterance's sound.
    """
    places = {}
    for path in sorted(data.glob("games/*/*.tsv")):
        if path.stem in ("train", "dev", "test"):
            corpus = Manifest.open(path)
            places |= {row["id"]: (row["audio"], path.parent) for row in map(corpus.row, range(len(corpus)))}
    rows = Manifest.open(data / manifest)
    found = []
    for row in map(rows.row, range(len(rows))):
        if row["id"] not in places:
            raise DataError(
                f"{data / 'games'}: found no sound of {row['id']}, expected a folder made by slam prepare english"
            )
        sound = read_audio(read_bytes(parse_location(*places[row["id"]])))
        found.append(Utterance(row["id"], sound.numpy(), row["tgt_text"]))
    return found


def train(folder: Path, read: Sequence[Utterance], updates: int, seed: int) -> None:
    """Train a random ``Wav2Vec2BertForCTC`` on letters, and save it with its processor."""
    import torch
    import transformers

    transformers.set_seed(seed)
    processor = _processor(folder, read)
    sizes = {**SIZES, "vocab_size": len(processor.tokenizer), "pad_token_id": processor.tokenizer.pad_token_id}
    # Short utterances are shorter than its masks of time.
    settings = {"apply_spec_augment": False, "layerdrop": 0.0, "ctc_loss_reduction": "mean", "ctc_zero_infinity": True}
    model = transformers.Wav2Vec2BertForCTC(transformers.Wav2Vec2BertConfig(**sizes, **settings)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, max(1, updates // 10), updates)
    features = [_features(processor, utterance) for utterance in read]
    labels = [processor.tokenizer(utterance.text).input_ids for utterance in read]
    batches, losses = _batches(features, seed), []
    for update in range(1, updates + 1):
        rows = next(batches)
        inputs = processor.feature_extractor.pad(
            {"input_features": [features[row] for row in rows]}, return_tensors="pt"
        )
        padded = processor.tokenizer.pad({"input_ids": [labels[row] for row in rows]}, return_tensors="pt")
        targets = padded["input_ids"].masked_fill(padded["attention_mask"] == 0, -100)
        loss = model(**inputs, labels=targets).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if update % REPORTED == 0 or update == updates:
            print(f"{update}/{updates} updates, loss {np.mean(losses):.3f}", flush=True)
            losses.clear()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _processor(folder: Path, read: Sequence[Utterance]) -> Any:
    """Return a processor whose tokens are the letters of the transcripts."""
    import transformers

    letters = sorted({letter for utterance in read for letter in utterance.text} - {" "})
    names = [BLANK, UNKNOWN, DELIMITER, *letters]
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "vocab.json") as file:
        json.dump({name: number for number, name in enumerate(names)}, file, ensure_ascii=False)
    tokenizer = transformers.Wav2Vec2CTCTokenizer(
        str(folder / "vocab.json"),
        pad_token=BLANK,
        unk_token=UNKNOWN,
        word_delimiter_token=DELIMITER,
        bos_token=None,
        eos_token=None,
    )
    extractor = transformers.SeamlessM4TFeatureExtractor(feature_size=MEL_BINS, num_mel_bins=MEL_BINS, stride=2)
    return transformers.Wav2Vec2BertProcessor(feature_extractor=extractor, tokenizer=tokenizer)


def _features(processor: Any, utterance: Utterance) -> np.ndarray:
    """Return normalized features (states, 160)."""
    return processor(utterance.waveform, sampling_rate=SAMPLE_RATE)["input_features"][0]


def _batches(features: Sequence[np.ndarray], seed: int) -> Iterator[list[int]]:
    """Yield rows of similar length without end, in a new order each epoch."""
    random = np.random.default_rng(seed)
    order = sorted(range(len(features)), key=lambda row: len(features[row]))
    groups = [order[first : first + BATCH] for first in range(0, len(order), BATCH)]
    while True:
        random.shuffle(groups)
        yield from groups


def transcribe(model: Path, read: Sequence[Utterance]) -> list[str]:
    """Return what the recognition pipeline of transformers writes, an utterance at a time."""
    import transformers

    recognizer = transformers.pipeline("automatic-speech-recognition", str(model), device="cpu")
    texts = []
    for number, utterance in enumerate(read, start=1):
        texts.append(recognizer({"raw": utterance.waveform, "sampling_rate": SAMPLE_RATE})["text"])
        if number % REPORTED == 0 or number == len(read):
            print(f"{number}/{len(read)} utterances", flush=True)
    return texts


def write(out: Path, read: Sequence[Utterance], texts: Sequence[str]) -> None:
    """Write references and texts as fairseq-generate does, so that ``slam score`` reads them. No score is known."""
    with atomic_write(out) as file:
        for number, (utterance, text) in enumerate(zip(read, texts, strict=True)):
            file.write(f"T-{number}\t{utterance.text}\nD-{number}\t0.0\t{text}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train a model, or transcribe with one."""
    parser = argparse.ArgumentParser(prog=f"python -m {__spec__.name}", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="train a small recognizer from random weights")
    training.add_argument("--minutes", type=int, choices=(10, 30, 100), default=10, help="of transcripts (%(default)s)")
    training.add_argument("--updates", type=int, required=True, help="updates of the training")
    training.add_argument("--seed", type=int, default=1, help="of weights and batches (%(default)s)")
    training.add_argument("--out", type=Path, required=True, help="folder to write")
    writing = commands.add_parser("transcribe", help="transcribe a manifest with the pipeline of transformers")
    writing.add_argument("--manifest", required=True, help="manifest in DATA, such as asr/test.tsv")
    writing.add_argument("--model", type=Path, required=True, help="folder of a model")
    writing.add_argument("--out", type=Path, required=True, help="file to write, which slam score reads")
    for command in (training, writing):
        command.add_argument("data", type=Path, metavar="DATA", help="folder of slam prepare english")
    options = parser.parse_args(arguments)
    if options.command == "train":
        train(options.out, utterances(options.data, f"asr/train_{options.minutes}.tsv"), options.updates, options.seed)
        return 0
    read = utterances(options.data, options.manifest)
    write(options.out, read, transcribe(options.model, read))
    return 0


if __name__ == "__main__":
    sys.exit(main())
