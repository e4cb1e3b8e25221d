"""The corpus of recordings and answers through the worker: `make test-media` runs all of it, `make test` a sample."""

import os
from pathlib import Path

import pytest

from contentgen_recordings.case import RecordingCase
from contentgen_recordings.corpus import RECORDINGS, SAMPLE
from contentgen_recordings.judge import extracted, faults_of_sound

_RUN = RECORDINGS if os.environ.get("CONTENTGEN_MEDIA") == "all" else SAMPLE


@pytest.mark.parametrize("case", _RUN, ids=lambda case: case.name.replace(" ", "-"))
def test_the_sound_of_a_recording(case: RecordingCase, tmp_path: Path) -> None:
    assert bool(found := faults_of_sound(case, extracted(case, tmp_path))) is bool(case.known), "; ".join(found)
