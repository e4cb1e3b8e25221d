"""Lower bound of the run time: decode all frames and discard them, one process per core and part of the video.

Decoder options are the defaults; each process has one thread. A program of its own.
"""

import itertools
import multiprocessing
import os
import sys
from pathlib import Path

import av


def main() -> None:
    """Decode a video. Arguments: video, number of processes (default: the cores of the CPU affinity)."""
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
    """Number of frames decoded from the keyframe at `start` until `end`, in seconds."""
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
    """Keyframe times in seconds that divide the video into parts of about equal length; the last one is infinity."""
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
