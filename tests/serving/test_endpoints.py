"""What the server answers: the same as the Python API, and an error for each file that is no recording."""

import base64
import io
import re
import struct
import sys

import numpy as np
import pytest
import soundfile
import torch

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("httpx2", reason="starlette's test client needs it")
from starlette.testclient import TestClient

from slam_plugin.data.audio import log_mel, read_audio
from slam_plugin.data.errors import DataError
from slam_plugin.hub import Slam
from slam_plugin.serving.app import build_app
from slam_plugin.serving.bounds import MAX_CHARACTERS, MAX_SENTENCES, Bounds

ADDRESS = "http://127.0.0.1:8000"
NAMES = frozenset({"localhost"})
BOUNDS = Bounds(max_bytes=1 << 20, max_seconds=5.0)


def serving(slam, bounds=BOUNDS):
    return TestClient(build_app(slam, bounds, NAMES), base_url=ADDRESS, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def recognizer(ctc):
    return Slam.load(ctc.path)


@pytest.fixture(scope="module")
def encoder(pretraining):
    return Slam.load(pretraining.path)


@pytest.fixture
def client(recognizer):
    with serving(recognizer) as client:
        yield client


def post(client, name, data, **fields):
    return client.post(f"/api/{name}", files={"file": ("sound", data)}, data=fields)


def sound(samples, rate=16000, kind="WAV", subtype=None):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def noise(seconds=1.0, channels=1, rate=16000):
    samples = np.random.default_rng(0).standard_normal((int(seconds * rate), channels))
    return 0.05 * samples


# ---- results


def test_a_transcript_is_that_of_the_python_interface(client, recognizer, sounds):
    for path in sounds[:2]:
        answer = post(client, "transcribe", open(path, "rb").read())
        assert answer.status_code == 200
        assert answer.json() == {"ability": "transcribe", **recognizer.recordings(path).record()}
        assert answer.json()["segments"][0]["words"]
    wide = post(client, "transcribe", open(sounds[1], "rb").read(), beam="4")
    assert wide.json()["text"] == recognizer.transcribe(sounds[1], beam=4)


def test_a_translation_into_the_language_asked_for(joint, sounds):
    slam = Slam.load(joint.path)
    data = open(sounds[1], "rb").read()
    with serving(slam) as client:
        for language in ("de", "ca"):
            answer = post(client, "translate", data, target=language)
            assert answer.json()["text"] == slam.translate(sounds[1], target=language)
        answer = post(client, "translate", data, target="xx")
        assert answer.status_code == 400 and "expected one of de, ca" in answer.json()["error"]


def test_similarities_are_cosines_of_mean_states(encoder, sounds):
    sentences = ["ahoj ryby", "lod jede"]
    with serving(encoder) as client:
        answer = post(client, "similarity", open(sounds[1], "rb").read(), sentence=sentences).json()
    assert answer["sentences"] == sentences and len(answer["layers"]) == 3
    for layer, values in enumerate(answer["layers"]):
        speech = encoder.encode(speech=sounds[1], layer=layer).double().mean(0)
        for sentence, value in zip(sentences, values, strict=True):
            text = encoder.encode(text=sentence, layer=layer).double().mean(0)
            cosine = (speech @ text) / (speech @ speech).sqrt() / (text @ text).sqrt()
            assert value == pytest.approx(cosine.item(), abs=2e-4)


def test_attention_is_the_mean_over_heads(encoder, sounds):
    with serving(encoder) as client:
        answer = post(client, "attention", open(sounds[1], "rb").read(), sentence="lod").json()
    expected = encoder.attention(speech=sounds[1], text="lod")
    assert answer["pieces"] == expected.pieces and answer["seconds"] == expected.seconds
    torch.testing.assert_close(torch.tensor(answer["layers"]), expected.weights.mean(1), rtol=0, atol=1e-4)


def test_the_picture_keeps_the_order_of_energies(client, sounds):
    answer = post(client, "picture", open(sounds[1], "rb").read()).json()
    expected = log_mel(read_audio(sounds[1])).numpy()
    found = np.frombuffer(base64.b64decode(answer["pixels"]), np.uint8).reshape(answer["columns"], answer["bins"])
    assert found.shape == expected.shape and answer["seconds_per_column"] == 0.01
    inside = (found > 0) & (found < 255)
    assert inside.mean() > 0.5
    slope, offset = np.polyfit(expected[inside], found[inside], 1)
    assert slope > 0 and np.abs(slope * expected[inside] + offset - found[inside]).max() < 1


def test_the_sound_is_what_the_model_reads(client):
    samples = noise(0.5, channels=2, rate=44100)
    answer = post(client, "sound", sound(samples, 44100, "FLAC"))
    found, rate = soundfile.read(io.BytesIO(answer.content))
    assert answer.headers["content-type"] == "audio/wav" and rate == 16000
    np.testing.assert_allclose(found, read_audio(sound(samples, 44100, "FLAC")).numpy(), atol=2 / 32768)


def test_a_recording_without_words(client, recognizer, monkeypatch):
    monkeypatch.setattr(type(recognizer.vocabulary), "decode", lambda self, tokens: "")
    answer = post(client, "transcribe", sound(noise()))
    assert answer.json() == {"ability": "transcribe", "duration": 1.0, "text": "", "segments": []}


# ---- the page


def test_the_page_says_what_the_model_is_and_loads_nothing_from_elsewhere(client, recognizer):
    page = client.get("/")
    assert page.status_code == 200 and str(recognizer).split("\n")[2].strip() in page.text
    assert re.findall(r'data-abilities="([^"]*)"', page.text) == ["transcribe"]
    paths, loaded = ["/"], {}
    while paths:
        path = paths.pop()
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        loaded[path] = answer.text
        named = re.findall(r'(?:src|href)="(/[^"]*)"|from "([^"]*)"|addModule\("([^"]*)"', answer.text)
        paths += {"".join(names) for names in named} - loaded.keys()
    assert loaded.keys() == {"/", *(f"/{name}.js" for name in ("page", "results", "drawing", "recorder", "capture")),
                             "/page.css"}  # fmt: skip
    for path, text in loaded.items():
        addresses = set(re.findall(r"https?://[^\s/<\"']+", text))
        assert addresses <= {"http://127.0.0.1:8000"}, path
        assert "url(" not in text and "@import" not in text


def test_what_the_model_is_as_json(encoder):
    with serving(encoder) as client:
        answer = client.get("/api/model").json()
    assert answer["abilities"] == ["similarity", "attention"] and answer["print"] == repr(encoder)


def test_a_model_without_speech_is_not_served(normalizer):
    with pytest.raises(DataError, match="reads text alone, expected one that reads speech"):
        build_app(Slam.load(normalizer.path), BOUNDS, NAMES)


def test_what_the_model_cannot_do(client):
    for name in ("translate", "similarity", "attention"):
        answer = post(client, name, sound(noise()))
        assert answer.status_code == 400 and answer.json()["error"].startswith("this checkpoint transcribes and")
    assert client.get("/api/other").status_code == 404 and "Not Found" in client.get("/api/other").json()["error"]
    assert client.get("/api/transcribe").status_code == 405


# ---- files that are no recordings


def promising(data, samples):
    """A FLAC file whose header promises other samples."""
    changed = bytearray(data)
    changed[21:26] = bytes([changed[21] & 0xF0 | samples >> 32]) + struct.pack(">I", samples & 0xFFFFFFFF)
    return bytes(changed)


def array():
    file = io.BytesIO()
    np.save(file, np.zeros((100, 80), np.float32))
    return file.getvalue()


HOSTILE = {
    "empty": (lambda: b"", 400, "the file is empty"),
    "text": (lambda: b"id\taudio\n" * 100, 415, "cannot be decoded"),
    "playlist": (lambda: b"#EXTM3U\nfile:///etc/passwd\n" * 9, 415, "cannot be decoded"),
    "concatenation": (lambda: b"ffconcat version 1.0\nfile '/etc/passwd'\n" * 9, 415, "cannot be decoded"),
    "array": (array, 415, "cannot be decoded"),
    "cut short": (lambda: sound(noise(), kind="FLAC")[:9000], 415, "the file: "),
    "silence at a high rate": (lambda: sound(np.zeros(96000 * 20), 96000, "FLAC"), 413, "longer than 5 s"),
    "hours of silence": (lambda: sound(np.zeros(16000 * 600), kind="FLAC"), 413, "longer than 5 s"),
    "no numbers": (lambda: sound(np.full(16000, np.nan), subtype="FLOAT"), 415, "no number"),
    "infinite": (lambda: sound(np.full(16000, np.inf), subtype="FLOAT"), 415, "infinite"),
    "100 channels": (lambda: sound(noise(0.1, 100)), 415, "100 channels, expected at most 32"),
    "no samples": (lambda: sound(np.zeros(0)), 415, "holds no samples"),
    "a click": (lambda: sound(noise(0.01)), 400, "less than one window"),
    "large": (lambda: bytes((1 << 20) + 1), 413, "more than 1,048,576 bytes"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(client, name):
    make, status, message = HOSTILE[name]
    for endpoint in ("transcribe", "picture"):
        answer = post(client, endpoint, make())
        assert answer.status_code == status and message in answer.json()["error"], answer.text
    assert client.get("/api/model").status_code == 200


def test_a_header_that_promises_hours(client):
    """It is not believed: the sound that is there is transcribed."""
    data = sound(noise(), kind="FLAC")
    changed = promising(data, (1 << 36) - 1)
    assert changed != data
    answers = [post(client, "transcribe", each).json() for each in (data, changed)]
    assert answers[0] == answers[1] and answers[1]["duration"] == 1.0


def test_a_container_without_its_reader(client, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    answer = post(client, "transcribe", b"\x1aE\xdf\xa3" + bytes(1000))
    assert answer.status_code == 415 and "the extra [av]" in answer.json()["error"]


def test_recordings_that_are_too_long_to_compare(encoder):
    with serving(encoder, Bounds(max_seconds=100.0)) as client:
        answer = post(client, "similarity", sound(noise(31), kind="FLAC"), sentence="lod")
    assert answer.status_code == 413 and "31.0 s, expected at most 30 s" in answer.json()["error"]


# ---- forms


def test_forms_that_are_wrong(client):
    data = sound(noise(0.3))
    multipart = {"content-type": "multipart/form-data; boundary=x"}

    def send(content, headers):
        return client.post("/api/transcribe", content=content, headers=headers)

    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    cases = [
        (send(b"{}", {"content-type": "application/json"}), 415, "expected multipart/form-data"),
        (send(data, {}), 415, "content type: found 'none'"),
        (send(b"x", {"content-type": "multipart/form-data"}), 400, "boundary"),
        (send(b"nothing of the kind", multipart), 400, "form: "),
        (send(head + data, multipart), 400, "file: found none"),  # without its end
        (client.post("/api/transcribe", files={"sound": data}), 400, "found the field 'sound'"),
        (client.post("/api/transcribe", files={"target": data}), 400, "target: expected text"),
        (client.post("/api/transcribe", data={"file": "talk.wav"}, files={"beam": b"1"}), 400, "expected a file"),
        (client.post("/api/transcribe", files=[("file", data), ("file", data)]), 400, "Too many files"),
        (post(client, "transcribe", data, beam="0"), 400, "beam: found '0'"),
        (post(client, "transcribe", data, beam="1e9"), 400, "beam: found '1e9'"),
        (post(client, "transcribe", data, sentence=["a"] * (MAX_SENTENCES + 1)), 400, f"more than {MAX_SENTENCES}"),
        (post(client, "transcribe", data, sentence="a" * (MAX_CHARACTERS + 1)), 400, f"more than {MAX_CHARACTERS}"),
        (post(client, "transcribe", data, sentence="a" * 9 * MAX_CHARACTERS), 400, "form: "),
    ]
    for answer, status, message in cases:
        assert answer.status_code == status and message in answer.json()["error"], (message, answer.text)
    assert post(client, "transcribe", data).status_code == 200


def test_sentences_that_are_wrong(encoder):
    data = sound(noise(0.3))
    with serving(encoder) as client:
        for name, fields, message in (
            ("similarity", {}, "sentence: found 0, expected 1 to 20"),
            ("attention", {"sentence": ["a", "b"]}, "sentence: found 2, expected 1"),
            ("similarity", {"sentence": ["lod", "東京"]}, "knows no piece of '東京'"),
            ("similarity", {"sentence": " "}, "empty text"),
        ):
            answer = post(client, name, data, **fields)
            assert answer.status_code == 400 and message in answer.json()["error"], answer.text


def test_bodies_whose_size_is_not_promised(client):
    answer = client.post(
        "/api/transcribe",
        content=(bytes(1 << 18) for _ in range(5)),
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
    assert answer.status_code in (400, 413) and answer.json()["error"]


# ---- other sites


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "", "127.0.0.1.evil.example", "localhost.evil"])
def test_names_that_are_not_of_this_machine(client, host):
    """DNS rebinding: a site's own name that now resolves to this machine."""
    for answer in (client.get("/", headers={"host": host}), client.get("/api/model", headers={"host": host})):
        assert answer.status_code == 400 and answer.json()["error"].startswith("host: found")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "[::1]:8000", "192.168.0.7:80", "127.0.0.1"])
def test_names_of_this_machine(client, host):
    assert client.get("/api/model", headers={"host": host}).status_code == 200


def test_pages_of_other_sites_may_not_post(client):
    data = sound(noise(0.3))

    def send(origin):
        return client.post("/api/transcribe", files={"file": data}, headers={"origin": origin})

    for origin in ("http://evil.example", "null", "http://127.0.0.1:9000", "https://127.0.0.1:8000"):
        answer = send(origin)
        assert answer.status_code == 403 and "origin: found" in answer.json()["error"]
    assert send(ADDRESS).status_code == 200


def test_a_fault_of_the_server_is_an_answer_too(client, recognizer, monkeypatch):
    monkeypatch.setattr(type(recognizer.model), "forward", lambda *_, **__: 1 / 0)
    answer = post(client, "transcribe", sound(noise()))
    assert answer.status_code == 500 and "ZeroDivisionError" in answer.json()["error"]
    monkeypatch.undo()
    assert post(client, "transcribe", sound(noise())).status_code == 200
