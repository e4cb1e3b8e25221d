"""fal's endpoints by the facts: inputs with their meanings, outputs, units and durations of a request."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from contentgen_sandbox.facts import files
from contentgen_sandbox.facts.json_schema import SchemaProblem, SchemaValidator

SIZES = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
_RESOLUTIONS = {"0.5K": 512, "1K": 1024, "2K": 2048, "4K": 4096, "4k": 2160}
"""Shorter side in pixels of resolutions without it in their name, such as 720p. An assumption: no fact has them."""
_WIDE, _SQUARE = "16:9", "1:1"
_DEFAULT_SIDE = {"video": 720, "image": 1024}
_DEFAULT_STEPS = 1000  # of a trainer without a default in the facts; a run is priced as so many
_FRAMES_PER_SECOND = 24.0


@dataclass(frozen=True)
class FalEndpoint:
    """An endpoint of fal."""

    document: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Full id, such as fal-ai/flux/dev."""
        return str(self.document["endpoint"])

    @property
    def kind(self) -> Literal["trainer", "image", "video"]:
        kind: Literal["trainer", "image", "video"] = self.document["kind"]
        return kind

    @property
    def family(self) -> str | None:
        """Family of the LoRAs that it makes or takes; None: it takes none."""
        family: str | None = self.document["loraFamily"]
        return family

    @property
    def price(self) -> Mapping[str, Any] | None:
        """Published price; None: no source states one."""
        price: Mapping[str, Any] | None = self.document["price"]
        return price

    @cached_property
    def validator(self) -> SchemaValidator:
        schema = self.document["input"]
        # fal drops inputs that it does not know, and refuses no request for them.
        return SchemaValidator(schema, schema.get("$defs", {}), extra_allowed=True)

    def problems(self, arguments: Mapping[str, Any]) -> list[SchemaProblem]:
        """Reasons for a 422; empty: the model takes the inputs."""
        return self.validator.problems(arguments)

    def inputs(self, role: str) -> tuple[str, ...]:
        """Names of the inputs with a meaning such as `prompt`; empty: it has none."""
        named = self.document["roles"].get(role, ())
        return (named,) if isinstance(named, str) else tuple(named)

    def given(self, arguments: Mapping[str, Any], name: str) -> Any:
        """Value of an input: that of the request, or the default; None without both."""
        value = arguments.get(name)
        return self.document["input"]["properties"].get(name, {}).get("default") if value is None else value

    def value(self, arguments: Mapping[str, Any], role: str, otherwise: Any = None) -> Any:
        """Value of the first input with a meaning; `otherwise` without an input or a value."""
        found = next((self.given(arguments, name) for name in self.inputs(role)), None)
        return otherwise if found is None else found

    def with_defaults(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs, with the default of each that the request does not have."""
        properties = self.document["input"]["properties"]
        return {name: member["default"] for name, member in properties.items() if "default" in member} | dict(arguments)

    @property
    def output(self) -> Mapping[str, Any]:
        """JSON Schema of the output."""
        schema: Mapping[str, Any] = self.document["output"]
        return schema

    def steps(self, arguments: Mapping[str, Any]) -> int:
        return int(self.value(arguments, "steps", _DEFAULT_STEPS))

    def count(self, arguments: Mapping[str, Any]) -> int:
        """Number of pictures."""
        return int(self.value(arguments, "count", 1))

    def pixels(self, arguments: Mapping[str, Any]) -> tuple[int, int]:
        """Width and height of the picture or clip."""
        given = {name: self.given(arguments, name) for name in (*self.inputs("size"), *self.inputs("resolution"))}
        for value in given.values():
            if isinstance(value, dict):
                return int(value.get("width", 512)), int(value.get("height", 512))
            if value in SIZES:
                return SIZES[value]
        ratio = given.get("aspect_ratio") or "auto"
        if ratio == "auto":
            ratio = _WIDE if self.kind == "video" else _SQUARE
        return _sides(str(ratio), _side(given.get("resolution"), _DEFAULT_SIDE.get(self.kind, 1024)))

    def frames_per_second(self, arguments: Mapping[str, Any]) -> float:
        names = (*self.inputs("frameRate"), *self.inputs("duration")[1:])
        found = next((self.given(arguments, name) for name in names), None)
        return float(found or _FRAMES_PER_SECOND)

    def seconds(self, arguments: Mapping[str, Any]) -> float:
        """Length of the clip in seconds."""
        if parts := arguments.get("multi_prompt"):
            return float(sum(int(part.get("duration", "5")) for part in parts))
        if len(self.inputs("duration")) > 1:
            return int(self.value(arguments, "duration", 0)) / self.frames_per_second(arguments)
        return float(str(self.value(arguments, "duration", 5)).removesuffix("s"))

    def frames(self, arguments: Mapping[str, Any]) -> int:
        return max(1, round(self.seconds(arguments) * self.frames_per_second(arguments)))


def _side(resolution: object, otherwise: int) -> int:
    text = str(resolution or "")
    return _RESOLUTIONS.get(text) or (int(text[:-1]) if text[:-1].isdigit() and text.endswith("p") else otherwise)


def _sides(ratio: str, side: int) -> tuple[int, int]:
    """Even width and height of a ratio such as 16:9, the shorter one of `side` pixels."""
    across, down = (int(part) for part in ratio.split(":"))
    longer = round(side * max(across, down) / min(across, down) / 2) * 2
    return (longer, side) if across >= down else (side, longer)


def _endpoints() -> dict[str, FalEndpoint]:
    found = (FalEndpoint(files.read(name)) for name in files.names("fal/models"))
    return {endpoint.name: endpoint for endpoint in found}


ENDPOINTS = _endpoints()
"""Endpoints that the facts describe, by name."""
APPLICATIONS = frozenset("/".join(name.split("/")[:2]) for name in ENDPOINTS)
"""`owner/alias` of the endpoints. fal accepts a request for any path of these, and answers 404 at the result."""
