"""Colours of the engine against those that zimg makes (`contentgen_footage/colour_reference.py`)."""

import re
from itertools import product

import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from contentgen_footage import colour_reference as reference
from contentgen_footage.colour_reference import ENCODINGS, GREYS, ColourEncoding, ColourReference, Floats
from contentgen_worker.errors import Unsupported
from contentgen_worker.media.select.colour import KNEE, MATRICES, PRIMARIES, TRANSFERS, Colour, scaled

STORED = ColourReference.read()
_HDR = {"smpte2084", "arib-std-b67"}
_WORST, _WORST_HUE = 4.0, 0.03  # of 255, and of the linear light relative to the largest channel


def shown(primaries: int, transfer: int, encoding: ColourEncoding) -> Floats:
    """R, G and B of each patch, 0-255, in the planes of the JPEG file (full-range BT.601)."""
    name = reference.TRANSFERS[transfer]
    frame = reference.frame(name, encoding)
    frame.colorspace, frame.color_range = encoding.matrix, 2 if encoding.full else 1
    frame.color_primaries, frame.color_trc = primaries, transfer
    planes = scaled(frame, (frame.width, frame.height), Colour.from_frame(frame), VideoReformatter())
    y, u, v = (reference.centres(plane, len(reference.patches(name))) for plane in planes)
    red, blue = 1.402 * (v - 128), 1.772 * (u - 128)
    return np.clip(np.column_stack([y + red, y - (0.299 * red + 0.114 * blue) / 0.587, y + blue]), 0, 255)


def linear(values: Floats) -> Floats:
    """Light of 255 times sRGB, 1.0 at white."""
    signal = np.maximum(values, 0) / 255
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("transfer", sorted(set(TRANSFERS.values())))
@pytest.mark.parametrize("primaries", PRIMARIES)
def test_colours_are_those_of_zimg(primaries: int, transfer: int) -> None:
    """All matrices and ranges. In HDR up to the knee of the tone curve; above it hues are kept, greys not darker."""
    name = reference.TRANSFERS[transfer]
    for index, encoding in enumerate(ENCODINGS):
        expected = STORED.results[reference.PRIMARIES[primaries], name][index].astype(float)
        found, light = shown(primaries, transfer, encoding), linear(expected)
        peak = light.max(axis=1)
        compared = peak <= (KNEE if name in _HDR else np.inf)
        assert np.abs(found - np.clip(expected, 0, 255))[compared].max() <= _WORST, encoding
        if name in _HDR:
            bright = linear(found[~compared])
            hue = bright / bright.max(axis=1, keepdims=True)
            assert np.abs(hue - light[~compared] / peak[~compared, None]).max() <= _WORST_HUE, encoding
            assert (np.diff(found[-GREYS:].mean(axis=1)) >= 0).all(), encoding
            assert bright.max(axis=1).min() >= KNEE - 0.01, encoding


def test_every_accepted_combination_is_compared() -> None:
    """A new number fails until the reference is made again with it."""
    for what, accepted in (("matrix", MATRICES), ("transfer", TRANSFERS), ("primaries", PRIMARIES)):
        assert {int(number) for number in STORED.about[what]} == set(accepted)
    names = STORED.about["primaries"].values(), STORED.about["transfer"].values()
    assert set(product(*names)) == set(STORED.results)
    for number, name in STORED.about["transfer"].items():
        same = {TRANSFERS[int(each)] for each, other in STORED.about["transfer"].items() if other == name}
        assert same == {TRANSFERS[int(number)]}, "transfers that are declared to be equal are converted alike"


@pytest.mark.parametrize("what", ["matrix", "transfer", "primaries"])
def test_all_other_numbers_are_refused_by_name(what: str) -> None:
    accepted = {"matrix": MATRICES, "transfer": TRANSFERS, "primaries": PRIMARIES}[what]
    guessed = {0, 2, 3} if what != "matrix" else set()
    for number in {*range(40), 256} - set(accepted) - guessed:
        numbers = {"matrix": 1, "transfer": 1, "primaries": 1} | {what: number}
        with pytest.raises(Unsupported, match=rf"{what}\) is .+, which is not supported; convert it") as refused:
            Colour.from_numbers(**numbers, full=False, high=True)
        named = re.search(r"number \d", str(refused.value)) is None
        assert named or "ffmpeg" not in str(refused.value), "no command for what nobody has tried"


@pytest.mark.parametrize(
    ("matrix", "transfer", "primaries", "high", "expected"),
    [
        (None, 2, 2, True, (1, 13, 1)),
        (None, 2, 2, False, (5, 13, 1)),
        (None, 16, 2, True, (9, 16, 9)),
        (None, 18, 0, False, (9, 18, 9)),
        (None, 2, 9, False, (9, 13, 9)),
        (9, 2, 3, True, (9, 13, 9)),
        (9, 1, 1, True, (9, 13, 1)),
        (1, 16, 2, True, (1, 16, 9)),
        (0, 2, 2, True, (0, 13, 1)),
        (6, 6, 7, False, (5, 13, 6)),
    ],
)  # fmt: skip
def test_missing_colour_tags_are_guessed_as_players_do(
    matrix: int | None, transfer: int, primaries: int, high: bool, expected: tuple[int, int, int]
) -> None:
    found = Colour.from_numbers(matrix, transfer, primaries, full=False, high=high)
    assert (found.matrix, found.transfer, found.primaries) == expected
    assert found.full == (matrix == 0)
