"""The results page of `contentgen try` in Chromium, from a file: it runs no foreign script and loads nothing else."""

from pathlib import Path
from typing import Literal

import av
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from contentgen_try import page
from contentgen_try.page import Result

HOSTILE = (
    "\"><script>document.title='owned'</script><img src=https://evil.invalid/x onerror=\"document.title='owned'\">"
)
SUBTITLES = f"1\n00:00:00,000 --> 00:00:01,000\n{HOSTILE}\n\n2\n00:00:02,000 --> 00:00:03,000\nlast\n"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Page with a picture, a recording of three seconds, and hostile texts."""
    for name in ("lora/datasets/preview.jpg", "lora/datasets/images/0001.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (1600, 900), "teal").save(tmp_path / name)
    (tmp_path / "lora/datasets/captions").mkdir()
    (tmp_path / "lora/datasets/captions/0001.txt").write_text(HOSTILE)
    (tmp_path / "talk/transcripts").mkdir(parents=True)
    (tmp_path / "talk/transcripts/transcript.srt").write_text(SUBTITLES)
    with av.open(tmp_path / "talk/transcripts/audio.flac", "w") as container:
        stream = container.add_stream("flac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.int16), layout="mono")
        frame.sample_rate = 16000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    resources = [
        {"kind": kind, "metadata": {"name": HOSTILE}, "spec": {}, "status": {"phase": "Completed"}}
        for kind in ("LoraTraining", "Transcription")
    ]
    made = [Result(resource, tmp_path / folder) for resource, folder in zip(resources, ("lora", "talk"), strict=True)]
    return page.write(tmp_path, made, simulated=True)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1100), ("dark", 390)])
def test_the_page_of_try(
    scheme: Literal["light", "dark"], width: int, results: Path, chromium: Browser, kept: Path
) -> None:
    context = chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": 860})
    opened = context.new_page()
    requests, complaints = [], []
    opened.on("request", lambda request: requests.append(request.url))
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(results.as_uri())
    expect(opened.locator("figcaption")).to_have_text(HOSTILE)
    opened.wait_for_function("[...document.images].every((image) => image.complete && image.naturalWidth)")
    opened.wait_for_function("document.querySelector('audio').readyState > 0")
    opened.get_by_text("0:02", exact=True).click()
    opened.wait_for_function("document.querySelector('audio').currentTime >= 2")
    expect(opened.locator("li.now")).to_contain_text("last")
    assert opened.title() == "contentgen try: results"
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert complaints == []
    assert requests
    assert [url for url in requests if not url.startswith(results.parent.as_uri())] == []
    opened.screenshot(path=kept / f"try-{scheme}.png", full_page=True)
    context.close()
