"""Captions of pictures: template, facts from the figures, and descriptions by a vision model.

Each caption contains the trigger word: with captions supplied, the trainer uses no other.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Protocol

import numpy as np
import numpy.typing as npt

from contentgen_contract.resources.spec import CaptionFact, Captions
from contentgen_worker.media.decode.stills import decode_pictures
from contentgen_worker.media.select.choose import PictureCandidate

_TRIGGER = "[trigger]"
_MAX_DESCRIPTION = 300  # characters; some models repeat themselves endlessly
# Height of the face as a share of the picture's: about a third for head and shoulders; a body is seven heads high.
_FRAMINGS = ((0.33, "close-up"), (0.17, "medium shot"), (0.0, "wide shot"))
_DARK, _BRIGHT = 60, 185  # mean luma
_MOVING, _STILL = 3.0, 1.0  # mean change of luma from frame to frame, by the camera or the subject
_THIRDS = ("beginning", "middle", "end")


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """Facts of a picture: mean luma (0-255), motion (mean change of luma to the frame before), position in the video
    (0-1), and height of its largest face as a share of the picture's (0: none, or not detected)."""

    luma: float
    motion: float
    position: float
    face: float = 0.0

    @classmethod
    def from_candidate(cls, candidate: PictureCandidate, seconds: float) -> "PictureFacts":
        """Facts of a picture from a video of this length in seconds."""
        scores = candidate.scores
        face = max((face.height for face in scores.faces), default=0.0)
        return cls(scores.luma, candidate.motion, candidate.seconds / max(seconds, 1e-3), face)


class Describer(Protocol):
    """Interface of vision models."""

    def describe(self, picture: npt.NDArray[np.uint8]) -> str:
        """Description in a few words. `picture`: height x width x RGB."""


def caption(
    template: str, trigger: str, facts: Sequence[CaptionFact], picture: PictureFacts, description: str = ""
) -> str:
    """Caption in one line. `description`: text of a Describer."""
    text = _printable(template.replace(_TRIGGER, trigger))
    if trigger not in text:  # without the trigger word, the paid training would be useless
        text = f"{trigger}, {text}"
    facts_text = (_DESCRIPTIONS[fact](picture) for fact in CaptionFact if fact in facts)
    return ", ".join(filter(None, (text, _printable(description)[:_MAX_DESCRIPTION].rstrip(" ,."), *facts_text)))


def make_captions(
    kept: Sequence[PictureCandidate], captions: Captions, trigger: str, seconds: float, describer: Describer | None
) -> tuple[str, ...]:
    """Captions of the kept pictures, from a video of this length in seconds."""
    paths = [each.path for each in kept]
    descriptions = map(describer.describe, decode_pictures(paths)) if describer else repeat("", len(paths))
    return tuple(
        caption(captions.template, trigger, captions.facts, PictureFacts.from_candidate(each, seconds), text)
        for each, text in zip(kept, descriptions, strict=True)
    )


def _framing(picture: PictureFacts) -> str:
    return next((name for least, name in _FRAMINGS if picture.face > least), "")


def _brightness(picture: PictureFacts) -> str:
    if picture.luma < _DARK:
        return "dark"
    return "bright" if picture.luma > _BRIGHT else ""


def _motion(picture: PictureFacts) -> str:
    if picture.motion > _MOVING:
        return "in motion"
    return "still" if picture.motion < _STILL else ""


def _position(picture: PictureFacts) -> str:
    return f"{_THIRDS[min(int(picture.position * 3), 2)]} of the video"


_DESCRIPTIONS = {
    CaptionFact.FRAMING: _framing,
    CaptionFact.BRIGHTNESS: _brightness,
    CaptionFact.MOTION: _motion,
    CaptionFact.POSITION: _position,
}


def _printable(text: str) -> str:
    """Text as one line of printable characters."""
    return re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in text)).strip()
