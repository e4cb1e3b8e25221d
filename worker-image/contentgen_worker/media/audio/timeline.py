"""Keeps sound where the file's clock has it, so that the words' times are those of the video. Plain values.

Recorders leave gaps, and clocks jump: a gap is filled with silence as long as the file's own length allows for it;
where the clock can't be right, the sound is joined, and nothing is lost.
"""

from dataclasses import dataclass

_JITTER = 0.1  # seconds; stamps are rounded, and a clock drifts a little against the samples
_LONGEST_GAP = 3600.0  # seconds; silence is paid for like speech
_OVERLAP = 1.0  # seconds; said twice at a seam. What goes back further is a clock that began anew
_SLACK = 60.0  # seconds that a recording may be longer than it says


@dataclass
class Timeline:
    """Where the next piece of sound belongs. `length`: seconds that the file says it lasts (0: nothing)."""

    length: float
    end: float = 0.0  # of what has been placed
    filled: float = 0.0  # seconds of silence put into gaps
    jumps: int = 0  # where the clock could not be right
    _offset: float = 0.0  # what the clock is ahead of us after those

    def place(self, start: float | None, length: float) -> float | None:
        """Seconds of silence to put before a piece of sound; None: we have had that piece already.

        `start`: what its stamp says, in seconds from the recording's start (None: it has none).
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
