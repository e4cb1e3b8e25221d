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
    "browser-recording", "fragmented-mp4", "jump-of-20-minutes.mkv", "slides-0.5-fps", "slides-variable",
    "hevc-b-pyramid", "hlg", "pq-without-primaries", "smpte-c", "prores-4444", "dolby-vision-5",
    "vertical-between-white-bars", "no-bars-slides-with-pictures", "clean-aperture", "interlaced-top-first",
    "anamorphic", "preview-first", "motion-photo", "lost-packets-of-a-stream", "half-a-matroska",
}  # fmt: skip
SAMPLE = tuple(case for case in CASES if case.name in _SAMPLED)
"""One or two cases of each family."""
