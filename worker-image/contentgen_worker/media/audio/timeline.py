"""Alignment of audio with the file's clock, so that the times of words match the video. Pure.

A gap is filled with silence if the file's length allows it. Where the clock can't be right, the audio is joined without
loss.
"""

from dataclasses import dataclass

_JITTER = 0.1  # seconds; timestamps are rounded, and clocks drift against the samples
_LONGEST_GAP = 3600.0  # seconds; silence is charged like speech
_OVERLAP = 1.0  # seconds of duplicate audio at a seam; larger steps back are a restarted clock
_SLACK = 60.0  # seconds that a recording may exceed its stated duration


@dataclass
class Timeline:
    """Position of the next block of audio. `length`: stated duration in seconds, 0 if unknown."""

    length: float
    end: float = 0.0  # of the placed audio
    filled: float = 0.0  # seconds of inserted silence
    jumps: int = 0  # number of implausible clock steps
    _offset: float = 0.0  # accumulated error of the clock after those

    def place(self, start: float | None, length: float) -> float | None:
        """Seconds of silence to insert before a block of audio; None: the block is a duplicate.

        `start`: timestamp in seconds from the recording's start (None: it has none); `length`: seconds.
        """
        offset = 0.0 if start is None else start - self._offset - self.end
        if -_OVERLAP <= offset < -_JITTER:
            return None
        gap = offset if self._is_plausible(offset) else 0.0
        if abs(offset) > _JITTER and not gap:
            self._offset += offset
            self.jumps += 1
        self.filled += gap
        self.end += gap + length
        return gap

    def _is_plausible(self, gap: float) -> bool:
        within = not self.length or self.end + gap <= self.length + _SLACK
        return _JITTER < gap <= _LONGEST_GAP and within
