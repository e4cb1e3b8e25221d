"""Row of a kind: what differs between the kinds for the operator. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from contentgen_contract.base import Value
from contentgen_contract.names import Stage
from contentgen_contract.resources.spec import JobSpec
from contentgen_contract.resources.status import OutputFile, VersionStatus
from contentgen_contract.worker.orders import Facts, Limits, StoredFile
from contentgen_operator.state.canonical_request import RequestContent
from contentgen_operator.state.observed import LoraView
from contentgen_operator.state.provider_requests import Call
from contentgen_operator.state.purchases import PurchaseKey
from contentgen_operator.state.upload_limits import FileLimit

S = TypeVar("S", bound=JobSpec)
Url = Callable[[str], str]
"""Plain address of a key."""


class CallContext(Value):
    """Job and version for which a call is made, and its provider."""

    provider: str
    user_id: str
    job_id: str
    version: int


def by_name(version: VersionStatus) -> dict[str, OutputFile]:
    """Files of a version by the last part of their keys."""
    return {file.key.rpartition("/")[2]: file for file in version.files}


@dataclass(frozen=True)
class CallInput:
    """Input of a call besides the spec. `speech_models`: empty for a search, which does not compare them."""

    job: CallContext
    key: PurchaseKey
    loras: tuple[LoraView, ...] = ()
    speech_models: Sequence[str] = ()


# Fields of a provider's answer with a URL that is fetched; a file may also be given as its URL alone.
_FETCHED = frozenset({"url", "images", "diffusers_lora_file", "lora_file", "config_file"})


@dataclass(frozen=True)
class KindRow(Generic[S]):
    """Behaviour of a kind."""

    facts: Mapping[Stage, type[Value]]
    call: Callable[[S, CallInput], Call]
    content: Callable[[S, Call, Mapping[str, Any], Iterable[LoraView]], RequestContent]  # with the prepared facts
    units: Callable[[S, float], float]  # size of a request, proportional to its duration, by the recording's seconds
    seconds: Callable[[S, float], float]  # default duration at the provider, by the recording's seconds
    file_limits: Callable[[S, Stage, Limits], tuple[FileLimit, ...]]  # of the files of a stage
    expected: Callable[[Stage, Facts | None], set[str]]  # names of files that a stage must have stored
    sent: str = ""  # prepared file that is sent
    fetched: frozenset[str] = _FETCHED
    # Files that the spec asks for and that names or facts of the outputs lack; made again from the response.
    missing_formats: Callable[[S, Iterable[str], Mapping[str, Any]], tuple[str, ...]] = lambda *_: ()
    # Problem with facts on which the price or the provider's time depends; empty: none.
    facts_problem: Callable[[S, Facts | None, Sequence[StoredFile]], str] = lambda *_: ""
    # Fields of a version in the record, besides those of every kind; by the prepared facts.
    record: Callable[[S, Mapping[str, Any], VersionStatus, Url], dict[str, Any]] = lambda *_: {}
    shortfalls: Callable[[S, Mapping[str, Any]], Iterable[str]] = lambda *_: ()  # warnings about finished outputs
