"""The page of the results: hostile captions, names and files are shown as text, and the page loads nothing else."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from contentgen_try import page
from contentgen_try.page import Result

HOSTILE = """"></a><script>alert(1)</script><img src=https://evil.example/x onerror='alert(2)'>{{ 7*7 }}&lt;i&gt;"""
FILE = "a\"'<b>&#?%20:.png"
SUBTITLES = "1\n00:00:01,500 --> 00:00:02,000\n{}\nsecond line\n\n2\n01:01:01,000 --> 01:01:02,000\nlast\n"


class Elements(HTMLParser):
    """Elements of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def resource(kind: str, phase: str = "Completed", **spec: Any) -> dict[str, Any]:
    status = {"phase": phase, "message": HOSTILE, "cost": {"display": HOSTILE}}
    return {"kind": kind, "metadata": {"name": HOSTILE, "namespace": "mine"}, "spec": spec, "status": status}


def put(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def made(folder: Path, *results: Result) -> Elements:
    return Elements(page.write(folder, results, simulated=True).read_text())


def hostile(folder: Path) -> Elements:
    training = {"preview.jpg": "", "images/0001.jpg": "", "captions/0001.txt": HOSTILE, "dataset.zip": ""}
    training = {f"datasets/{name}": text for name, text in training.items()}
    speech = {"audio.flac": "", "transcript.srt": SUBTITLES.format(HOSTILE)}
    speech = {f"transcripts/{name}": text for name, text in speech.items()}
    return made(
        folder,
        Result(resource("LoraTraining"), put(folder / "mine/lora", training)),
        Result(resource("ImageGeneration", prompt=HOSTILE), put(folder / "mine/it", {f"generated-images/{FILE}": ""})),
        Result(resource("Transcription"), put(folder / "mine/talk", speech)),
        Result(resource("Transcription", "Failed"), folder / "mine/none"),
    )


def test_hostile_texts_are_text(tmp_path: Path) -> None:
    found = hostile(tmp_path)
    assert len(found.all("script")) == 1  # the page's own
    assert {name for _, attributes in found.found for name in attributes if name.startswith("on")} == set()
    # Names, costs, the message of the failed one, the prompt, the caption and the segment, as they are.
    assert "".join(found.text).count(HOSTILE) == 4 + 4 + 1 + 1 + 1 + 1


def test_every_link_is_a_file_beside_the_page(tmp_path: Path) -> None:
    links = [
        value.partition("#t=")[0]
        for _, attributes in hostile(tmp_path).found
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "poster", "data") and value is not None
    ]
    assert len(links) > 8
    for link in links:
        assert link.startswith("./"), link
        assert (tmp_path / unquote(link)).is_file(), link


def test_page_policy_permits_local_files_and_its_own_script(tmp_path: Path) -> None:
    text = page.write(tmp_path, [], simulated=False).read_text()
    [policy] = [element["content"] for element in Elements(text).all("meta") if element.get("http-equiv")]
    assert policy is not None
    rules = dict(each.split(" ", 1) for each in policy.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == rules["media-src"] == "'self' file:"
    for element in ("script", "style"):
        [content] = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[f"{element}-src"] == f"'sha256-{digest}'"
    assert text.index("Content-Security-Policy") < text.index("<style>")
    assert "http:" not in text.replace("http-equiv", "")
    assert "https:" not in text


def test_segments_have_their_times(tmp_path: Path) -> None:
    talk = put(tmp_path / "talk", {"transcripts/transcript.srt": SUBTITLES.format("one"), "transcripts/audio.flac": ""})
    found = made(tmp_path, Result(resource("Transcription"), talk))
    assert [each["data-start"] for each in found.all("li")] == ["1.5", "3661.0"]
    assert "./talk/transcripts/audio.flac#t=3661.0" in [each["href"] for each in found.all("a")]
    for text in ("0:01", "one second line", "1:01:01", "last"):
        assert text in found.text


def test_a_transcript_without_subtitles_is_shown_as_text(tmp_path: Path) -> None:
    vtt = "WEBVTT\n\n00:01.000 --> 00:02.000\n<v Ann>a &lt; b\n"
    as_vtt = put(tmp_path / "vtt", {"transcripts/transcript.vtt": vtt})
    plain = put(tmp_path / "txt", {"transcripts/transcript.txt": "plain words"})
    found = made(tmp_path, *(Result(resource("Transcription"), each) for each in (as_vtt, plain)))
    assert "a < b" in found.text
    assert "plain words" in found.text


def test_the_newest_version_is_shown(tmp_path: Path) -> None:
    names = ("image_1.png", "v2/image_1.png", "v10/image_1.png", "v10/image_1_thumb.png")
    pictures = put(tmp_path / "it", {f"generated-images/{name}": "" for name in names})
    found = made(tmp_path, Result(resource("ImageGeneration"), pictures))
    assert [each["src"] for each in found.all("img")] == ["./it/generated-images/v10/image_1.png"]
