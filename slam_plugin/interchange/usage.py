"""Code for the cards of exported graphs: how a person runs them. It needs no part of this project."""

_LOAD = {
    "onnx": """
import onnxruntime
import soundfile


def load(name):
    session = onnxruntime.InferenceSession(f"FOLDER/{name}.onnx")
    names = [value.name for value in session.get_inputs()]
    return lambda *inputs: session.run(None, dict(zip(names, inputs)))
""",
    "torch": """
import soundfile
import torch


def load(name):
    program = torch.export.load(f"FOLDER/{name}.pt2").module()
    return lambda *inputs: [output.detach().numpy() for output in program(*map(torch.from_numpy, inputs))]
""",
}
_BEGIN = """import json

import numpy as np"""
_INPUT = """

about = json.load(open("FOLDER/model.json", encoding="utf-8"))
waveform, rate = soundfile.read("clip.wav", dtype="float32")  # mono, at about["sample_rate"]
sound = waveform[None], np.array([len(waveform)])
"""
_RUN = {
    "encoder": """
states, lengths = load("encoder")(*sound)  # (1, states, channels)
""",
    "recognizer": """
logits, lengths = load("model")(*sound)
logits[:, :, about["never"]] = -np.inf
best = logits[0, : lengths[0]].argmax(axis=1)
begins = (best != about["blank"]) & (np.diff(best, prepend=-1) != 0)
text = "".join(about["vocabulary"][symbol] for symbol in best[begins])
print(text.replace(about["word_delimiter"], " ").strip())
""",
    "translator": """
encoder, step = load("encoder"), load("decoder_step")
cross_keys, cross_values, lengths = encoder(*sound)
layers, _, heads, _, channels = cross_keys.shape
keys = values = np.zeros((layers, 1, 1, heads, 0, channels), np.float32)
tokens = [about["start"]]  # of a model that writes several languages: about["languages"]["de"]
while tokens[1:][-1:] != [about["end"]] and len(tokens) <= about["max_tokens"]:
    logits, keys, values = step(np.array([tokens[-1:]]), keys, values, cross_keys, cross_values, lengths)
    logits[:, :, about["never"]] = -np.inf
    if len(tokens) == 1:
        logits[:, :, about["end"]] = -np.inf  # no text is empty
    tokens.append(int(logits.argmax()))
text = "".join(about["vocabulary"][symbol] for symbol in tokens[1:] if symbol != about["end"])
print(text.replace(about["word_delimiter"], " ").strip())
""",
}


def usage(kind: str, to: str) -> str:
    """Return Python code that runs an export on a sound file: greedy search for models that write text.

    Args:
        kind: "recognizer", "translator" or "encoder"; to: "onnx" or "torch".
    """
    return _BEGIN + _LOAD[to] + _INPUT + _RUN[kind]
