"""Shell session for documented commands: failures are reported, exports persist, watches end."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from contentgen_documents.extract import Command
from contentgen_documents.session import Said, Session, open_session

KUBECTL = """#!/bin/bash
case "$*" in
  "get lora -w") echo "avatar"; exec sleep 60 ;;
  "get nothing -w") exec sleep 0.3 ;;
  "get wrong -w") echo "no such kind" >&2; exit 1 ;;
  "port-forward a :80") sleep 0.3; echo "Forwarding from 127.0.0.1:1"; exec sleep 60 ;;
  "create token a") echo secret ;;
  "version"|"contentgen version") ;;
  "get pods") echo "a b"; echo "c d" ;;
  *) echo "unknown: $*" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("kubectl", KUBECTL), ("helm", "#!/bin/sh\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (tmp_path / "config").touch()
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "KUBECONFIG": "mine"}
    with open_session(tmp_path, environment, "test") as opened:
        yield opened


def said(session: Session, *texts: str) -> list[Said]:
    """Results in the order of the commands."""
    for number, text in enumerate(texts):
        session.type(Command("page.md", number, text), text)
    session.end()
    return sorted(session.said, key=lambda each: each.command.line)


def problems(session: Session, *texts: str) -> list[str]:
    return [each.problem for each in said(session, *texts)]


def test_successful_session_has_no_problem(session: Session) -> None:
    (first, second) = said(session, "kubectl get pods | grep a | tail -5", "cat > a <<EOF\nb\nEOF")
    assert (first.problem, first.output, second.problem) == ("", "a b\n", "")


@pytest.mark.parametrize(
    "text",
    [
        "kubectl gett pods",
        "kubectl gett pods | tail -5",
        "kubectl get pods | grep z",
        "kubectl get pods && false",
        "export TOKEN=$(kubectl create tokens a)",
        "TOKEN=$(kubectl create tokens a)",
        'eval "$(kubectl gett)"',
        'eval "export KUBECONFIG=nothing-there"',
    ],
)
def test_failed_command_is_reported_anywhere_in_the_line(session: Session, text: str) -> None:
    (problem,) = problems(session, text)
    assert problem.startswith("exit status")


def test_exported_variables_stay_and_borrowed_ones_do_not(session: Session) -> None:
    texts = ("export TOKEN=$(kubectl create token a)", 'eval "export KUBECONFIG=config"', 'echo "$TOKEN $KUBECONFIG"')
    *_, last = said(session, *texts)
    assert (last.problem, last.output) == ("", "secret mine\n")


def test_a_watch_goes_on_until_the_end_and_must_say_something(session: Session) -> None:
    watches = ("kubectl get lora -w", "kubectl get nothing -w", "kubectl get wrong -w", "kubectl get pods")
    assert problems(session, *watches) == ["", "said nothing", "ended by itself with 1", ""]


def test_the_next_command_finds_a_forwarded_port(session: Session) -> None:
    forwarded = "kubectl port-forward a :80 &"
    first, second, third = said(
        session, forwarded, "grep -q Forwarding .session-test-*.out", "kubectl port-forward b :80"
    )
    assert (first.problem, second.problem, third.problem) == ("", "", "ended by itself with 1")
