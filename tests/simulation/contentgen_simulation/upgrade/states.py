"""Purchase states that one release leaves and another one continues."""

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from contentgen_contract.names import Kind
from contentgen_simulation.upgrade.driver import Action
from contentgen_simulation.world import SPECS, UID

Body = dict[str, Any]
LORA_UID = "3c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a03"
TRAINED = SPECS[Kind.LORA_TRAINING]
RETRAINED = TRAINED | {"training": {"steps": 500}}
SECOND = "1c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a02"
_EDITS: dict[Kind, Body] = {
    Kind.LORA_TRAINING: {"training": {"steps": 500}},
    Kind.IMAGE_GENERATION: {"prompt": "a dog"},
    Kind.TRANSCRIPTION: {"options": {"speakerLabels": False}},
}


@dataclass(frozen=True)
class StateCase:
    """Steps that reach a state, and the result that the next release must reach.

    `before` is done by the first release and `after` by the second, which then works until the run has ended. `posts`
    are all requests that may have been sent by then, each allowed by a person or by `paidAttempts`. `unprepared` are
    those after a rollback without preparation. `resumed` is the end after the upgrade that follows a rollback.
    """

    name: str
    before: tuple[Action, ...]
    posts: int
    phase: str = "Completed"
    reason: str | None = None
    after: tuple[Action, ...] = ()
    unprepared: int | None = None
    resumed: str | None = None


def old_states(kind: Kind) -> tuple[StateCase, ...]:
    """States that any release may leave."""
    spec = SPECS[kind]
    edited, delete = spec | _EDITS[kind], spec | {"deletionPolicy": "Delete"}
    twice = spec | {"paidAttempts": 2}
    apply: Action = ["apply", spec]
    done: tuple[Action, ...] = (apply, ["finish"])
    unknown: tuple[Action, ...] = (apply, ["lose", 1], ["hide", True], ["reason", "SubmissionUnknown"])
    again: Action = ["apply", spec, SECOND]
    common = (
        StateCase("applied", (apply,), 1),
        StateCase("begun", (apply, ["step"]), 1),
        StateCase("refused for now", (apply, ["refuse", "Busy"], ["state", "refused"]), 1, after=(["refuse", None],)),
        StateCase("refused for good", (apply, ["refuse", "Refused"], ["finish"]), 0, "Failed", "ProviderRefused",
              (["refuse", None],)),
        StateCase("refused for good, applied again", (apply, ["refuse", "Refused"], ["finish"], ["delete"]), 1,
              after=(["refuse", None], again)),
        StateCase("the reply is lost", (apply, ["lose", 1], ["state", "intent"]), 1),
        StateCase("the reply is lost, and the history is empty",
              (apply, ["lose", 1], ["hide", True], ["state", "intent"]), 1, "SubmissionUnknown"),
        StateCase("unknown", unknown, 1, "SubmissionUnknown"),
        StateCase("unknown, found later", unknown, 1, after=(["hide", False], ["step", 5])),
        StateCase("unknown, resubmitted before", (*unknown, ["resubmit"], ["state", "submitted", 2]), 2),
        StateCase("unknown, resubmitted after", unknown, 2, after=(["resubmit"], ["state", "submitted", 2])),
        StateCase("unknown, resubmitted, applied again", (*unknown, ["resubmit"], ["step"], ["finish"], ["delete"]), 2,
              "SubmissionUnknown", after=(again,), resumed="Completed"),
        StateCase("unknown, resubmitted, applied again, resubmitted",
              (*unknown, ["resubmit"], ["step"], ["finish"], ["delete"]), 2,
              reason="AdoptedFinishedRun", after=(again, ["reason", "SubmissionUnknown"], ["resubmit"], ["step"])),
        StateCase("submitted", (apply, ["state", "submitted"]), 1),
        StateCase("submitted, deleted, applied again", (apply, ["state", "submitted"], ["delete"]), 1,
              "Failed", "Cancelled", (again,)),
        StateCase("succeeded", (apply, ["state", "succeeded"]), 1),
        StateCase("succeeded, and the Job runs",
              (apply, ["state", "submitted"], ["idle", True], ["state", "succeeded"], ["step", 2]), 1,
              after=(["idle", False],)),
        StateCase("collected", done, 1, reason="Completed"),
        StateCase("collected, deleted, applied again", (*done, ["delete"]), 1, reason="AdoptedFinishedRun",
              after=(again,)),
        StateCase("adopted", (*done, ["delete"], again, ["finish"]), 1, reason="AdoptedFinishedRun"),
        StateCase("adopted, deleted, applied a third time", (*done, ["delete"], again, ["finish"], ["delete"]), 1,
              reason="AdoptedFinishedRun", after=(["apply", spec, SECOND.replace("1c8d", "2c8d")],)),
        StateCase("discarded", (["apply", delete], ["finish"], ["delete"]), 1, "Failed", "OutputsDeleted", (again,)),
        StateCase("failed", (apply, ["fail", 1], ["finish"]), 1, "Failed", "ProviderFailed"),
        StateCase("failed, another attempt", (["apply", twice], ["fail", 1], ["state", "failed"]), 2),
        StateCase("failed, the second is submitted", (["apply", twice], ["fail", 1], ["state", "submitted", 2]), 2),
        StateCase("cancelled", (apply, ["state", "submitted"], ["annotate", {"contentgen.dev/cancel": "1"}],
              ["finish"]),
              1, "Failed"),
        StateCase("two versions", (*done, ["apply", edited], ["step"], ["finish"]), 2, reason="Completed"),
        StateCase("two versions, back to the first", (*done, ["apply", edited], ["step"], ["finish"]), 2,
              reason="AdoptedFinishedRun", after=(apply, ["step"])),
        StateCase("the second version is submitted", (*done, ["apply", edited], ["state", "submitted"]), 2),
        StateCase("rerun", (*done, ["annotate", {"contentgen.dev/rerun": "again"}], ["state", "submitted"]), 2),
        StateCase("suspended", (["apply", spec | {"suspend": True}], ["finish"]), 1, after=(apply, ["step"])),
    )  # fmt: skip
    crashes = tuple(
        StateCase(f"ended {point}", (apply, ["arm", point], ["struck"]), posts, phase)
        for point, posts, phase in (
            ("before intend", 1, "Completed"),
            ("after intend", 0, "SubmissionUnknown"),
            ("after POST", 1, "Completed"),
            ("before move to succeeded", 1, "Completed"),
            ("before move to collected", 1, "Completed"),
            ("after move to collected", 1, "Completed"),
        )
    )
    if kind is Kind.IMAGE_GENERATION:
        return common + crashes
    return (*common, *crashes, StateCase("prepared", (apply, ["step", 3]), 1))


def new_states(kind: Kind) -> tuple[StateCase, ...]:
    """States of this release that a5a1c84 does not know."""
    spec = SPECS[kind]
    edited, twice = spec | _EDITS[kind], spec | {"paidAttempts": 2}
    apply: Action = ["apply", spec]
    again: Action = ["apply", spec, SECOND]
    done: tuple[Action, ...] = (apply, ["finish"])
    lost: tuple[Action, ...] = (apply, ["lose", 1], ["hide", True], ["state", "intent"], ["step", 2])
    unknown: tuple[Action, ...] = (apply, ["lose", 1], ["hide", True], ["reason", "SubmissionUnknown"])
    # The lost ledger is restored without the archive's key, by which a training or a recording is found.
    found = "Completed" if kind is Kind.IMAGE_GENERATION else None
    return (
        StateCase("planned, not named", (apply, ["arm", "after intend"], ["struck"]), 1),
        StateCase("planned, named", (apply, ["arm", "before sending"], ["struck"]), 1),
        StateCase("planned, deleted, applied again", (apply, ["arm", "before sending"], ["struck"], ["delete"]), 1,
              after=(again,)),
        StateCase("sending, not sent", (apply, ["arm", "after sending"], ["struck"]), 0, "SubmissionUnknown"),
        StateCase("claimed", (apply, ["arm", "after claim"], ["struck"]), 1),
        StateCase("adopted before it was found", (*lost, ["delete"], again, ["step", 2]), 1,
              after=(["hide", False], ["step", 5])),
        StateCase("abandoned, the next is planned", (*unknown, ["resubmit"], ["arm", "before sending"], ["struck"]), 2),
        StateCase("collected again", (*done, ["delete"], again, ["lose_files"], ["state", "succeeded"]), 1),
        StateCase("the ledger is lost", (apply, ["state", "submitted"], ["forget"], ["reason", "SubmissionUnknown"]), 1,
              "SubmissionUnknown", unprepared=2, resumed=found),
        StateCase("the ledger is lost, applied again", (*done, ["delete"], ["forget"], again), 1,
              "SubmissionUnknown", unprepared=2, resumed=found),
        StateCase("the token of a rerun is taken off",
              (*done, ["apply", edited, UID, {"contentgen.dev/rerun": "x"}], ["step"], ["finish"], ["apply", edited]),
              2, "Suspended", unprepared=3),
        StateCase("another attempt is allowed", (["apply", twice], ["state", "submitted"]), 1, after=(["fail", 1],),
              phase="Suspended", unprepared=2),
        StateCase("another attempt is allowed, and not needed", (["apply", twice], ["state", "submitted"]), 1),
    )  # fmt: skip


def with_lora(state: StateCase, *, retrained: bool = False) -> StateCase:
    """State of an image with a LoRA that the first release trains first, and with `retrained` once more afterwards.

    Each training increases the number of requests by one.
    """
    again: tuple[Action, ...] = (["train", RETRAINED, LORA_UID],) if retrained else ()
    before = (["train", TRAINED, LORA_UID], *map(_with_lora, state.before), *again)
    more = 2 if retrained else 1
    return replace(
        state,
        name=f"{state.name}, LoRA trained again" if retrained else f"{state.name}, with a LoRA",
        before=before,
        after=tuple(map(_with_lora, state.after)),
        posts=state.posts + more,
        unprepared=None if state.unprepared is None else state.unprepared + more,
        # The lost ledger is restored without the LoRA's key, by which the request is found.
        resumed=None if "the ledger is lost" in state.name else state.resumed,
    )


def _with_lora(action: Action) -> Action:
    name, *given = action
    if name == "apply":
        return [name, given[0] | {"loras": [{"loraRef": {"name": "it"}}]}, *given[1:]]
    return [name, *(each + 1 for each in given)] if name in ("lose", "fail") else action


def lora_states(states: Callable[[Kind], tuple[StateCase, ...]]) -> tuple[StateCase, ...]:
    """States of images with a LoRA, also one that was retrained during or after the image's run."""
    found = states(Kind.IMAGE_GENERATION)
    if os.environ.get("CONTENTGEN_UPGRADE") != "all":
        found = tuple(each for each in found if each.name in _WITH_LORA | _RETRAINED)
    more = tuple(with_lora(each, retrained=True) for each in found if each.name in _RETRAINED)
    return (*map(with_lora, found), *more)


def retrained_states() -> tuple[StateCase, ...]:
    """States after a LoRA was retrained: this release buys images under a key that a5a1c84 does not know.

    a5a1c84 continues with the images that were bought before.
    """
    spec = SPECS[Kind.IMAGE_GENERATION] | {"loras": [{"loraRef": {"name": "it"}}]}
    first: Action = ["train", TRAINED, LORA_UID]
    again: tuple[Action, ...] = (["delete"], ["train", RETRAINED, LORA_UID], ["apply", spec, SECOND])
    done: tuple[Action, ...] = (first, ["apply", spec], ["finish"], *again)
    failed: tuple[Action, ...] = (first, ["apply", spec], ["fail", 2], ["finish"], *again)
    return (
        StateCase("trained again, planned", (*done, ["arm", "before sending"], ["struck"]), 3, resumed="Completed"),
        StateCase("trained again, submitted", (*done, ["state", "submitted"]), 4),
        StateCase("trained again, collected", (*done, ["finish"]), 4),
        StateCase("trained again, collected, applied again",
              (*done, ["finish"], ["delete"], ["apply", spec, SECOND.replace("1c8d", "2c8d")]), 4),
        StateCase("trained again after a failure",
              (*failed, ["apply", spec | {"paidAttempts": 2}, SECOND.replace("1c8d", "2c8d")],
               ["arm", "before sending"], ["struck"]), 3, "Suspended", unprepared=4),
    )  # fmt: skip


_WITH_LORA = {
    "refused for now", "the reply is lost", "submitted", "succeeded", "collected, deleted, applied again", "discarded",
    "failed, another attempt", "two versions, back to the first", "ended before intend", "planned, named",
    "adopted before it was found", "the ledger is lost",
}  # fmt: skip
_RETRAINED = {
    "the reply is lost", "unknown, resubmitted before", "submitted", "succeeded", "collected", "adopted", "cancelled",
    "failed, the second is submitted", "rerun", "ended after POST", "ended before move to collected",
}  # fmt: skip


def cases(states: Callable[[Kind], tuple[StateCase, ...]]) -> list[tuple[Kind, StateCase]]:
    """All cases: each state with each kind if CONTENTGEN_UPGRADE=all (`make test-upgrade`), else with one."""
    every = [states(kind) for kind in Kind]
    if os.environ.get("CONTENTGEN_UPGRADE") == "all":
        return [(kind, state) for kind, of_kind in zip(Kind, every, strict=True) for state in of_kind]
    kinds = itertools.cycle(Kind)
    names = dict.fromkeys(state.name for of_kind in every for state in of_kind)
    chosen = ((next(kinds), name) for name in names)
    return [(kind, state) for kind, name in chosen for state in states(kind) if state.name == name]


def ids(chosen: list[tuple[Kind, StateCase]]) -> list[str]:
    """Test ids of the cases."""
    return [f"{kind.plural}: {state.name}" for kind, state in chosen]
