"""A way to a server as if it were 50 ms away, with a limit on what comes back. A program of its own."""

import asyncio
import sys
import time

DELAY_SECONDS = 0.05  # between a request's last byte and the first one of its answer
DOWNLOAD_BYTES = 14_000_000  # a second, over all connections: 150 MB take eleven seconds
_CHUNK = 1 << 18


def main() -> None:
    """Arguments: the port to listen at, and the server's, both on loopback. Runs until it is ended."""
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2])))


async def _serve(port: int, target: int) -> None:
    budget = _Budget(DOWNLOAD_BYTES)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Opening it costs nothing: versitygw closes after each answer, which other stores do not.
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(
            _late(reader, upstream_writer, None), _late(upstream_reader, writer, budget), return_exceptions=True
        )
        for each in (writer, upstream_writer):
            each.close()

    server = await asyncio.start_server(connected, "127.0.0.1", port, limit=_CHUNK)
    async with server:
        await server.serve_forever()


async def _late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: "_Budget | None") -> None:
    """Pass bytes on, each half a delay after it came; as many may be under way as come."""
    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)

    async def read() -> None:
        while chunk := await reader.read(_CHUNK):
            if budget:
                await budget.spend(len(chunk))
            await queue.put((time.monotonic() + DELAY_SECONDS / 2, chunk))
        await queue.put((0.0, b""))

    async def write() -> None:
        while True:
            due, chunk = await queue.get()
            if not chunk:
                writer.write_eof()
                return
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            writer.write(chunk)
            await writer.drain()

    await asyncio.gather(read(), write())


class _Budget:
    """So many bytes a second, for all together."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free = 0.0

    async def spend(self, count: int) -> None:
        now = time.monotonic()
        self._free = max(now, self._free) + count / self._rate
        await asyncio.sleep(max(0.0, self._free - now - 0.005))


if __name__ == "__main__":
    main()
