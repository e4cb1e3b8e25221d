"""The example of `make try` in the README: its progress lines have the printed format, with real phases and steps."""

import re
from datetime import timedelta
from pathlib import Path

from contentgen_contract.advice.job_facts import JobFacts
from contentgen_contract.advice.job_state import job_state
from contentgen_contract.names import Kind, Phase, Reason, Step
from contentgen_try.progress import View, lines

README = Path(__file__).resolve().parents[3] / "README.md"
_ROW = re.compile(
    r" *(?P<seconds>\d+)s +(?P<kind>\w+) +(?P<name>\S+) +(?P<phase>\w+) +(?P<progress>\d+)%(?P<rest>(?:  \S+)*)"
)


def test_the_progress_lines_of_the_example_are_as_printed() -> None:
    example = README.read_text().partition("$ make try\n")[2].partition("```")[0]
    rows = [line for line in example.splitlines() if line.startswith("  ")]
    assert len(rows) > 5
    for row in rows:
        found = _ROW.fullmatch(row)
        assert found is not None, row
        rest = found["rest"].split()
        view = View(
            kind=Kind(found["kind"]).value,
            name=found["name"],
            phase=Phase(found["phase"]).value,
            progress=int(found["progress"]),
            stage=next((each for each in rest if each in {step.value for step in Step}), ""),
            eta=None,
            cost=next((each for each in rest if "$" in each), ""),
            reason=next((each for each in rest if each in {reason.value for reason in Reason}), ""),
            message="",
            state=job_state(JobFacts()),
            started=None,
            ended=None,
        )
        assert lines([], [view], timedelta(seconds=int(found["seconds"]))) == [row]
