"""Plans: subjects (resources), the provider's behaviour, and events at simulated times, as JSON values."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from contentgen_contract.names import Kind

Args = dict[str, Any]
HOOK = "https://hooks.example.com/hook"
PRIVATE = "https://private.example.com/hook"
"""Its name has a private address: nothing may be sent there."""
REBOUND = "https://rebound.example.com/hook"
"""The first lookup of its name gives a public address, the later ones a private one."""


@dataclass(frozen=True)
class Subject:
    """Resource of the plan, first applied at the start."""

    namespace: str
    kind: Kind
    name: str
    variant: int = 0
    options: Args = field(default_factory=dict)


@dataclass(frozen=True)
class PlannedEvent:
    """Event `at` seconds after `on`: the start (""), `state:<state or send state of a purchase>`, `phase:<phase>` or
    `reason:<reason>`.

    `who` is the index of a subject. `do` names a method of `world.Actions`, `args` its arguments.
    """

    do: str
    at: float = 0.0
    on: str = ""
    who: int = 0
    args: Args = field(default_factory=dict)

    def __str__(self) -> str:
        when = f"{self.on} + {self.at:g} s" if self.on else f"{self.at:g} s"
        args = ", ".join(f"{name}={value}" for name, value in self.args.items())
        return f"{when}: {self.do}({args}) of subject {self.who}"


@dataclass(frozen=True)
class RehearsalPlan:
    """One rehearsal. `replies` and `results` are by the ordinal of a POST, from 1, as text: JSON has no other keys."""

    seed: int
    group: str
    subjects: tuple[Subject, ...]
    events: tuple[PlannedEvent, ...]
    replies: Args = field(default_factory=dict)  # lost, dropped, unreachable, or an HTTP status
    results: Args = field(default_factory=dict)  # an entry of generate.FATES
    history: Args = field(default_factory=dict)  # noise, lag, missing, without_payload
    hooks: Args = field(default_factory=dict)  # lost, dropped or an HTTP status, by the ordinal of a webhook's POST
    takes: float = 20.0  # seconds that the provider works on a request
    places: int = 0  # paid requests, and prepare Jobs, at a time; 0: no limit
    cancels: bool = True  # whether the provider ends a running request on demand
    queue_seconds: float | None = None  # for which a queue such as Kueue holds each Job; None: no resource has a queue
    budget: str = ""  # dollars a day of a ContentBudget that counts everything; empty: there is none

    @property
    def digest(self) -> str:
        """Hash of the plan without its seed, which identifies duplicates."""
        content = asdict(replace(self, seed=0))
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def __str__(self) -> str:
        lines = [f"plan {self.seed} ({self.group})"]
        lines += [
            f"  subject {index}: {subject.kind} {subject.namespace}/{subject.name} "
            f"variant {subject.variant} {subject.options or ''}"
            for index, subject in enumerate(self.subjects)
        ]
        given = {"replies": self.replies, "results": self.results, "history": self.history}
        lines += [f"  provider: takes {self.takes:g} s, {'cancels' if self.cancels else 'does not cancel'}"]
        lines += [f"  places: {self.places}"] * bool(self.places)
        lines += [f"  budget: {self.budget} dollars a day"] * bool(self.budget)
        if self.queue_seconds is not None:
            lines += [f"  queue: holds each Job for {self.queue_seconds:g} s"]
        lines += [f"  provider: {name} {value}" for name, value in given.items() if value]
        lines += [f"  webhooks: {self.hooks}"] * bool(self.hooks)
        return "\n".join([*lines, *(f"  {event}" for event in self.events)])


RESPELLED = 10
"""Added to a variant: the same purchase, in another spelling."""


def spec_of(kind: Kind, variant: int, options: Args) -> dict[str, Any]:
    """Spec of a variant; each variant is another purchase, but for its other spelling."""
    respelled, variant = divmod(variant, RESPELLED)
    talk = f"https://example.com/talk-{variant % 2}.mp4"
    bodies: dict[Kind, dict[str, Any]] = {
        Kind.LORA_TRAINING: {
            "loraName": "jesse",
            "triggerWord": "jf",
            "source": {"url": "https://example.com/talk.mp4"},
            "training": {"steps": 1000 + 500 * variant},
        },
        Kind.IMAGE_GENERATION: {"prompt": f"cat number {variant}", "image": {"count": 2}},
        Kind.TRANSCRIPTION: {"source": {"url": talk}, "options": {"language": ("en", "de", "fr")[variant % 3]}},
    }
    body = bodies[kind]
    if respelled:
        spelling: dict[Kind, tuple[str, dict[str, Any]]] = {
            Kind.LORA_TRAINING: ("training", {"model": "fal-ai/flux-lora-fast-training"}),
            Kind.IMAGE_GENERATION: ("", {"model": "fal-ai/flux-lora"}),
            Kind.TRANSCRIPTION: ("options", {"formats": ["txt"]}),
        }
        field, change = spelling[kind]
        body = body | ({field: body[field] | change} if field else change)
    given = {name: value for name, value in options.items() if name not in ("seed", "count")}
    if kind is Kind.IMAGE_GENERATION:
        image = {name: options[name] for name in ("seed", "count") if name in options}
        body["image"] = body["image"] | image
    return body | given
