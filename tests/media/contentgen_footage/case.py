"""One case of the corpus: how its file is made, and its numbers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contentgen_contract.resources.spec import Speed
from contentgen_footage.films import KnownFilm


@dataclass(frozen=True)
class FootageCase:
    """A recording and what the engine makes of it.

    `shots`: number, ± 1, unless not `counted`. `pictures`: least number of shots with a picture of their colour. Both
    are those of the film if they are None. `colour`: largest error of a channel of the patches, 0-255. `seconds`:
    largest error of a cut; None: not stated. `refused`: words of the refusal; empty: accepted. `note`: words of a note;
    empty: none. `known`: why it is known to be wrong, at `known_speeds`.
    """

    name: str
    make: Callable[[Path], Path]
    family: str
    film: KnownFilm = field(default_factory=KnownFilm)
    speeds: tuple[Speed, ...] = (Speed.EXACT, Speed.FAST)
    shots: int | None = None
    counted: bool = True
    pictures: int | None = None
    colour: float = 4.0
    seconds: float | None = 0.04
    aspects: tuple[float, ...] = ()  # width over height of the pictures, within 2 %: at most that many, exactly
    clean: float | None = None  # largest mean difference of a picture to its frame, 0-255
    refused: str = ""
    note: str = ""
    known: str = ""
    known_speeds: tuple[Speed, ...] = (Speed.EXACT, Speed.FAST)
    settings: dict[str, Any] = field(default_factory=dict)
