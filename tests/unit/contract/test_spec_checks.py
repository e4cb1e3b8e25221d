"""Specs that a provider would bill without a usable result; money 30."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from contentgen_contract import patterns
from contentgen_contract.names import Kind
from contentgen_contract.resources.spec import parse_spec, run_hash
from contentgen_contract.resources.spec_checks import first_problem
from crds import crd

LORA, IMAGES = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION
BASE: dict[Kind, dict[str, Any]] = {
    LORA: {"loraName": "n", "triggerWord": "t", "source": {"url": "https://h/x"}},
    IMAGES: {"prompt": "a house"},
}
A = {"loraRef": {"name": "a"}}

WRONG: list[tuple[Kind, dict[str, Any], str]] = [
    (IMAGES, {"prompt": " \n\t"}, "spec.prompt: ' \\n\\t' must contain a character other than spaces"),
    (IMAGES, {"prompt": "\u3000\u00a0"}, "spec.prompt: "),
    (IMAGES, {"prompt": "\u200b\u2060 \u200d"}, "spec.prompt: "),
    (IMAGES, {"prompt": "\u2800\u3164\uffa0\u115f"}, "spec.prompt: "),
    (IMAGES, {"prompt": "\ufe0f\U000e0041\u034f\u00ad"}, "spec.prompt: "),
    (IMAGES, {"prompt": "a\0b"}, "spec.prompt: contains U+0000; it must contain no control"),
    (IMAGES, {"prompt": "a\u202eb"}, "spec.prompt: contains U+202E"),
    (IMAGES, {"prompt": "\u200ea"}, "spec.prompt: contains U+200E"),
    (IMAGES, {"prompt": "a\u2069"}, "spec.prompt: contains U+2069"),
    (IMAGES, {"prompt": "a\x1b[2J"}, "spec.prompt: contains U+001B"),
    (IMAGES, {"prompt": "a\x85"}, "spec.prompt: contains U+0085"),
    (IMAGES, {"loras": [A | {"scale": "0"}]}, "spec.loras[0].scale: '0' must be greater than 0"),
    (IMAGES, {"loras": [A, {"path": "https://h/a", "scale": "000.000"}]}, "spec.loras[1].scale: '000.000'"),
    (IMAGES, {"loras": [A, A | {"scale": "0.5"}]}, "spec.loras[1]: 'a' must contain each LoRA only once"),
    (IMAGES, {"loras": [{"path": "https://h/a?secret"}] * 2}, "spec.loras[1]: must contain each LoRA only once"),
    (IMAGES, {"model": "flux-lora-fast-training"}, "spec.model: 'flux-lora-fast-training' must be a model that"),
    (IMAGES, {"model": "fal-ai/flux-2-trainer"}, "spec.model: 'fal-ai/flux-2-trainer' must be"),
    (LORA, {"training": {"model": "flux-dev"}}, "spec.training.model: 'flux-dev' must be a trainer"),
    (LORA, {"training": {"learningRate": "0"}}, "spec.training.learningRate: '0' must be greater than 0 and at most 1"),
    (LORA, {"training": {"learningRate": "999999"}}, "spec.training.learningRate: '999999' must be"),
    (LORA, {"training": {"learningRate": "1.00000001"}}, "spec.training.learningRate: "),
    (LORA, {"training": {"learningRate": "0.0004"}}, "spec.training.learningRate: '0.0004' must be omitted: only"),
    (LORA, {"training": {"learningRate": "1", "model": "somebody/new"}}, "spec.training.learningRate: '1' must be"),
    (IMAGES, {"loras": [A | {"scale": "4.01"}]}, "spec.loras[0].scale: '4.01' must be at most 4 for flux-lora"),
    (IMAGES, {"model": "flux-dev", "loras": [A]}, "spec.loras: needs a model that takes LoRAs, such as flux-lora"),
    (
        IMAGES,
        {"model": "flux-2", "image": {"size": {"width": 504, "height": 1024}}},
        "spec.image.size.width: '504' must be at least 512 for flux-2",
    ),
    (
        IMAGES,
        {"model": "fal-ai/flux-2/lora", "loras": [A, *({"path": f"https://h/{name}"} for name in "bcd")]},
        "spec.loras: '4 LoRAs' must be at most 3 for flux-2-lora",
    ),
    (
        LORA,
        {"training": {"steps": 950, "model": "flux-2-trainer-v2"}},
        "spec.training.steps: '950' must be at least 100 and a multiple of 100 for flux-2-trainer-v2",
    ),
    (
        LORA,
        {"training": {"learningRate": "0.0011", "model": "flux-lora-portrait-trainer"}},
        "spec.training.learningRate: '0.0011' must be at least 0.000001 and at most 0.001 for",
    ),
    (
        LORA,
        {"training": {"style": "Style", "model": "flux-lora-portrait-trainer"}},
        "spec.training.style: 'Style' must be Subject: the trainer has no input for a style",
    ),
]
RIGHT: list[tuple[Kind, dict[str, Any]]] = [
    (IMAGES, {"prompt": "many\nlines\tand\r\nmore"}),
    (IMAGES, {"prompt": "שלום, مرحبا 👨\u200d👩\u200d👧"}),
    (IMAGES, {"loras": [A, {"path": "https://h/a"}, {"path": "https://h/b"}, {"loraRef": {"name": "b"}}]}),
    (IMAGES, {"loras": [A | {"scale": "0.00000001"}]}),
    (IMAGES, {"loras": [A | {"scale": "4"}]}),
    (IMAGES, {"model": "somebody/new-model", "loras": [A | {"scale": "99"}]}),
    (IMAGES, {"model": "somebody/new-model"}),
    (LORA, {"training": {"learningRate": "1", "model": "fal-ai/krea-2-trainer"}}),
    (LORA, {"training": {"learningRate": "0.000001", "model": "flux-lora-portrait-trainer"}}),
    (LORA, {"training": {"steps": 100, "model": "flux-2-trainer-v2"}}),
    (IMAGES, {"model": "flux-2-lora", "loras": [A, {"path": "https://h/a"}, {"path": "https://h/b"}]}),
    (IMAGES, {"model": "krea-2-turbo-lora", "loras": [A | {"scale": "5"}]}),
    (LORA, {"training": {"learningRate": "0.0004", "model": "fal-ai/flux-lora-portrait-trainer"}}),
]


@pytest.mark.parametrize(("kind", "edits", "told"), WRONG)
def test_refusal_has_field_value_and_expectation(kind: Kind, edits: dict[str, Any], told: str) -> None:
    found = first_problem(parse_spec(kind, BASE[kind] | edits))
    assert found is not None
    assert str(found).startswith(told)
    assert "secret" not in str(found)


@pytest.mark.parametrize(("kind", "edits"), RIGHT)
def test_others_are_taken(kind: Kind, edits: dict[str, Any]) -> None:
    assert first_problem(parse_spec(kind, BASE[kind] | edits)) is None


def test_a_spec_that_is_refused_today_is_read_in_a_run() -> None:
    assert run_hash(IMAGES, parse_spec(IMAGES, {"prompt": "a\0b", "loras": [A | {"scale": "0"}]})) == "57bb74fc07eaccc1"


def rules(kind: Kind, *path: str) -> list[str]:
    """CEL rules of a field of the spec."""
    schema = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for name in path:
        schema = schema["items"] if name == "[]" else schema["properties"][name]
    return [each["rule"] for each in schema["x-kubernetes-validations"]]


def python_of(pattern: str) -> str:
    """An RE2 pattern of the rules as a Python pattern."""
    named = re.sub(r"\\x\{([0-9A-F]+)\}", lambda code: rf"\U{int(code[1], 16):08x}", pattern)
    return named.replace(r"\p{Z}", "\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000")


@pytest.mark.parametrize(("kind", "edits", "told"), [each for each in WRONG if "prompt" in each[1]])
def test_the_api_server_refuses_the_same_prompts(kind: Kind, edits: dict[str, Any], told: str) -> None:
    found = [re.fullmatch(r"(!?)self\.matches\(r'(.*)'\)", rule) for rule in rules(kind, "prompt")]
    broken = [bool(each[1]) == bool(re.search(python_of(each[2]), edits["prompt"])) for each in found if each]
    assert len(broken) == 2
    assert any(broken), told


def test_the_api_server_has_a_rule_for_each_of_the_others() -> None:
    assert any("double(self) > 0.0" in rule for rule in rules(IMAGES, "loras", "[]", "scale"))
    assert any("double(self) <= 1.0" in rule for rule in rules(LORA, "training", "learningRate"))
    assert sum("exists_one" in rule for rule in rules(IMAGES, "loras")) == 2
    assert any("trainer" in rule for rule in rules(IMAGES, "model"))
    assert any("fal-ai/flux/dev" in rule and "flux-dev" in rule for rule in rules(LORA, "training", "model"))


@pytest.mark.parametrize(
    "mark", ["\x00", "\x07", "\x1b[2K", "\n", " ", "\x7f", "\x85", "\x9b", "\u00a0", "\u202e", "\u200f"]
)
@pytest.mark.parametrize("url", ["https://h/a{}b.mp3", "https://h{}/a.mp3", "s3://bucket/a{}b", "https://h/a?x={}"])
def test_a_url_has_no_control_characters(url: str, mark: str) -> None:
    """They would reach the terminal of whoever looks at the resource. The models refuse more than RE2 can name."""
    given = url.format(mark)
    with pytest.raises(ValidationError):
        parse_spec(Kind.TRANSCRIPTION, {"source": {"url": given}})
    assert ord(mark[0]) > 0xFF or not re.search(
        patterns.SOURCE_URL.replace(r"\s", "").replace("$", r"\Z"), given, re.ASCII
    )


@pytest.mark.parametrize(
    "url", ["https://h/\u00fc%20b.mp3?a=b&c=d#e", "HTTPS://[2001:db8::1]:8443/a", "s3://bucket/a+b=c"]
)
def test_other_urls_are_taken(url: str) -> None:
    parse_spec(Kind.TRANSCRIPTION, {"source": {"url": url}})
