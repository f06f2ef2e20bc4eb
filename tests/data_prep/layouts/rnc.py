"""Rob Northen compression, method 1, written in another way than it is read: greedy matches, codes of one length."""

import struct

_SYMBOLS = 16
_CODE_BITS = 4
_LONGEST, _FURTHEST = 200, 2000


class _Writer:
    """Bits in 16-bit words, a word being placed as its first bit comes, and literal bytes wherever the data end."""

    def __init__(self):
        self.data = bytearray()
        self.word, self.used = 0, 16

    def bits(self, value, count):
        for place in range(count):
            if self.used == 16:
                self.word, self.used = len(self.data), 0
                self.data += b"\0\0"
            if value >> place & 1:
                self.data[self.word + self.used // 8] |= 1 << self.used % 8
            self.used += 1

    def number(self, value):
        """The class of a number is how many bits it has. The bits after the highest follow."""
        own = value.bit_length()
        self.bits(int(f"{own:0{_CODE_BITS}b}"[::-1], 2), _CODE_BITS)
        if own > 1:
            self.bits(value - (1 << own - 1), own - 1)


def pack(data):
    """``data`` in one chunk, with its header."""
    writer = _Writer()
    writer.bits(0, 2)
    for _ in range(3):
        writer.bits(_SYMBOLS, 5)
        for _ in range(_SYMBOLS):
            writer.bits(_CODE_BITS, 4)
    pairs = list(_pairs(data))
    writer.bits(len(pairs), 16)
    for literal, match in pairs:
        writer.number(len(literal))
        writer.data += literal
        if match:
            distance, length = match
            writer.number(distance - 1)
            writer.number(length - 2)
    content = bytes(writer.data)
    return b"RNC\x01" + struct.pack(">IIHHBB", len(data), len(content), 0, 0, 0, 1) + content


def _pairs(data):
    """Literal bytes and the (distance, length) of what repeats after them, None at the end."""
    literal, place = bytearray(), 0
    while place < len(data):
        match = _match(data, place)
        if match:
            yield bytes(literal), match
            literal, place = bytearray(), place + match[1]
        else:
            literal.append(data[place])
            place += 1
    yield bytes(literal), None


def _match(data, place):
    """The nearest place where three bytes or more stood before. It may reach into what repeats."""
    begin = data.rfind(data[place : place + 3], max(0, place - _FURTHEST), place + 2)
    if begin < 0 or len(data) - place < 3:
        return None
    length = 3
    while length < _LONGEST and place + length < len(data) and data[begin + length] == data[place + length]:
        length += 1
    return place - begin, length
