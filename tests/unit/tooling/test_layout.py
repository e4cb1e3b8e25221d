"""`operator/` is a source root and must not become a package, which would hide Python's module `operator`."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_source_roots_are_no_packages() -> None:
    for root in ("operator", "worker-image", "sandbox", "cli"):
        assert (ROOT / root).is_dir()
        assert not list((ROOT / root).glob("*.py")), f"{root}/ holds packages and is none itself"


def test_pythons_operator_is_found_from_the_repository_root() -> None:
    code = "import operator, json, collections; print(operator.__file__); operator.itemgetter(1)"
    environment = {"PYTHONPATH": str(ROOT)}  # the worst case: the root itself comes first
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert not done.stdout.startswith(str(ROOT / "operator"))
    assert done.stdout.strip().endswith("operator.py")


def test_the_packages_are_found() -> None:
    import contentgen_contract  # noqa: PLC0415
    import contentgen_worker  # noqa: PLC0415

    assert Path(contentgen_contract.__file__).is_relative_to(ROOT / "operator")
    assert Path(contentgen_worker.__file__).is_relative_to(ROOT / "worker-image")
