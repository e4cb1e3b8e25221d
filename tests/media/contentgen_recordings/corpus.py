"""All cases."""

import zlib

from contentgen_recordings.answers import answers
from contentgen_recordings.channels import layouts
from contentgen_recordings.formats import formats
from contentgen_recordings.scripts import scripts
from contentgen_recordings.sound_lengths import sound_lengths
from contentgen_recordings.tracks import sound_tracks

RECORDINGS = (*layouts(), *sound_lengths(), *sound_tracks(), *formats())
"""Recordings with sound."""

SAMPLE = tuple(case for case in RECORDINGS if zlib.crc32(case.name.encode()) % 3 == 0)
"""A third of them."""

ANSWERS = (*answers(), *scripts())
"""Answers of a speech recognition."""
