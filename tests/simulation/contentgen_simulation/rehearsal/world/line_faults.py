"""Fault injection at single lines of the operator, from the planned purchase to its stored request id.

`sys.settrace` reports each line before its execution. A line counts once, so that the `nth` lines of a few plans
cover all lines.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any

from contentgen_operator.reconcile import Reconciler
from contentgen_simulation.rehearsal.world.context import ACTING, Acting
from contentgen_simulation.world import Crash

if TYPE_CHECKING:
    from contentgen_simulation.rehearsal.world.world import RehearsalWorld

_OPERATOR = "/contentgen_operator/"
# Error handlers get no faults: after a fault in one, nothing would reconcile the resource again.
_HANDLERS = frozenset(
    each.__name__
    for each in (
        Reconciler._reconcile_or_pause,
        Reconciler._pause,
        Reconciler._pause_after_conflict,
        Reconciler._release_advice,
    )
)


class PlantedLine(Exception):
    """Injected error, which no line of the operator raises itself."""


@dataclass
class LineFault:
    """Fault before the `nth` distinct line (from 0) of the plan."""

    who: int
    nth: int
    action: str  # crash, error
    fired: str = ""


@dataclass
class LineTracer:
    """Lines executed while a subject's purchase is an intent, in order of first execution."""

    world: "RehearsalWorld"
    faults: list[LineFault] = field(default_factory=list)
    seen: dict[tuple[str, int], None] = field(default_factory=dict)

    @contextmanager
    def traced(self, acting: Acting) -> Iterator[None]:
        """Trace the execution for a subject; free if no fault is due."""
        who = None if acting.ref is None else self.world.subject_of(acting.ref)
        if not any(fault.who == who and not fault.fired for fault in self.faults):
            yield
            return
        before = sys.gettrace()
        sys.settrace(self._called)
        try:
            yield
        finally:
            sys.settrace(before)

    def _called(self, frame: FrameType, _: str, __: Any) -> Any:
        return self._line if _OPERATOR in frame.f_code.co_filename else None

    def _line(self, frame: FrameType, event: str, _: Any) -> Any:
        acting = ACTING.get(None)
        if event == "line" and acting is not None and acting.ref is not None:
            who = self.world.subject_of(acting.ref)
            place = (frame.f_code.co_filename.rpartition("/")[2], frame.f_lineno)
            if self.world.state_of(who) == "intent" and place not in self.seen:
                self._new(frame, who, place)
        return self._line

    def _new(self, frame: FrameType, who: int, place: tuple[str, int]) -> None:
        handles = frame.f_code.co_name in _HANDLERS
        due = [fault for fault in self.faults if fault.who == who and not fault.fired and fault.nth <= len(self.seen)]
        self.seen[place] = None
        for fault in due:
            if handles and fault.action == "error":
                continue
            fault.fired = f"{fault.action} before {place[0]}:{place[1]}"
            self.world.tell(f"fault: {fault.fired}")
            raise Crash if fault.action == "crash" else PlantedLine(fault.fired)
