"""The text beside each picture: the template, what the figures say of the picture, what a vision model sees in it.

The trigger word is in every caption: where captions are supplied, the trainer takes it from nowhere else.
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
_MAX_DESCRIPTION = 300  # characters of what a model says; some repeat themselves for ever
# The face's height in the picture's: a head and shoulders fill it from about a third, a whole figure is seven heads.
_FRAMINGS = ((0.33, "close-up"), (0.17, "medium shot"), (0.0, "wide shot"))
_DARK, _BRIGHT = 60, 185  # mean luma
_MOVING, _STILL = 3.0, 1.0  # mean change of luma from frame to frame: of the camera, or of what fills the picture
_THIRDS = ("beginning", "middle", "end")


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What is known of a picture: mean luma (0-255), motion (mean change of luma to the frame before), where in the
    video it is (0-1), and the height of its largest face in the picture's (0: there is none, or nobody looked)."""

    luma: float
    motion: float
    position: float
    face: float = 0.0

    @classmethod
    def of(cls, candidate: PictureCandidate, seconds: float) -> "PictureFacts":
        """Of a picture from a video of so many seconds."""
        scores = candidate.scores
        face = max((face.height for face in scores.faces), default=0.0)
        return cls(scores.luma, candidate.motion, candidate.seconds / max(seconds, 1e-3), face)


class Describer(Protocol):
    """Puts a picture into words."""

    def describe(self, picture: npt.NDArray[np.uint8]) -> str:
        """What is in it, in a few words. `picture`: height x width x RGB."""


def caption(
    template: str, trigger: str, facts: Sequence[CaptionFact], picture: PictureFacts, description: str = ""
) -> str:
    """One line. `description`: what a Describer said."""
    text = _printable(template.replace(_TRIGGER, trigger))
    if trigger not in text:  # the spec asks for [trigger] in the template; a training without it would be for nothing
        text = f"{trigger}, {text}"
    facts_text = (_DESCRIPTIONS[fact](picture) for fact in CaptionFact if fact in facts)
    return ", ".join(filter(None, (text, _printable(description)[:_MAX_DESCRIPTION].rstrip(" ,."), *facts_text)))


def make_captions(
    kept: Sequence[PictureCandidate], captions: Captions, trigger: str, seconds: float, describer: Describer | None
) -> tuple[str, ...]:
    """The captions of pictures from a video of so many seconds."""
    paths = [each.path for each in kept]
    descriptions = map(describer.describe, decode_pictures(paths)) if describer else repeat("", len(paths))
    return tuple(
        caption(captions.template, trigger, captions.facts, PictureFacts.of(each, seconds), text)
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
    """One line of printable text."""
    return re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in text)).strip()
