"""What a decoder is let near."""

from dataclasses import dataclass

from contentgen_worker.errors import BeyondLimits


@dataclass(frozen=True)
class Bounds:
    """Pixels of one frame, and seconds of a recording."""

    pixels: int
    seconds: float

    def check_duration(self, seconds: float) -> None:
        """Raises BeyondLimits for a recording that is too long."""
        if seconds > self.seconds:
            raise BeyondLimits(f"it lasts {seconds:.0f} s, at most {self.seconds:g} s are taken; cut it")

    def check_pixels(self, width: int, height: int) -> None:
        """Raises BeyondLimits for frames that are too large."""
        if width * height > self.pixels:
            raise BeyondLimits(f"its frames are {width}x{height}, at most {self.pixels} pixels are taken; scale it")
