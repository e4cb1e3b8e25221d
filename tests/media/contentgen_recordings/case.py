"""Cases of the corpus: how a recording is made or what a provider answers, and the numbers of the result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contentgen_contract.resources.spec import Subtitles


@dataclass(frozen=True)
class RecordingCase:
    """A recording and the sound that is taken from it.

    `name`: words for the documents, `topic: variant`. `make` writes it into a folder. `heard`: amplitude of each
    speaker's tone by its pitch in Hz, ± `within` of it; `seconds`: length ± 0.1; None: not stated. `begins`: seconds at
    which it becomes loud. `notes`: all notes. `refused`: words of the refusal; empty: accepted. `known`: why it is known
    to be wrong.
    """

    name: str
    family: str
    make: Callable[[Path], Path]
    heard: Mapping[int, float] = field(default_factory=dict)
    within: float = 0.03
    seconds: float | None = None
    begins: tuple[float, ...] | None = None
    apart: float = 0.04  # largest error of those, in seconds
    notes: tuple[str, ...] = ()
    refused: str = ""
    track: int | None = None
    limit: int = 600  # seconds, of the installation
    options: Mapping[str, Any] = field(default_factory=dict)  # of the spec, by their names in Python
    known: str = ""


@dataclass(frozen=True)
class AnswerCase:
    """An answer of AssemblyAI and the files that are made of it.

    `cues`: texts of the first subtitles, all lines; `begins`: milliseconds at which they begin; `count`: number of all.
    `text`: of transcript.txt. `notes`: all notes. `facts`: of the outcome. `refused`: words of the refusal; empty:
    accepted. `known`: why it is known to be wrong.
    """

    name: str
    family: str
    answer: Mapping[str, Any]
    cues: tuple[str, ...] = ()
    begins: tuple[int, ...] = ()
    count: int | None = None
    text: str = ""
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    limits: Subtitles = field(default_factory=Subtitles)
    refused: str = ""
    known: str = ""
