"""The runs of tools/run_suites.py: each test file is in one suite, lanes keep their order, failures are reported."""

import sys
from collections import Counter
from pathlib import Path

import pytest

import run_suites
from run_suites import StepResult, SuiteRun, read_result, report
from suites import ACCEPTANCE, ALONE, ON_CLUSTER, RUNS, Program, SuiteLane, SuiteStep

ROOT = Path(__file__).parents[3]
STEPS = [step for name in ("test", "cluster") for lane in RUNS[name] for step in lane.steps]
NOWHERE = Program("contentgen-no-such-program", "no-such-package")
FULL_SIZE = {"tests/cluster/policies/acceptance"}
"""Tests that take up to an hour: `make acceptance` alone runs them."""


@pytest.fixture(autouse=True)
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder for logs and reports of these tests."""
    monkeypatch.setattr(run_suites, "REPORTS", tmp_path)
    return tmp_path


def script(name: str, code: str = "", **more: object) -> SuiteStep:
    return SuiteStep(name, "a script", ("-c", code), **more)  # type: ignore[arg-type]


def test_every_test_file_is_in_one_suite() -> None:
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py")}
    files -= {name for name in files if any(name.startswith(f"{folder}/") for folder in FULL_SIZE)}
    paths = [word for step in STEPS for word in step.python if word.startswith("tests/")]
    in_suites = Counter(name for name in files for path in paths if name == path or name.startswith(f"{path}/"))
    assert {name: in_suites[name] for name in files} == dict.fromkeys(files, 1)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_acceptance_has_all_policy_suites_and_full_sizes() -> None:
    folder = ROOT / "tests/cluster/policies"
    files = {str(path.relative_to(ROOT)) for path in folder.rglob("test_*.py")}
    paths = [word for lane in ACCEPTANCE for step in lane.steps for word in step.python if word.startswith("tests/")]
    in_suites = Counter(name for name in files for path in paths if name == path or name.startswith(f"{path}/"))
    assert {name: in_suites[name] for name in files} == dict.fromkeys(files, 1)
    assert {str(Path(name).parent) for name in files} == {"tests/cluster/policies", *FULL_SIZE}
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("lanes", RUNS.values(), ids=RUNS.keys())
def test_names_are_unique_and_known(lanes: tuple[SuiteLane, ...]) -> None:
    steps = [step for lane in lanes for step in lane.steps]
    names = Counter([*(step.name for step in steps), *(lane.name for lane in lanes)])
    assert max(names.values()) == 1
    assert {name for step in steps for name in step.needs} <= {step.name for step in steps}
    assert {lane.after for lane in lanes if lane.after} <= {lane.name for lane in lanes}
    assert all(lane.steps[-1].python[-2:] == ("lanes-down", lane.release) for lane in lanes if lane.release)


def test_only_lanes_after_the_main_release_have_their_own() -> None:
    assert {lane.after for lane in ON_CLUSTER if lane.release} == {"main release"}
    assert [lane.name for lane in ON_CLUSTER if not lane.release] == ["API server alone", "main release"]


def test_make_test_uses_no_cluster() -> None:
    words = {word for lane in ALONE for step in lane.steps for word in step.python}
    assert [word for word in words if word.startswith(("tests/cluster", "tests/kubernetes"))] == []
    assert words.isdisjoint({"up", "api-server", "lanes-down"})


def test_a_lane_waits_for_the_one_before_it_and_gets_its_release(reports: Path) -> None:
    written = reports / "written"
    line = f"import os; print(os.environ.get('CONTENTGEN_TEST_RELEASE'), file=open({str(written)!r}, 'a'))"
    waits = f"import time; time.sleep(0.3); {line}"
    after = SuiteLane("late", (script("second", line),), after="early", release="lane-x")
    results = SuiteRun((after, SuiteLane("early", (script("first", waits),)))).all()
    assert [(result.name, result.passed, result.failed) for result in results] == [("second", 1, 0), ("first", 1, 0)]
    assert written.read_text().split() == ["None", "lane-x"]


def test_suite_after_a_failed_step_is_red_and_not_run(reports: Path) -> None:
    lane = SuiteLane(
        "one", (script("broken", "raise SystemExit(3)"), script("next", needs=("broken",)), script("other"))
    )
    results = SuiteRun((lane,)).all()
    assert [(result.name, result.passed, result.failed) for result in results] == [
        ("broken", 0, 1), ("next", 0, 1), ("other", 1, 0),
    ]  # fmt: skip
    assert results[1].about == "not run: broken failed"
    assert not (reports / "next.log").exists()


@pytest.mark.parametrize(("in_ci", "status"), [(False, 0), (True, 1)])
def test_suite_with_a_missing_program_is_named_with_its_package(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, reports: Path, *, in_ci: bool, status: int
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)  # root installs what is missing
    steps = (script("browser", programs=(NOWHERE,)), script("other"))
    results = SuiteRun((SuiteLane("one", steps),)).all()
    assert report(results, 10, in_ci=in_ci) == status
    assert not (reports / "browser.log").exists()
    said = capsys.readouterr().out
    assert "NOT RUN on this machine: browser (a script): apt-get install no-such-package" in said
    assert said.splitlines()[-1] == f"1 passed, {status} failed, 0 skipped"


def test_the_output_of_a_failed_step_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    steps = (
        script("bad", "print('the cause'); print('end'); raise SystemExit(1)"),
        script("good", "print('quiet\\nend')"),
    )
    SuiteRun((SuiteLane("one", steps),)).all()
    said = capsys.readouterr().out
    assert "the cause" in said
    assert "quiet" not in said


JUNIT = """<testsuites><testsuite>
<testcase classname="tests.a" name="one" time="0.5"/>
<testcase classname="tests.a" name="two" time="2.5"/>
<testcase classname="tests.a" name="three" time="0"><skipped/></testcase>
</testsuite></testsuites>"""


@pytest.mark.parametrize(
    ("text", "code", "counted"),
    [
        (JUNIT, 0, (2, 0, ("three",))),
        (JUNIT, 1, (2, 1, ("three",))),  # the process died after its tests
        ("<testsuites><testsuite/></testsuites>", 0, (0, 1, ())),
        (None, 0, (0, 1, ())),
    ],
)
def test_a_report_is_counted(reports: Path, text: str | None, code: int, counted: tuple[int, int, tuple[str]]) -> None:
    if text:
        (reports / "it.xml").write_text(text)
    result = read_result(SuiteStep("it", "", reports=True), code, 1.0)
    assert (result.passed, result.failed, result.skipped) == counted


@pytest.mark.parametrize(
    ("result", "code", "said"),
    [
        (StepResult("it", "", 1, 0), 0, "1 passed, 0 failed, 0 skipped"),
        (StepResult("it", "", 0, 1), 1, "FAILED"),
        (StepResult("it", "", 1, 0, skipped=("this",)), 1, "skipped: this"),
    ],
)
def test_the_closing_report(capsys: pytest.CaptureFixture[str], result: StepResult, code: int, said: str) -> None:
    assert report([result], 10, in_ci=False) == code
    assert said in capsys.readouterr().out


def test_the_slowest_tests_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    times = tuple((float(number), f"test {number}") for number in range(30))
    report([StepResult("it", "", 30, 0, times=times)], 10, in_ci=False)
    slowest = [line.split("s  ")[1] for line in capsys.readouterr().out.splitlines() if "s  test " in line]
    assert slowest == [f"test {number}" for number in range(29, 9, -1)]


def test_commands_run_in_our_python() -> None:
    assert run_suites.command(script("a"))[0] == run_suites.PYTHON
    assert Path(sys.prefix) == Path(run_suites.PYTHON).parents[1]
