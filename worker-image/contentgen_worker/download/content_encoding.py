"""Content-Encoding of a response (RFC 9110, section 8.4): which codings it names, and their decoding within a limit.

Servers store and repeat what an upload declared, so the header may name a charset, a transfer coding or nothing: such
names mean identity. Pure.
"""

import zlib
from collections.abc import Iterator

_GZIP = ("gzip", "x-gzip")
_DEFLATE = "deflate"
# Codings of IANA's registry, and others in use, that are not decoded here.
_UNSUPPORTED = frozenset(
    {
        *("br", "zstd", "compress", "x-compress", "dcb", "dcz", "exi", "pack200-gzip", "aes128gcm"),
        *("bzip2", "x-bzip2", "lzma", "x-lzma", "xz", "x-xz", "lz4", "snappy", "x-snappy-framed", "sdch"),
    }
)
_MAX_CODINGS = 4
_CHUNK = 1 << 20  # decoded bytes in memory at once
_GZIP_MAGIC = b"\x1f\x8b"
_ANY_HEADER, _RAW = 32 + zlib.MAX_WBITS, -zlib.MAX_WBITS  # gzip or zlib; without a header


class Undecodable(ValueError):
    """The body can't be decoded; the message names the coding."""


def codings(header: str) -> tuple[str, ...]:
    """Codings that a header names, in the order in which they were applied, without those that mean identity."""
    names = (text.strip().lower() for text in header.split(","))
    return tuple(name for name in names if name in _GZIP or name == _DEFLATE or name in _UNSUPPORTED)


def decoder(names: tuple[str, ...]) -> "BodyDecoder":
    """BodyDecoder of these codings. Raises Undecodable for a coding that is not supported."""
    if unsupported := next((name for name in names if name in _UNSUPPORTED), None):
        raise Undecodable(f"content encoding {unsupported} is not supported")
    if len(names) > _MAX_CODINGS:
        raise Undecodable(f"{len(names)} content encodings, at most {_MAX_CODINGS}")
    return BodyDecoder([_Inflate(name) for name in reversed(names)])


class BodyDecoder:
    """Decodes a body chunk by chunk."""

    def __init__(self, layers: "list[_Inflate]") -> None:
        self._layers = layers

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Decoded chunks of at most 1 MiB each; `data` as it is without codings. Raises Undecodable."""
        return self._through(data, 0)

    def finish(self) -> None:
        """Raises Undecodable if the body ended early."""
        for layer in self._layers:
            layer.finish()

    def _through(self, data: bytes, layer: int) -> Iterator[bytes]:
        if layer == len(self._layers):
            yield data
            return
        for chunk in self._layers[layer].decode(data):
            yield from self._through(chunk, layer + 1)


class _Inflate:
    """One layer: gzip with all its members, or deflate with or without zlib's header.

    A body that is declared as gzip without being it is passed on: its server repeats what an upload declared.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._start = b""  # of the body or of a member, until its format is known
        self._inflate: zlib._Decompress | None = None
        self._plain = False  # not compressed at all
        self._ended = False  # members found so far are complete

    def decode(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._plain:
                yield data
                return
            if self._inflate is None:
                self._start += data
                if len(self._start) < len(_GZIP_MAGIC) or not self._open(self._start):
                    return
                data, self._start = self._start, b""
                continue
            yield from self._decompressed(data)
            data = self._inflate.unused_data
            if self._inflate.eof:
                self._inflate, self._ended = None, True

    def finish(self) -> None:
        if self._inflate is not None:
            raise Undecodable(f"its {self._name} stream ended early")

    def _open(self, start: bytes) -> bool:
        """Choose the format by the first bytes; False for padding after the last member."""
        if start.startswith(_GZIP_MAGIC):
            self._inflate = zlib.decompressobj(_ANY_HEADER)
        elif self._ended:
            self._start = start[: len(_GZIP_MAGIC)]
            return False
        elif self._name == _DEFLATE:
            zlib_header = start[0] & 0x0F == zlib.DEFLATED and int.from_bytes(start[:2]) % 31 == 0
            self._inflate = zlib.decompressobj(_ANY_HEADER if zlib_header else _RAW)
        else:
            self._plain = True
        return True

    def _decompressed(self, data: bytes) -> Iterator[bytes]:
        assert self._inflate is not None  # noqa: S101
        try:
            while chunk := self._inflate.decompress(data, _CHUNK):
                yield chunk
                if self._inflate.eof:
                    return
                data = self._inflate.unconsumed_tail
        except zlib.error as error:
            raise Undecodable(f"its {self._name} stream is invalid ({error})") from None
