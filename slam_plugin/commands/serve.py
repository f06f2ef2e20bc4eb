"""Show a page on this machine that transcribes or translates what you say or drop on it.

    slam serve checkpoint_best.pt

Open the address that it prints. The page records from the microphone or takes a sound file, and shows the waveform, the
log-mel features and the text with the times of its words. For a pre-trained encoder it compares speech with sentences.
``POST /api/transcribe`` and others answer with JSON. Ctrl-C stops it.
"""

# Heavy imports are inside functions, so that a wrong argument is reported at once.

import argparse
import contextlib
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from slam_plugin.commands.inputs import add_device
from slam_plugin.data.extras import require_packages
from slam_plugin.program import Program, ProgramError, positive
from slam_plugin.serving.bounds import Bounds
from slam_plugin.serving.guard import is_loopback

if TYPE_CHECKING:
    from starlette.types import ASGIApp

# Connections that are open at one time, and seconds that requests get to end after Ctrl-C.
_CONNECTIONS, _GRACE = 64, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    default = Bounds()
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="checkpoint of a model that reads speech")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s: this machine alone)")
    parser.add_argument("--port", type=_port, default=8000, help="port to listen on; 0 takes a free one (%(default)s)")
    parser.add_argument(
        "--max-seconds",
        type=positive,
        default=int(default.max_seconds),
        metavar="SECONDS",
        help="longest recording (%(default)s)",
    )
    parser.add_argument(
        "--max-megabytes",
        type=positive,
        default=default.max_bytes >> 20,
        metavar="MIB",
        help="largest upload (%(default)s)",
    )
    parser.add_argument(
        "--queue",
        type=positive,
        default=default.queue,
        metavar="REQUESTS",
        help="requests that may wait while one is computed; others get the status 503 (%(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=positive,
        default=int(default.timeout),
        metavar="SECONDS",
        help="longest time of a request, its upload included (%(default)s)",
    )
    add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    require_packages("the page", "serve")
    with _listening(options.host, options.port) as listener:
        from slam_plugin.hub import Slam
        from slam_plugin.serving.app import build_app

        slam = Slam.load(options.checkpoint, options.device, options.bf16)
        bounds = Bounds(options.max_megabytes << 20, options.max_seconds, options.queue, options.timeout)
        names = frozenset({"localhost", socket.gethostname().lower(), options.host.lower()})
        app = build_app(slam, bounds, names)
        if not is_loopback(options.host):
            print(
                f"slam serve: warning: {options.host} is reached from other machines: whoever can connect may use the "
                "model, nothing is encrypted, and browsers refuse the microphone",
                file=sys.stderr,
            )
        print(f"{_address(listener)}  {options.checkpoint} {slam.says()}; Ctrl-C stops", flush=True)
        _serve(app, listener)
    return 0


def _serve(app: "ASGIApp", listener: socket.socket) -> None:
    import uvicorn

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE,
        ws="none",
    )
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn has ended the requests and passes the signal on
        uvicorn.Server(config).run(sockets=[listener])
    print("slam serve: stopped", file=sys.stderr)


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises :class:`ProgramError` if the address cannot be had."""
    try:
        (family, _, _, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return socket.create_server(address, family=family)
    except OSError as error:
        raise ProgramError(f"{host}:{port}: cannot listen there ({error.strerror or error})") from error


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"found {number}, expected 0 to 65535")
    return number


main = Program("slam serve", __doc__, add_arguments, run)
