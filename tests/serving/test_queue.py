"""One model for many requests: places, timeouts, requests whose client has gone."""

import asyncio
import json
import threading

import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")

from slam_plugin.hub import Slam
from slam_plugin.serving import app as serving
from slam_plugin.serving.app import Endpoint, build_app
from slam_plugin.serving.bounds import Bounds

NAMES = frozenset({"localhost"})


class Gate:
    """Replaces the model's work by waiting."""

    def __init__(self, monkeypatch, sounds):
        self.opened, self.begun, self.ended = threading.Event(), [], []
        monkeypatch.setitem(serving.ENDPOINTS, "picture", Endpoint(self.work))
        sound = open(sounds[0], "rb").read()
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        self.body = head + sound + b"\r\n--x--\r\n"

    def work(self, slam, waveform, form, stop):
        self.begun.append(1)
        try:
            while not self.opened.wait(0.01):
                stop.check()
        finally:
            self.ended.append(1)
        return {"done": True}


@pytest.fixture(scope="module")
def slam(ctc):
    return Slam.load(ctc.path)


@pytest.fixture
def gate(monkeypatch, sounds):
    return Gate(monkeypatch, sounds)


async def post(app, body, gone=None):
    """Status and JSON of a request. The client disconnects when ``gone`` is set; the body never ends if it is None."""
    messages = [{"type": "http.request", "body": body or b"--x\r\n", "more_body": body is None}]
    gone = gone or asyncio.Event()
    sent = []

    async def receive():
        if messages:
            return messages.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"multipart/form-data; boundary=x")]
    scope = {"type": "http", "method": "POST", "path": "/api/picture", "headers": headers, "query_string": b"",
             "scheme": "http", "server": ("localhost", 80), "root_path": "", "http_version": "1.1"}  # fmt: skip
    await app(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], json.loads(content or b"{}"), dict(sent[0]["headers"])


async def until(true):
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.005)


def test_the_queue_is_bounded_and_the_loop_stays_free(slam, gate):
    async def run():
        app = build_app(slam, Bounds(queue=2), NAMES)
        waiting = [asyncio.create_task(post(app, gate.body)) for _ in range(3)]
        await until(lambda: gate.begun)
        status, answer, headers = await post(app, gate.body)
        assert status == 503 and answer["error"] == "all 3 places are taken; try again later"
        assert headers[b"retry-after"] == b"5"
        assert len(gate.begun) == 1 and not gate.ended
        gate.opened.set()
        assert [status for status, *_ in await asyncio.gather(*waiting)] == [200] * 3
        assert (await post(app, gate.body))[0] == 200

    asyncio.run(run())


def test_a_client_that_goes_frees_its_place(slam, gate):
    """Whether its request is computed, waits, or is still received."""

    async def run():
        app = build_app(slam, Bounds(queue=2), NAMES)
        gone = [asyncio.Event() for _ in range(3)]
        bodies = [gate.body, gate.body, None]
        tasks = [asyncio.create_task(post(app, body, each)) for body, each in zip(bodies, gone, strict=True)]
        await until(lambda: gate.begun)
        await asyncio.sleep(0.05)
        assert (await post(app, gate.body))[0] == 503
        for each in reversed(gone):
            each.set()
        await asyncio.gather(*tasks)
        await until(lambda: gate.ended)
        assert len(gate.begun) == 1, "the one that waited never began"
        gate.opened.set()
        assert (await post(app, gate.body))[:2] == (200, {"done": True})

    asyncio.run(run())


def test_a_request_has_limited_time(slam, gate):
    """Its computation or its upload takes too long."""

    async def run():
        app = build_app(slam, Bounds(queue=1, timeout=0.2), NAMES)
        for body in (gate.body, None):
            status, answer, _ = await post(app, body)
            assert (status, answer["error"]) == (503, "there was no result after 0.2 s")
        await until(lambda: len(gate.ended) == len(gate.begun) == 1)

    asyncio.run(run())
