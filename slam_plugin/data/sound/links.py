"""Links: the streams that a sound file is a chain of, each as libsndfile should read it."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO, NamedTuple

import soundfile

# Of a file that is held in memory because its streams have to be found.
MAX_BYTES = 1 << 31
# An ID3v1 tag, at the end of a file.
_TAG_BYTES = 128


class Forward(soundfile.SoundFile):
    """A sound file that is only read forward: soundfile seeks after each block otherwise, which lying headers break."""

    def seekable(self) -> bool:
        return False


class Link(NamedTuple):
    """One stream of a sound file. Most files are a chain of one.

    Attributes:
        file: the stream, with a header that does not make libsndfile stop early.
        promised: number of samples that the header promises, 0 if it promises none, None if libsndfile knows it.
        is_whole: whether a stream that has fewer samples than promised has them all nevertheless.
        otherwise: links to read instead if this one cannot be decoded to its end, none if nothing else can be tried.
    """

    file: BinaryIO
    promised: int | None = None
    is_whole: Callable[[], bool] = lambda: False
    otherwise: Callable[[], Sequence["Link"]] = tuple


class Memory(io.BytesIO):
    """Bytes as a file. A damaged header may make libsndfile seek before the begin: it stays where it is."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


class Edited(io.RawIOBase):
    """A file with other bytes in some places, and with a length of one's choice. The file itself stays as it is."""

    def __init__(self, file: BinaryIO, edits: Mapping[int, bytes], length: int | None = None) -> None:
        """Show ``file`` with ``edits``, bytes by position.

        A reader that asks for the length is given ``length`` (None: the true one). A tag that it looks for at that end
        is zeros.
        """
        self._file, self._edits, self._length = file, edits, length
        # An error of reading. libsndfile reads by callbacks, which cannot raise it.
        self.error: OSError | None = None
        file.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        start = self._file.tell()
        if self._length is not None and start >= self._length - _TAG_BYTES:
            size = max(0, min(len(buffer), self._length - start))
            buffer[:size] = bytes(size)
            self._file.seek(start + size)
            return size
        try:
            data = bytearray(self._file.read(len(buffer)))
        except OSError as error:
            self.error = error
            return 0
        for place, content in self._edits.items():
            first, last = max(place, start), min(place + len(content), start + len(data))
            if first < last:
                data[first - start : last - start] = content[first - place : last - place]
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END and self._length is not None:
            offset, whence = offset + self._length, io.SEEK_SET
        try:
            return self._file.seek(offset, whence)
        except (ValueError, OverflowError, OSError):
            return self.tell()

    def tell(self) -> int:
        return self._file.tell()


def size_of(file: BinaryIO) -> int:
    """Return the number of bytes of a file."""
    return file.seek(0, io.SEEK_END)


def bytes_at(file: BinaryIO, place: int, count: int) -> bytes:
    """Return up to ``count`` bytes from ``place`` on."""
    file.seek(place)
    return file.read(count)
