"""The command: a server in a process of its own, the commands of its document, and how it ends."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from slam_plugin.commands import cli, serve
from slam_plugin.hub import Slam
from tests.support.documents import ROOT, commands, read

DOCUMENT = "docs/serve.md"
PATIENCE = 300


class Server:
    """A running ``slam serve``."""

    def __init__(self, checkpoint, *flags):
        command = [sys.executable, "-m", "slam_plugin.commands.cli", "serve", str(checkpoint), "--port", "0", *flags]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.line = self.process.stdout.readline()
        assert self.line, self.process.stderr.read()
        self.address = self.line.split()[0]
        self.port = int(self.address.rpartition(":")[2])

    def stop(self):
        """Press Ctrl-C. Return the exit code and standard error."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE), self.process.stderr.read()


@pytest.fixture(scope="module")
def server(ctc):
    server = Server(ctc.path, "--device", "cpu")
    yield server
    server.process.kill()
    server.process.wait()


def test_the_start_line(server, ctc):
    assert re.fullmatch(rf"http://127\.0\.0\.1:\d+  {ctc.path} transcribes and encodes; Ctrl-C stops\n", server.line)


def test_the_documented_commands(server, ctc, sounds, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    shutil.copy(sounds[1], tmp_path / "talk.wav")
    found = [command.words for command in commands(read(DOCUMENT)) if command.words[0] == "curl"]
    answers = []
    for words in found:
        here = [word.replace("http://127.0.0.1:8000", server.address) for word in words]
        done = subprocess.run([here[0], "-sS", *here[1:]], cwd=tmp_path, capture_output=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        answers.append(json.loads(done.stdout))
    slam = Slam.load(ctc.path)
    assert answers[0] == {"ability": "transcribe", **slam.recordings(sounds[1]).record()}
    assert answers[1]["print"] == repr(slam)


def exchange(port, request):
    """What the server answers to the bytes of a request: status, and JSON if it is that."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer or not answer.endswith((b"}", b".")):
            received = connection.recv(1 << 16)
            if not received:
                break
            answer += received
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body) if body.startswith(b"{") else None


def test_lies_about_the_size(server):
    """The server answers before a body arrives, and lives."""
    head = "POST /api/transcribe HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    for length in (10**12, 10**30):
        status, answer = exchange(server.port, f"{head}Content-Length: {length}\r\n\r\n--x".encode())
        assert status in (400, 413) and (answer is None or "more than" in answer["error"])
    status, _ = exchange(server.port, f"{head}Content-Length: -1\r\n\r\n".encode())
    assert status == 400
    chunked = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + b"3\r\n--x\r\n0\r\n\r\n"
    status, answer = exchange(server.port, chunked)
    assert status == 400 and answer["error"].startswith(("form: ", "file: "))
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(f"{head}Content-Length: 1000\r\n\r\n--x".encode())  # and is gone
    status, answer = exchange(server.port, b"GET /api/model HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert status == 200 and answer["abilities"] == ["transcribe"]


def test_an_address_that_is_taken(server, ctc, capsys):
    assert cli.main(["serve", str(ctc.path), "--port", str(server.port)]) == 1
    assert f"slam serve: 127.0.0.1:{server.port}: cannot listen there (" in capsys.readouterr().err


def test_a_missing_package(ctc, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert cli.main(["serve", str(ctc.path)]) == 1
    message = "slam serve: the page needs uvicorn: pip install 'uvicorn>=0.40' (the extra [serve])\n"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("host", "warns"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_a_warning_for_other_machines(ctc, capsys, monkeypatch, host, warns):
    monkeypatch.setattr(serve, "_serve", lambda app, listener: None)
    assert cli.main(["serve", str(ctc.path), "--host", host, "--port", "0"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"http://{host}:")
    assert ("warning: 0.0.0.0 is reached from other machines" in captured.err) == warns


def test_help_does_without_torch():
    script = (
        "import sys\nfrom slam_plugin.commands.cli import main\ntry:\n    main(['serve', '--help'])\n"
        "finally:\n    assert not {'torch', 'fairseq', 'starlette', 'uvicorn'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "--max-seconds" in done.stdout, done.stderr


def test_the_pages_are_part_of_the_package():
    names = {path.name for path in (Path(serve.__file__).parents[1] / "serving" / "pages").iterdir()}
    assert '"slam_plugin.serving": ["pages/*"]' in read("setup.py") and "page.html.j2" in names


def test_ctrl_c_ends_it(server):
    """After the other tests: with an open connection."""
    with socket.create_connection(("127.0.0.1", server.port)):
        code, errors = server.stop()
    assert code == 0 and errors.endswith("slam serve: stopped\n") and "Traceback" not in errors
