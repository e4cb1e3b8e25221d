"""Last lines of the demo."""

import io
from pathlib import Path

from rich.console import Console

from contentgen_contract.names import Kind
from contentgen_demo.report import DemoJob
from contentgen_demo.summary import show_next
from contentgen_try.progress import view


def test_the_demo_says_who_else_reads_its_stores() -> None:
    out = io.StringIO()
    resource = {"kind": Kind.TRANSCRIPTION.value, "metadata": {"name": "a"}, "status": {"phase": "Completed"}}
    job = DemoJob(view=view(resource), job_id="j", user_id="u", request_id="r", files=(), document=None)
    show_next(Console(file=out, width=120), [job], [], Path("out"))
    assert "the sandbox's MongoDB has no password" in out.getvalue()
    assert "every pod of the cluster reads and writes it" in out.getvalue()
