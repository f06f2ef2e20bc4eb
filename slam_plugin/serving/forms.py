"""A request's form: one sound file and a few short fields, read within bounds."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from slam_plugin.serving.bounds import MAX_BEAM, MAX_CHARACTERS, MAX_SENTENCES, Bounds, RequestError

_FORM = "multipart/form-data"
# name of a field: how often it may occur
FIELDS = {"file": 1, "target": 1, "beam": 1, "sentence": MAX_SENTENCES}


class Form(NamedTuple):
    """The sound file's bytes, the language to write, the beam size (None for the default), and the sentences."""

    data: bytes
    target: str | None
    beam: int | None
    sentences: tuple[str, ...]


async def read_form(request: Request, bounds: Bounds) -> Form:
    """Return the form of a request.

    Raises :class:`RequestError`: 413 for a body of more bytes than are allowed, whatever its header promises, 415 for
    another type of content, 400 for a form that is malformed or has not one ``file``.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _FORM:
        raise RequestError(415, f"content type: found {kind or 'none'!r}, expected {_FORM}, as curl -F sends it")
    limited = Request(request.scope, _limited(request, bounds))
    try:
        async with limited.form(max_files=1, max_fields=sum(FIELDS.values()), max_part_size=4 * MAX_CHARACTERS) as form:
            return await _checked(form.multi_items())
    except MultiPartException as error:
        raise RequestError(400, f"form: {error.message}") from error
    except HTTPException as error:
        raise RequestError(error.status_code, f"form: {error.detail}") from error


def _limited(request: Request, bounds: Bounds) -> Any:
    """Return the request's ``receive``, which counts bytes."""
    too_large = RequestError(413, f"the request has more than {bounds.max_bytes:,} bytes")
    promised = request.headers.get("content-length", "0")
    if not promised.isascii() or not promised.isdigit():
        raise RequestError(400, f"content length: found {promised!r}, expected a number")
    if len(promised) > 18 or int(promised) > bounds.max_bytes:
        raise too_large
    count = 0

    async def receive() -> Mapping[str, Any]:
        nonlocal count
        message = await request.receive()
        count += len(message.get("body", b""))
        if count > bounds.max_bytes:
            raise too_large
        return message

    return receive


async def _checked(items: list[tuple[str, str | UploadFile]]) -> Form:
    found: dict[str, list[Any]] = {name: [] for name in FIELDS}
    for name, value in items:
        if name not in FIELDS:
            raise RequestError(400, f"form: found the field {name[:40]!r}, expected {', '.join(FIELDS)}")
        found[name].append(value)
        if len(found[name]) > FIELDS[name]:
            raise RequestError(400, f"{name}: found more than {FIELDS[name]}")
        if isinstance(value, UploadFile) != (name == "file"):
            raise RequestError(400, f"{name}: expected {'a file' if name == 'file' else 'text'}")
    if not found["file"]:
        raise RequestError(400, "file: found none, expected a sound file, as curl -F file=@talk.wav sends it")
    sentences = tuple(found["sentence"])
    if any(len(sentence) > MAX_CHARACTERS for sentence in sentences):
        raise RequestError(400, f"sentence: found more than {MAX_CHARACTERS} characters")
    (target,) = found["target"] or [None]
    (beam,) = found["beam"] or [None]
    return Form(await found["file"][0].read(), target or None, _beam(beam), sentences)


def _beam(text: str | None) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 4 and 1 <= int(text) <= MAX_BEAM):
        raise RequestError(400, f"beam: found {text[:20]!r}, expected 1 to {MAX_BEAM}")
    return int(text)
