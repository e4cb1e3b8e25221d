"""States of a purchase that one release leaves and another one meets."""

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from contentgen_contract.names import Kind
from contentgen_simulation.upgrade.driver import Deed
from contentgen_simulation.world import SPECS, UID

Body = dict[str, Any]
SECOND = "1c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a02"
_EDITS: dict[Kind, Body] = {
    Kind.LORA_TRAINING: {"training": {"steps": 500}},
    Kind.IMAGE_GENERATION: {"prompt": "a dog"},
    Kind.TRANSCRIPTION: {"options": {"speakerLabels": False}},
}


@dataclass(frozen=True)
class State:
    """How a state is reached, and what the release that meets it must come to.

    `before` is done by the first release and `after` by the second, which then works until the run has ended. `posts`
    are all requests that may have been sent by then, each allowed by a person or by `paidAttempts`. `unprepared` are
    those after a rollback without preparation. `resumed` is the end after the upgrade that follows a rollback.
    """

    name: str
    before: tuple[Deed, ...]
    posts: int
    phase: str = "Completed"
    reason: str | None = None
    after: tuple[Deed, ...] = ()
    unprepared: int | None = None
    resumed: str | None = None


def old_states(kind: Kind) -> tuple[State, ...]:
    """What any release may leave."""
    spec = SPECS[kind]
    edited, delete = spec | _EDITS[kind], spec | {"deletionPolicy": "Delete"}
    twice = spec | {"paidAttempts": 2}
    apply: Deed = ["apply", spec]
    done: tuple[Deed, ...] = (apply, ["finish"])
    unknown: tuple[Deed, ...] = (apply, ["lose", 1], ["hide", True], ["reason", "SubmissionUnknown"])
    again: Deed = ["apply", spec, SECOND]
    common = (
        State("applied", (apply,), 1),
        State("begun", (apply, ["step"]), 1),
        State("refused for now", (apply, ["refuse", "Busy"], ["state", "refused"]), 1, after=(["refuse", None],)),
        State("refused for good", (apply, ["refuse", "Refused"], ["finish"]), 0, "Failed", "ProviderRefused",
              (["refuse", None],)),
        State("refused for good, applied again", (apply, ["refuse", "Refused"], ["finish"], ["delete"]), 1,
              after=(["refuse", None], again)),
        State("the reply is lost", (apply, ["lose", 1], ["state", "intent"]), 1),
        State("the reply is lost, and the history is empty",
              (apply, ["lose", 1], ["hide", True], ["state", "intent"]), 1, "SubmissionUnknown"),
        State("unknown", unknown, 1, "SubmissionUnknown"),
        State("unknown, found later", unknown, 1, after=(["hide", False], ["step", 5])),
        State("unknown, resubmitted before", (*unknown, ["resubmit"], ["state", "submitted", 2]), 2),
        State("unknown, resubmitted after", unknown, 2, after=(["resubmit"], ["state", "submitted", 2])),
        State("unknown, resubmitted, applied again", (*unknown, ["resubmit"], ["step"], ["finish"], ["delete"]), 2,
              "SubmissionUnknown", after=(again,), resumed="Completed"),
        State("unknown, resubmitted, applied again, resubmitted",
              (*unknown, ["resubmit"], ["step"], ["finish"], ["delete"]), 2,
              reason="AdoptedFinishedRun", after=(again, ["reason", "SubmissionUnknown"], ["resubmit"], ["step"])),
        State("submitted", (apply, ["state", "submitted"]), 1),
        State("submitted, deleted, applied again", (apply, ["state", "submitted"], ["delete"]), 1,
              "Failed", "Cancelled", (again,)),
        State("succeeded", (apply, ["state", "succeeded"]), 1),
        State("succeeded, and the Job runs",
              (apply, ["state", "submitted"], ["idle", True], ["state", "succeeded"], ["step", 2]), 1,
              after=(["idle", False],)),
        State("collected", done, 1, reason="Completed"),
        State("collected, deleted, applied again", (*done, ["delete"]), 1, reason="AdoptedFinishedRun", after=(again,)),
        State("adopted", (*done, ["delete"], again, ["finish"]), 1, reason="AdoptedFinishedRun"),
        State("adopted, deleted, applied a third time", (*done, ["delete"], again, ["finish"], ["delete"]), 1,
              reason="AdoptedFinishedRun", after=(["apply", spec, SECOND.replace("1c8d", "2c8d")],)),
        State("discarded", (["apply", delete], ["finish"], ["delete"]), 1, "Failed", "OutputsDeleted", (again,)),
        State("failed", (apply, ["fail", 1], ["finish"]), 1, "Failed", "ProviderFailed"),
        State("failed, another attempt", (["apply", twice], ["fail", 1], ["state", "failed"]), 2),
        State("failed, the second is submitted", (["apply", twice], ["fail", 1], ["state", "submitted", 2]), 2),
        State("cancelled", (apply, ["state", "submitted"], ["annotate", {"contentgen.dev/cancel": "1"}], ["finish"]), 1,
              "Failed"),
        State("two versions", (*done, ["apply", edited], ["step"], ["finish"]), 2, reason="Completed"),
        State("two versions, back to the first", (*done, ["apply", edited], ["step"], ["finish"]), 2,
              reason="AdoptedFinishedRun", after=(apply, ["step"])),
        State("the second version is submitted", (*done, ["apply", edited], ["state", "submitted"]), 2),
        State("rerun", (*done, ["annotate", {"contentgen.dev/rerun": "again"}], ["state", "submitted"]), 2),
        State("suspended", (["apply", spec | {"suspend": True}], ["finish"]), 1, after=(apply, ["step"])),
    )  # fmt: skip
    crashes = tuple(
        State(f"ended {point}", (apply, ["arm", point], ["struck"]), posts, phase)
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
    return (*common, *crashes, State("prepared", (apply, ["step", 3]), 1))


def new_states(kind: Kind) -> tuple[State, ...]:
    """What this release may leave, and a5a1c84 does not know."""
    spec = SPECS[kind]
    edited, twice = spec | _EDITS[kind], spec | {"paidAttempts": 2}
    apply: Deed = ["apply", spec]
    again: Deed = ["apply", spec, SECOND]
    done: tuple[Deed, ...] = (apply, ["finish"])
    lost: tuple[Deed, ...] = (apply, ["lose", 1], ["hide", True], ["state", "intent"], ["step", 2])
    unknown: tuple[Deed, ...] = (apply, ["lose", 1], ["hide", True], ["reason", "SubmissionUnknown"])
    # The ledger is written without the archive's key, which a training or a recording is found by.
    found = "Completed" if kind is Kind.IMAGE_GENERATION else None
    return (
        State("planned, not named", (apply, ["arm", "after intend"], ["struck"]), 1),
        State("planned, named", (apply, ["arm", "before sending"], ["struck"]), 1),
        State("planned, deleted, applied again", (apply, ["arm", "before sending"], ["struck"], ["delete"]), 1,
              after=(again,)),
        State("sending, not sent", (apply, ["arm", "after sending"], ["struck"]), 0, "SubmissionUnknown"),
        State("claimed", (apply, ["arm", "after claim"], ["struck"]), 1),
        State("adopted before it was found", (*lost, ["delete"], again, ["step", 2]), 1,
              after=(["hide", False], ["step", 5])),
        State("abandoned, the next is planned", (*unknown, ["resubmit"], ["arm", "before sending"], ["struck"]), 2),
        State("collected again", (*done, ["delete"], again, ["lose_files"], ["state", "succeeded"]), 1),
        State("the ledger is lost", (apply, ["state", "submitted"], ["forget"], ["reason", "SubmissionUnknown"]), 1,
              "SubmissionUnknown", unprepared=2, resumed=found),
        State("the ledger is lost, applied again", (*done, ["delete"], ["forget"], again), 1,
              "SubmissionUnknown", unprepared=2, resumed=found),
        State("the token of a rerun is taken off",
              (*done, ["apply", edited, UID, {"contentgen.dev/rerun": "x"}], ["step"], ["finish"], ["apply", edited]),
              2, "Suspended", unprepared=3),
        State("another attempt is allowed", (["apply", twice], ["state", "submitted"]), 1, after=(["fail", 1],),
              phase="Suspended", unprepared=2),
        State("another attempt is allowed, and not needed", (["apply", twice], ["state", "submitted"]), 1),
    )  # fmt: skip


def cases(states: Callable[[Kind], tuple[State, ...]]) -> list[tuple[Kind, State]]:
    """Each state with each kind where CONTENTGEN_UPGRADE=all (`make test-upgrade`), else with one, in turn."""
    every = [states(kind) for kind in Kind]
    if os.environ.get("CONTENTGEN_UPGRADE") == "all":
        return [(kind, state) for kind, of_kind in zip(Kind, every, strict=True) for state in of_kind]
    kinds = itertools.cycle(Kind)
    names = dict.fromkeys(state.name for of_kind in every for state in of_kind)
    chosen = ((next(kinds), name) for name in names)
    return [(kind, state) for kind, name in chosen for state in states(kind) if state.name == name]


def ids(chosen: list[tuple[Kind, State]]) -> list[str]:
    """Their names."""
    return [f"{kind.plural}: {state.name}" for kind, state in chosen]
