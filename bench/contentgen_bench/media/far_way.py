"""TCP proxy that adds 50 ms of latency and limits the download rate. A program of its own."""

import asyncio
import sys
import time

DELAY_SECONDS = 0.05  # round trip: from a request's last byte to its response's first one
DOWNLOAD_BYTES = 14_000_000  # bytes per second over all connections: 150 MB take eleven seconds
_CHUNK = 1 << 18


def main() -> None:
    """Run until terminated. Arguments: the port to listen on, and the server's port, both on loopback."""
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2])))


async def _serve(port: int, target: int) -> None:
    budget = _Budget(DOWNLOAD_BYTES)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Connecting has no delay, because versitygw closes after each response and other stores keep connections open.
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
    """Forward each chunk after half of the delay. At most 64 chunks are in flight."""
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
    """Rate limit in bytes per second, shared by all connections."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free = 0.0

    async def spend(self, count: int) -> None:
        now = time.monotonic()
        self._free = max(now, self._free) + count / self._rate
        await asyncio.sleep(max(0.0, self._free - now - 0.005))


if __name__ == "__main__":
    main()
