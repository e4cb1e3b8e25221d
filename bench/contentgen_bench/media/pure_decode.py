"""The limit: all frames decoded and thrown away, in as many processes as there are cores, each with its part of time.

The decoder's options are its defaults; each process has one thread. A program of its own.
"""

import itertools
import multiprocessing
import os
import sys
from pathlib import Path

import av


def main() -> None:
    """Arguments: video, number of processes (the cores that we may use, where it is left out)."""
    path = Path(sys.argv[1])
    processes = int(sys.argv[2]) if len(sys.argv) > 2 else len(os.sched_getaffinity(0))
    borders = _borders(path, processes)
    workers = [
        multiprocessing.get_context("fork").Process(target=decode, args=(path, start, end))
        for start, end in itertools.pairwise(borders)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise SystemExit(1)


def decode(path: Path, start: float, end: float) -> int:
    """The number of frames from a keyframe until a second."""
    frames = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        if start:
            container.seek(round(start * av.time_base))
        for frame in container.decode(stream):
            if frame.time is not None and frame.time >= end:
                break
            frames += 1
    return frames


def _borders(path: Path, parts: int) -> list[float]:
    """Keyframes that share the time evenly."""
    with av.open(str(path)) as container:
        length = (container.duration or 0) / av.time_base
        stream = container.streams.video[0]
        base = stream.time_base or 1
        found = [0.0]
        for part in range(1, parts):
            container.seek(round(length * part / parts * av.time_base))
            packet = next(packet for packet in container.demux(stream) if packet.pts is not None)
            found.append(float((packet.pts or 0) * base))
    return [*found, float("inf")]


if __name__ == "__main__":
    main()
