"""ELF files without symbol tables and debugging information, or without a library that they need.

The loader reads segments, never sections. Unlike strip, this works for every architecture, and for files that
auditwheel has rewritten, whose symbol tables lie between segments.
"""

import re
import struct

_HEADER = 64
_PHOFF, _SHOFF, _PHENTSIZE, _SHENTSIZE = 32, 40, 54, 58
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
_LEAST_ALIGNMENT = 4096
_LOAD, _DYNAMIC = 1, 2
_NEEDED, _STRINGS, _SYMBOLS, _GNU_HASH = 1, 5, 6, 0x6FFFFEF5
_SYMBOL, _WEAK = 24, 2
_ENTRY = struct.Struct("<QQ")


def loaded_parts(content: bytes) -> bytes:
    """The file with the same segments at the same addresses; other files, and other kinds of ELF, as they are.

    A gap between segments shrinks by a multiple of the alignment, because a segment's offset in the file and its
    address must be equal modulo that.
    """
    if content[:6] != b"\x7fELF\x02\x01":  # 64 bits, little endian
        return content
    start, size, headers = _program_headers(content)
    count = len(headers)
    # Offset 2 and size 5 of a header; header 7 is the alignment. Type 0 is unused, 6 the table of headers itself.
    used = [(0, _HEADER), (start, start + size * count)]
    used += [
        (each_header[2], each_header[2] + each_header[5])
        for each_header in headers
        if each_header[5] and each_header[0]
    ]
    alignment = max([_LEAST_ALIGNMENT, *(each_header[7] for each_header in headers)])
    parts, moves, end = bytearray(), [], 0
    for first, last in sorted(used):
        if first > end:
            dropped = (first - end) // alignment * alignment
            parts += content[end + dropped : first] if dropped else content[end:first]
            moves.append((first, len(content[:first]) - len(parts)))
        if last > end:
            parts += content[max(first, end) : last]
            end = last
    moved = [_moved(each_header, moves) for each_header in headers]
    table = start - _shift(start, moves)
    struct.pack_into("<Q", parts, _PHOFF, table)
    struct.pack_into("<Q", parts, _SHOFF, 0)
    struct.pack_into("<HHH", parts, _SHENTSIZE, 0, 0, 0)
    for i, header in enumerate(moved):
        _PROGRAM_HEADER.pack_into(parts, table + i * size, *header)
    return bytes(parts)


def without_library(content: bytes, prefix: str, functions: str) -> bytes:
    """The file without the needed libraries whose names begin with `prefix`.

    The undefined symbols that match the pattern `functions` become weak, with the address 0: a call ends the process.
    The file must need no symbol version of the library. Raises ValueError if no library or no symbol is found.
    """
    _, _, headers = _program_headers(content)
    at, size = next((header[2], header[5]) for header in headers if header[0] == _DYNAMIC)
    entries = [_ENTRY.unpack_from(content, at + i) for i in range(0, size, _ENTRY.size)]
    strings, symbols, hashes = (
        _offset(next(value for tag, value in entries if tag == wanted), headers)
        for wanted in (_STRINGS, _SYMBOLS, _GNU_HASH)
    )
    name = prefix.encode()
    kept = [entry for entry in entries if entry[0] != _NEEDED or not content.startswith(name, strings + entry[1])]
    changed = bytearray(content)
    table = b"".join(_ENTRY.pack(*each) for each in kept)
    changed[at : at + len(entries) * _ENTRY.size] = table.ljust(len(entries) * _ENTRY.size, b"\0")
    (first_defined,) = struct.unpack_from("<I", content, hashes + 4)
    pattern, weak = re.compile(functions.encode()), 0
    for symbol in range(symbols + _SYMBOL, symbols + first_defined * _SYMBOL, _SYMBOL):
        begin = strings + int(struct.unpack_from("<I", content, symbol)[0])
        if pattern.fullmatch(content, begin, content.index(b"\0", begin)):
            changed[symbol + 4] = _WEAK << 4 | changed[symbol + 4] & 15
            weak += 1
    if len(kept) == len(entries) or not weak:
        raise ValueError(f"{prefix}: {len(entries) - len(kept)} libraries, {weak} functions found")
    return bytes(changed)


def _offset(address: int, headers: list[tuple[int, ...]]) -> int:
    """Offset in the file of a virtual address."""
    loaded = next(header for header in headers if header[0] == _LOAD and header[3] <= address < header[3] + header[5])
    return address - loaded[3] + loaded[2]


def _program_headers(content: bytes) -> tuple[int, int, list[tuple[int, ...]]]:
    """Offset of the table, size of an entry, and the headers."""
    (start,) = struct.unpack_from("<Q", content, _PHOFF)
    size, count = struct.unpack_from("<HH", content, _PHENTSIZE)
    return start, size, [_PROGRAM_HEADER.unpack_from(content, start + i * size) for i in range(count)]


def _moved(header: tuple[int, ...], moves: list[tuple[int, int]]) -> tuple[int, ...]:
    return (*header[:2], header[2] - _shift(header[2], moves), *header[3:])


def _shift(offset: int, moves: list[tuple[int, int]]) -> int:
    """Bytes by which the content at an offset has moved towards the beginning."""
    return next((by for since, by in reversed(moves) if offset >= since), 0)
