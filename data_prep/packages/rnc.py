"""Rob Northen compression, method 1: LZ77 with Huffman codes, as in games of about 1990 to 1995.

A packed block begins with a header of 18 bytes: ``RNC``, the method, the lengths of the unpacked and of the packed data
(32 bits, big-endian), a checksum of each (16 bits), the leeway for unpacking in place (8 bits) and the number of chunks
(8 bits). The checksums are not compared. Bits are read from 16-bit little-endian words, lowest bit first. Literal bytes
are between those words: they begin at the first byte that no bit was taken from.
"""

import struct

from slam_plugin.data.errors import DataError

HEADER_BYTES = 18
SIGNATURE = b"RNC\x01"

# A code of at most 15 bits and at most 30 after it.
_MAX_NUMBER_BITS = 45
_LOADED_BYTES = 8


class _Bits:
    """A reader of bits and of the literal bytes between them."""

    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self.data = data
        self.position = 0
        self.buffer = 0
        self.count = 0

    def load(self) -> None:
        """Load words so that the buffer holds the bits of a number."""
        if self.position - self.count // 8 > self.size:
            raise ValueError("ends within its bits")
        # Words are loaded ahead of need. Beyond the end they are zeros.
        words = self.data[self.position : self.position + _LOADED_BYTES]
        self.buffer |= int.from_bytes(words, "little") << self.count
        self.position += _LOADED_BYTES
        self.count += 8 * _LOADED_BYTES

    def take(self, count: int) -> int:
        """Return the next ``count`` bits as a number. The first bit is the lowest."""
        if self.count < count:
            self.load()
        value = self.buffer & ((1 << count) - 1)
        self.buffer >>= count
        self.count -= count
        return value

    def literal(self, count: int) -> bytes:
        """Return the next ``count`` whole bytes."""
        # Put back words that no bit was taken from.
        unread = self.count >> 4
        begin = self.position - 2 * unread
        self.count &= 15
        self.buffer &= (1 << self.count) - 1
        self.position = begin + count
        if self.position > self.size:
            raise ValueError("ends within its literal bytes")
        return self.data[begin : self.position]


def decompress(packed: bytes, name: str) -> bytes:
    """Return the unpacked data of ``packed``, header included. ``name`` is for errors.

    Raises :class:`DataError` if the header is absent, or the data is cut short or corrupt.
    """
    if len(packed) < HEADER_BYTES or not packed.startswith(SIGNATURE):
        raise DataError(f"{name}: found {packed[:4]!r}, expected data packed by method 1 of Rob Northen, {SIGNATURE!r}")
    unpacked_bytes, packed_bytes = struct.unpack_from(">II", packed, 4)
    content = packed[HEADER_BYTES : HEADER_BYTES + packed_bytes]
    if len(content) < packed_bytes:
        raise DataError(f"{name}: is cut short, found {len(content)} of {packed_bytes} packed bytes")
    try:
        found = _unpack(_Bits(content), packed[17])
    except ValueError as error:
        raise DataError(f"{name}: is corrupt, {error}") from error
    if len(found) != unpacked_bytes:
        raise DataError(f"{name}: is corrupt, unpacks to {len(found)} bytes, expected {unpacked_bytes}")
    return found


def _unpack(bits: _Bits, chunks: int) -> bytes:
    """Unpack chunks: three code tables, then pairs of literal bytes and a repetition (none in the last pair)."""
    out = bytearray()
    bits.take(2)  # flags: locked and encrypted
    for _ in range(chunks):
        literals, distances, lengths = (_read_codes(bits) for _ in range(3))
        for left in range(bits.take(16) - 1, -1, -1):
            count = _number(bits, *literals)
            if count:
                out += bits.literal(count)
            if left:
                distance = _number(bits, *distances) + 1
                _repeat(out, distance, _number(bits, *lengths) + 2)
    return bytes(out)


def _number(bits: _Bits, codes: list[tuple[int, int, int, int] | None], mask: int) -> int:
    """Return the next number: a Huffman code gives its class, the bits after it the number within the class."""
    if bits.count < _MAX_NUMBER_BITS:
        bits.load()
    buffer = bits.buffer
    found = codes[buffer & mask]
    if found is None:
        raise ValueError("holds bits that are no code")
    length, total, first, extra = found
    bits.buffer = buffer >> total
    bits.count -= total
    return first | buffer >> length & extra


def _repeat(out: bytearray, distance: int, length: int) -> None:
    """Append ``length`` bytes from ``distance`` bytes back. They may overlap the appended bytes."""
    if distance > len(out):
        raise ValueError(f"repeats {distance} bytes back after {len(out)}")
    found = out[len(out) - distance : len(out) - distance + length]
    out += (found * -(-length // len(found)))[:length]


def _read_codes(bits: _Bits) -> tuple[list[tuple[int, int, int, int] | None], int]:
    """Return a table with an entry for each value of the next bits, and a mask of these bits.

    An entry is the length of the code, the length with the bits after it, the smallest number of the class, and a mask
    of the bits after the code. Codes are canonical, written with their first bit as the lowest.
    """
    lengths = [bits.take(4) for _ in range(bits.take(5))]
    longest = max(lengths, default=0)
    codes: list[tuple[int, int, int, int] | None] = [None] * (1 << longest)
    code = 0
    for length in range(1, longest + 1):
        for symbol, own in enumerate(lengths):
            if own == length:
                if code >> length:
                    raise ValueError("has more codes than their lengths allow")
                first, after = (symbol, 0) if symbol < 2 else (1 << symbol - 1, symbol - 1)
                place = int(f"{code:0{length}b}"[::-1], 2)
                found = (length, length + after, first, (1 << after) - 1)
                codes[place :: 1 << length] = [found] * (1 << longest - length)
                code += 1
        code <<= 1
    return codes, (1 << longest) - 1
