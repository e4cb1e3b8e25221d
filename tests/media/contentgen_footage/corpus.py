"""All cases."""

from contentgen_footage.codecs import codecs
from contentgen_footage.colours import colours
from contentgen_footage.framing import apertures, borders, interlaced
from contentgen_footage.geometry import damage, geometry, tracks
from contentgen_footage.lengths import lengths, rates, timestamps

CASES = (
    *lengths(),
    *timestamps(),
    *rates(),
    *codecs(),
    *colours(),
    *geometry(),
    *borders(),
    *apertures(),
    *interlaced(),
    *tracks(),
    *damage(),
)

_SAMPLED = {
    "browser-recording", "jump-of-20-minutes.mkv", "slides-variable", "hevc-b-pyramid", "hlg",
    "dolby-vision-5", "vertical-between-white-bars", "anamorphic", "clean-aperture",
    "interlaced-top-first", "preview-first", "motion-photo", "lost-packets-of-a-stream", "half-a-matroska",
}  # fmt: skip
SAMPLE = tuple(case for case in CASES if case.name in _SAMPLED)
"""One or two cases of each family."""
