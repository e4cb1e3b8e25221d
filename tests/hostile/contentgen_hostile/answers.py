"""Mutation campaign: recorded answers of both providers, with fields broken, are given to the collect stages.

`make rehearse` runs thousands, the unit tests a sample. Each must end in a valid outcome: what is good is stored, and
the outcome names what is not. Any exception is a finding.
"""

import argparse
import copy
import gzip
import json
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from contentgen_contract.names import Kind, Reason
from contentgen_hostile.collecting import Collected, encoded, picture, run_fast, weights_of
from contentgen_worker.collect.answers import clean_text

Path = tuple[str | int, ...]
_DROPPED = object()
_GOOD = "https://files.example/"
FILES = {
    **{f"{_GOOD}{number}.png": picture(size=(64 + number, 48)) for number in (1, 2, 3)},
    f"{_GOOD}lora": weights_of({"a": {"dtype": "F16", "shape": [4], "data_offsets": [0, 8]}}, bytes(8)),
    f"{_GOOD}config": b'{"rank": 16}',
    f"{_GOOD}html": b"<html>gone</html>",
    f"{_GOOD}cut.png": picture()[:60],
}
_WORDS = "Hello there. Good morning everybody in the room."
ANSWERS: dict[Kind, dict[str, Any]] = {
    Kind.IMAGE_GENERATION: {
        "images": [
            {
                "url": f"{_GOOD}{number}.png",
                "width": 64 + number,
                "height": 48,
                "content_type": "image/png",
                "file_name": f"{number}.png",
                "file_size": 190,
            }
            for number in (1, 2, 3)
        ],
        "timings": {"inference": 0.51},
        "seed": 13602895424243386000,
        "has_nsfw_concepts": [False, False, False],
        "prompt": "a cat",
        "debug_latents": None,
    },
    Kind.LORA_TRAINING: {
        "diffusers_lora_file": {
            "url": f"{_GOOD}lora",
            "content_type": "application/octet-stream",
            "file_name": "lora.safetensors",
            "file_size": 89745224,
        },
        "config_file": {"url": f"{_GOOD}config", "content_type": "application/json", "file_size": 12},
        "debug_preprocessed_output": None,
    },
    Kind.TRANSCRIPTION: {
        "id": "t1",
        "status": "completed",
        "audio_url": "https://s3.example/audio.flac",
        "text": _WORDS,
        "audio_duration": 12,
        "confidence": 0.94,
        "language_code": "en_us",
        "language_confidence": 0.98,
        "speech_model_used": "universal-3-5-pro",
        "words": [
            {
                "text": word,
                "start": index * 400,
                "end": index * 400 + 350,
                "confidence": 0.9,
                "speaker": "AB"[index > 1],
            }
            for index, word in enumerate(_WORDS.split(" "))
        ],
        "utterances": [
            {"speaker": "A", "text": "Hello there.", "start": 0, "end": 750, "confidence": 0.9, "words": []},
            {"speaker": "B", "text": "Good morning everybody in the room.", "start": 800, "end": 2750, "words": []},
        ],
        "error": None,
        "webhook_url": None,
    },
}


def _nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


VALUES: tuple[Any, ...] = (
    *(_DROPPED, None, True, False, 0, -1, 1.5, -0.0, 2**53 + 1, 2**63, 2**64, -(2**64), 10**40, -(10**40), 1e308),
    *(float("nan"), float("inf"), "", "x", "0", "\ud800", "a\udc00b", "\x00\x1b[31m", "\u202eevil", "line\nbreak"),
    *("x" * 5_000, "<v>&-->", [], {}, [None], [[]], {"url": 1}, {"text": None}, _nested(50)),
    *(
        f"{_GOOD}html",
        f"{_GOOD}cut.png",
        f"{_GOOD}missing",
        "data:,x",
        "data:image/png;base64,!!",
        "file:///etc/passwd",
    ),
)


@dataclass(frozen=True)
class BrokenAnswer:
    """A broken answer and what was broken."""

    kind: Kind
    name: str
    answer: bytes

    @property
    def read(self) -> dict[str, Any]:
        """The answer as its JSON says, for the judge; empty for a text that is not JSON."""
        try:
            text = gzip.decompress(self.answer) if self.answer.startswith(b"\x1f\x8b") else self.answer
            given = json.loads(text.decode("utf-8-sig", "replace"), parse_int=_integer, parse_constant=lambda _: None)
        except (ValueError, EOFError, RecursionError):
            return {}
        return given if isinstance(given, dict) else {}


def single_mutants(kind: Kind) -> Iterator[BrokenAnswer]:
    """Each field and each item of a list: dropped, repeated, wrapped in a list, and with each of `VALUES`."""
    base = ANSWERS[kind]
    for path in _paths(base):
        given = _at(base, path)
        for number, value in enumerate((*VALUES, [given], {"value": given}, str(given))):
            yield BrokenAnswer(kind, f"{_shown(path)} value {number}", encoded(_with(base, path, value)))
        if isinstance(given, list):
            yield BrokenAnswer(kind, f"{_shown(path)} twenty times", encoded(_with(base, path, given * 20)))
    yield from _texts(kind)


def mutants(kind: Kind, seed: int) -> Iterator[BrokenAnswer]:
    """Endless mutants with two to five broken fields."""
    dice = random.Random(f"{kind} {seed}")
    while True:
        answer, names = ANSWERS[kind], []
        for _ in range(dice.randint(2, 5)):
            path = dice.choice(list(_paths(answer)) or [()])
            if not path:
                break
            value = dice.choice(VALUES)
            answer = _with(answer, path, value)
            names.append(f"{_shown(path)} value {VALUES.index(value)}")
        yield BrokenAnswer(kind, ", ".join(names), encoded(answer))


def judge(mutant: BrokenAnswer) -> Collected:
    """Run the stage and check its result. Raises AssertionError, or what the stage raises."""
    left = run_fast(mutant.kind, mutant.answer, FILES)
    text = left.outcome.model_dump_json()
    assert clean_text(json.loads(text)["message"]) == json.loads(text)["message"], "the message has control characters"
    assert left.outcome.succeeded or left.outcome.message, "a failure without a message"
    assert left.outcome.passing is not True, "nothing here passes"
    _JUDGES[mutant.kind](mutant.read, left)
    return left


def _judge_images(answer: dict[str, Any], left: Collected) -> None:
    items = answer.get("images")
    items = items if isinstance(items, list) else [items] if isinstance(items, dict) else []
    good = {number for number, item in enumerate(items[:32], 1) if _is_picture(item)}
    stored = {int(image["name"].split("_")[1].split(".")[0]) for image in left.facts.get("images", ())}
    assert good <= stored, f"{sorted(good - stored)} are good, and not stored"
    assert left.outcome.succeeded is bool(stored)
    if not stored:
        assert left.outcome.reason is Reason.RESULT_INVALID
        return
    bad = set(range(1, min(len(items), 32) + 1)) - stored
    assert bad == {each_picture["number"] for each_picture in left.facts["missing"]}, "a missing picture is not named"
    assert all(each_picture["cause"] for each_picture in left.facts["missing"])
    seed = answer.get("seed")
    if left.facts["seed"] is None and seed is not None:
        assert "the seed" in _notes(left)
    elif isinstance(seed, int) and not isinstance(seed, bool):
        assert int(left.facts["seed"]) == seed, "another seed"
    flags = answer.get("has_nsfw_concepts")
    if flags not in (None, []) and any(image["unsafe"] is None for image in left.facts["images"]):
        assert "safety checker" in _notes(left)


def _judge_lora(answer: dict[str, Any], left: Collected) -> None:
    file = answer.get("diffusers_lora_file", answer.get("lora_file"))
    good = (file.get("url") if isinstance(file, dict) else file) == f"{_GOOD}lora"
    assert left.outcome.succeeded is good
    if good:
        assert left.stored["model.safetensors"] == FILES[f"{_GOOD}lora"]
        config = json.loads(left.stored["config.json"])
        assert config["provider"] is not None or "configuration" in _notes(left)


def _judge_transcript(answer: dict[str, Any], left: Collected) -> None:
    good = answer.get("status") == "completed" and isinstance(answer.get("text"), str)
    assert left.outcome.succeeded or not good, "a text is not stored"
    if not left.outcome.succeeded:
        return
    assert set(left.stored) == {f"transcript.{word}" for word in ("json", "txt", "srt", "vtt")}
    json.loads(left.stored["transcript.json"], parse_constant=_refuse)
    for name, field in (("durationSeconds", "audio_duration"), ("language", "language_code")):
        given = answer.get(field)
        if left.facts[name] is None and given is not None:
            assert field in _notes(left), f"{field} is left out without a note"


_JUDGES: dict[Kind, Callable[[dict[str, Any], Collected], None]] = {
    Kind.IMAGE_GENERATION: _judge_images,
    Kind.LORA_TRAINING: _judge_lora,
    Kind.TRANSCRIPTION: _judge_transcript,
}


def campaign(count: int, seed: int, kinds: tuple[Kind, ...] = tuple(Kind), *, stop: bool = False) -> list[str]:
    """Findings of `count` mutants: the single ones, in a random order, and then mixed ones. `stop`: at the first."""
    dice, findings = random.Random(seed), []
    single = [each_mutant for kind in kinds for each_mutant in single_mutants(kind)]
    dice.shuffle(single)
    mixed = [mutants(kind, seed) for kind in kinds]
    for number in range(count):
        mutant = single[number] if number < len(single) else next(mixed[number % len(mixed)])
        try:
            judge(mutant)
        except Exception as error:  # noqa: BLE001 - any error is a finding
            findings.append(f"{mutant.kind} {mutant.name}: {type(error).__name__}: {str(error)[:300]}")
        if findings and stop:
            break
    return findings


def _is_picture(item: object) -> bool:
    url = item.get("url") if isinstance(item, dict) else item
    return isinstance(url, str) and url.strip() in {f"{_GOOD}{number}.png" for number in (1, 2, 3)}


def _notes(left: Collected) -> str:
    return " ".join(left.facts["notes"]) + (" more" if len(left.facts["notes"]) == 8 else "")


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) < 4_000 else digits


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} in a JSON file")


def _texts(kind: Kind) -> Iterator[BrokenAnswer]:
    """The whole answer as another text."""
    text = encoded(ANSWERS[kind])
    yield BrokenAnswer(kind, "byte order mark", b"\xef\xbb\xbf" + text)
    yield BrokenAnswer(kind, "gzip", gzip.compress(text))
    yield BrokenAnswer(kind, "gzip, cut off", gzip.compress(text)[:-20])
    yield BrokenAnswer(kind, "cut off", text[:-2])
    yield BrokenAnswer(kind, "empty", b" ")
    yield BrokenAnswer(kind, "a list", b"[" + text + b"]")
    yield BrokenAnswer(kind, "invalid UTF-8", text.replace(b"x", b"\xff"))
    yield BrokenAnswer(kind, "a number of 6,000 digits", text[:-1] + b', "more": ' + b"9" * 6_000 + b"}")
    yield BrokenAnswer(kind, "nested 100,000 times", text[:-1] + b', "more": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")


def _paths(value: object, path: Path = ()) -> Iterator[Path]:
    if isinstance(value, dict | list):
        items: Any = value.items() if isinstance(value, dict) else enumerate(value)
        for name, element in items:
            yield (*path, name)
            yield from _paths(element, (*path, name))


def _at(value: Any, path: Path) -> Any:
    for name in path:
        value = value[name]
    return value


def _with(base: dict[str, Any], path: Path, value: object) -> dict[str, Any]:
    made = copy.deepcopy(base)
    *parents, last = path
    place = _at(made, tuple(parents))
    if value is _DROPPED:
        del place[last]
    else:
        place[last] = copy.deepcopy(value)
    return made


def _shown(path: Path) -> str:
    return ".".join(map(str, path))


def main() -> None:
    """Print the findings; exit 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    findings = campaign(options.mutants, options.seed)
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    sys.stdout.write(f"answers: {options.mutants} mutants, {len(findings)} findings\n")
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
