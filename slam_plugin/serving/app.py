"""The web application: a page, and endpoints that take a sound file and give JSON.

An answer that is no result is ``{"error": message}`` with a status of 400, 403, 404, 405, 413, 415, 500 or 503.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from slam_plugin.data.errors import DataError
from slam_plugin.decoding.options import DEFAULT_BEAMS
from slam_plugin.hub import Slam
from slam_plugin.serving import answers, pages
from slam_plugin.serving.bounds import Bounds, RequestError, Stopped
from slam_plugin.serving.forms import Form, read_form
from slam_plugin.serving.guard import HEADERS, require_own_page
from slam_plugin.serving.sound import decode, picture, wav
from slam_plugin.serving.worker import Stop, Worker

logger = logging.getLogger(__name__)

# Seconds after which it makes sense to try again if the queue is full.
_RETRY_AFTER = "5"

Compute = Callable[[Slam, Any, Form, Stop], Any]


class Endpoint(NamedTuple):
    """An endpoint: (slam, waveform, form, stop) -> values for JSON, or bytes of a WAV file."""

    compute: Compute
    ability: str | None = None


def _writing(ability: str) -> Endpoint:
    def compute(slam: Slam, waveform: Any, form: Form, stop: Stop) -> dict[str, Any]:
        beam = form.beam or DEFAULT_BEAMS[ability]
        return answers.transcript(slam, ability, waveform, form.target, beam, stop.check)

    return Endpoint(compute, ability)


ENDPOINTS = {
    **{ability: _writing(ability) for ability in answers.TEXT_ABILITIES},
    "similarity": Endpoint(
        lambda slam, waveform, form, stop: answers.similarities(slam, waveform, form.sentences), "similarity"
    ),
    "attention": Endpoint(
        lambda slam, waveform, form, stop: answers.attention(slam, waveform, form.sentences), "attention"
    ),
    "picture": Endpoint(lambda slam, waveform, form, stop: picture(waveform)),
    "sound": Endpoint(lambda slam, waveform, form, stop: wav(waveform)),
}


def build_app(slam: Slam, bounds: Bounds, names: frozenset[str]) -> ASGIApp:
    """Return the application that serves ``slam``.

    Raises :class:`DataError` if it reads no speech.

    Args:
        names: host names of this server, in lower case, beside its addresses.

    Example::

        uvicorn.run(build_app(Slam.load("checkpoint_best.pt"), Bounds(), frozenset({"localhost"})))
    """
    answers.require_speech(slam)
    worker = Worker(bounds.queue)
    served = _Served(slam, bounds, worker)
    files = pages.files(slam, bounds)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> Any:
        yield
        worker.close()

    routes = [Route(path, _file(content, kind)) for path, (content, kind) in files.items()]
    routes.append(Route("/api/model", lambda request: JSONResponse(answers.description(slam))))
    routes += [Route(f"/api/{name}", served.handler(name), methods=["POST"]) for name in ENDPOINTS]
    handlers = {RequestError: _refused, HTTPException: _not_found, Exception: _failed}
    return _Guarded(Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan), names)


class _Served:
    """Answers requests with one model."""

    def __init__(self, slam: Slam, bounds: Bounds, worker: Worker) -> None:
        self.slam, self.bounds, self.worker = slam, bounds, worker

    def handler(self, name: str) -> Callable[[Request], Any]:
        """Return the function that answers requests of an endpoint."""

        async def handle(request: Request) -> Response:
            self._require(ENDPOINTS[name].ability)
            with self.worker.place():
                try:
                    async with asyncio.timeout(self.bounds.timeout):
                        result = await self._result(ENDPOINTS[name].compute, request)
                except TimeoutError:
                    raise RequestError(503, f"there was no result after {self.bounds.timeout:g} s") from None
                except (ClientDisconnect, Stopped):
                    return Response(status_code=503)  # nobody reads it
            return Response(result, media_type="audio/wav") if isinstance(result, bytes) else JSONResponse(result)

        return handle

    def _require(self, ability: str | None) -> None:
        found = answers.abilities(self.slam)
        if ability is not None and ability not in found:
            raise RequestError(400, f"this checkpoint {self.slam.says()}; found /api/{ability}, expected {found}")

    async def _result(self, compute: Compute, request: Request) -> Any:
        form = await read_form(request, self.bounds)

        def work(stop: Stop) -> Any:
            waveform = decode(form.data, self.bounds, stop.check)
            try:
                return compute(self.slam, waveform, form, stop)
            except DataError as error:
                raise RequestError(400, str(error).removeprefix("input 0: ")) from error

        gone = asyncio.ensure_future(_disconnected(request))
        try:
            return await self.worker.run(work, gone)
        finally:
            gone.cancel()


async def _disconnected(request: Request) -> None:
    """Return after the client is gone. To be called after the body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _Guarded:
    """An application that refuses requests of other sites' pages, and sends the headers of safety."""

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self.app, self.names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                added = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        request = Request(scope)
        try:
            require_own_page(request.method, request.url.scheme, request.headers, self.names)
        except RequestError as error:
            await (await _refused(request, error))(scope, receive, guarded)
            return
        await self.app(scope, receive, guarded)


def _file(content: bytes, kind: str) -> Callable[[Request], Any]:
    async def send(request: Request) -> Response:
        return Response(content, media_type=kind)

    return send


def _error(status: int, message: str) -> Response:
    headers = {"Retry-After": _RETRY_AFTER} if status == 503 else None
    return JSONResponse({"error": message}, status_code=status, headers=headers)


async def _refused(request: Request, error: RequestError) -> Response:
    return _error(error.status, error.message)


async def _not_found(request: Request, error: HTTPException) -> Response:
    return _error(error.status_code, f"{request.method} {request.url.path}: {error.detail}")


async def _failed(request: Request, error: Exception) -> Response:
    logger.error("%s failed", request.url.path, exc_info=error)
    return _error(500, f"the server failed ({type(error).__name__}); its log says where")
