"""An installation without PySceneDetect refuses its detectors before the download."""

import pytest

from contentgen_contract.names import Reason
from contentgen_contract.resources.spec import Detector
from contentgen_worker.errors import NoDetector
from contentgen_worker.prepare import lora


def test_a_detector_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for detector in Detector:
        lora.check_detector(detector)
    monkeypatch.setattr(lora, "find_spec", lambda _: None)
    lora.check_detector(Detector.AUTO)
    with pytest.raises(NoDetector, match="this worker has no PySceneDetect") as caught:
        lora.check_detector(Detector.CONTENT)
    assert caught.value.reason is Reason.INVALID_SPEC
