"""The page in a headless Chromium: a file, the microphone, an error, an empty result, a comparison."""

import json
import socket
import threading

import numpy as np
import pytest
import soundfile

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")
import uvicorn

from slam_plugin.hub import Slam
from slam_plugin.serving import app
from slam_plugin.serving.bounds import Bounds
from slam_plugin.serving.sound import decode
from tests.support.chromium import PROGRAM, Chromium

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium")
ENDED = "['done', 'error'].includes(document.body.dataset.state)"
STATE = "document.body.dataset.state"


@pytest.fixture(scope="module")
def addresses(ctc, pretraining):
    """The addresses of a recognizer and of a pre-trained encoder, each with its model."""
    servers, found = [], {}
    for name, saved in {"recognizer": ctc, "encoder": pretraining}.items():
        slam = Slam.load(saved.path)
        listener = socket.create_server(("127.0.0.1", 0))
        served = app.build_app(slam, Bounds(max_seconds=20.0), frozenset({"localhost"}))
        server = uvicorn.Server(uvicorn.Config(served, log_config=None, access_log=False, ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        servers.append((server, thread, listener))
        found[name] = f"http://127.0.0.1:{listener.getsockname()[1]}", slam
    yield found
    for server, thread, listener in servers:
        server.should_exit = True
        thread.join(30)
        listener.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser whose microphone hears a loud tone."""
    folder = tmp_path_factory.mktemp("browser")
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(48000 * 4) / 48000)
    soundfile.write(folder / "tone.wav", tone, 48000, subtype="PCM_16")
    with Chromium(folder, microphone=folder / "tone.wav") as browser:
        yield browser


def text_of(browser, selector):
    return browser.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")


def is_hidden(browser, identifier):
    return browser.evaluate(f"document.getElementById('{identifier}').hidden")


def test_a_file_and_its_words(browser, addresses, sounds):
    address, slam = addresses["recognizer"]
    browser.open(address)
    assert browser.evaluate(STATE) == "idle" and is_hidden(browser, "sound")
    browser.choose("#file", sounds[1])
    browser.wait_for(ENDED)
    assert browser.evaluate(STATE) == "done", text_of(browser, "#error")
    words = [word for segment in slam.recordings(sounds[1]).segments for word in segment.words]
    shown = browser.evaluate("[...document.querySelectorAll('button.word')].map((one) => one.textContent)")
    assert shown == [word.text for word in words] and shown
    assert browser.evaluate("document.querySelector('#player').src").startswith("blob:")
    # As many colors as a picture of noise has.
    drawn = (
        "(() => { const canvas = document.getElementById('picture'); const data = canvas.getContext('2d')"
        ".getImageData(0, 0, canvas.width, canvas.height).data; const found = new Set();"
        " for (let i = 0; i < data.length; i += 4) found.add(data[i] * 65536 + data[i + 1] * 256 + data[i + 2]);"
        " return found.size; })()"
    )
    assert browser.evaluate(drawn) > 50
    browser.evaluate("document.querySelectorAll('button.word').item(0).click()")
    browser.wait_for("document.querySelector('button.word.active') !== null")
    assert not browser.messages


def test_a_file_that_is_no_sound_and_then_one_that_is(browser, addresses, sounds, tmp_path):
    browser.open(addresses["recognizer"][0])
    (tmp_path / "<b>notes.txt").write_text("no sound\n" * 100)
    browser.choose("#file", tmp_path / "<b>notes.txt")
    browser.wait_for(ENDED)
    assert browser.evaluate(STATE) == "error" and not is_hidden(browser, "error")
    assert text_of(browser, "#error").startswith("The file: cannot be decoded as WAV")
    assert is_hidden(browser, "sound")
    browser.choose("#file", sounds[0])
    browser.wait_for(ENDED)
    assert browser.evaluate(STATE) == "done" and is_hidden(browser, "error")


def test_the_microphone(browser, addresses, monkeypatch):
    decoded = []
    monkeypatch.setattr(app, "decode", lambda *arguments: decoded.append(decode(*arguments)) or decoded[-1])
    browser.open(addresses["recognizer"][0])
    browser.evaluate("document.getElementById('record').click()")
    browser.wait_for(f"{STATE} === 'recording' && /, [1-9]/.test(document.getElementById('status').textContent)")
    assert browser.evaluate("document.getElementById('record').getAttribute('aria-pressed')") == "true"
    assert text_of(browser, "#record-label") == "Stop"
    browser.evaluate("document.getElementById('record').click()")
    browser.wait_for(ENDED)
    assert browser.evaluate(STATE) == "done", text_of(browser, "#error")
    assert browser.evaluate("document.getElementById('player').duration") > 0.9
    waveform = decoded[-1].numpy()
    assert 0.1 < np.abs(waveform).max() < 1.0, "neither silence nor clipped"
    spectrum = np.abs(np.fft.rfft(waveform))
    assert spectrum.argmax() * 16000 / len(waveform) == pytest.approx(440, rel=0.01)


def test_a_recording_without_words(browser, addresses, sounds, monkeypatch):
    address, slam = addresses["recognizer"]
    monkeypatch.setattr(type(slam.vocabulary), "decode", lambda self, tokens: "")
    browser.open(address)
    browser.choose("#file", sounds[1])
    browser.wait_for(ENDED)
    assert "found no words" in text_of(browser, "#results") and browser.evaluate(STATE) == "done"


def test_sentences_beside_a_recording(browser, addresses, sounds):
    address, slam = addresses["encoder"]
    browser.open(address)
    assert is_hidden(browser, "compare")
    browser.choose("#file", sounds[1])
    browser.wait_for(ENDED)
    assert not is_hidden(browser, "compare")
    browser.evaluate("document.getElementById('sentences').value = 'ahoj ryby\\n\\n lod jede \\n<b>kapitan</b>'")
    browser.evaluate("document.querySelector('#compare-form button').click()")
    browser.wait_for("document.querySelector('.similar') !== null")
    rows = browser.evaluate(
        "[...document.querySelectorAll('.similar tr')].map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    assert {row[0] for row in rows} == {"ahoj ryby", "lod jede", "<b>kapitan</b>"}
    values = [float(row[2]) for row in rows]
    assert values == sorted(values, reverse=True)
    browser.wait_for(f"{STATE} === 'done'")
    browser.evaluate("document.querySelector('.show button').click()")
    browser.wait_for("!document.getElementById('attention').hidden")
    assert browser.evaluate("document.getElementById('attention-picture').height") > 0


def test_the_page_fits_a_phone_and_names_its_controls(browser, addresses, sounds):
    browser.show(360, 740, "dark")
    browser.open(addresses["encoder"][0])
    browser.choose("#file", sounds[1])
    browser.wait_for(ENDED)
    assert browser.evaluate("document.documentElement.scrollWidth") <= 360
    nameless = browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "textbox", "combobox", "img", "link"}
    nameless = [node for node in nameless if node.get("role", {}).get("value") in roles and not node.get("ignored")
                and not node.get("name", {}).get("value")]  # fmt: skip
    assert not nameless
