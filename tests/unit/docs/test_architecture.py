"""docs/architecture.md agrees with the tree: pictures with imports and transitions, tables with files."""

import re
from pathlib import Path

from contentgen_operator.state.purchases import PurchaseState
from contentgen_simulation.rehearsal.lifecycle import NONE, PURCHASE_TRANSITIONS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/architecture.md").read_text()
LAYERED = ("operator/contentgen_operator", "operator/contentgen_gateway", "operator/contentgen_contract",
           "operator/contentgen_runtime", "worker-image/contentgen_worker")  # fmt: skip


def picture(kind: str) -> str:
    """Text of the one Mermaid diagram of a kind."""
    (found,) = re.findall(rf"```mermaid\n{kind}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def rows(header: str) -> list[str]:
    """Rows of the table with this first line."""
    return PAGE.partition(header)[2].partition("\n\n")[0].strip().splitlines()[1:]


def imports(package: Path) -> set[str]:
    """Other packages of this repository that a package imports."""
    found = {
        name
        for path in package.rglob("*.py")
        for name in re.findall(r"^\s*(?:from|import) contentgen_(\w+)", path.read_text(), re.MULTILINE)
    }
    return found - {package.name.removeprefix("contentgen_")}


def test_the_arrows_of_the_folders_are_the_imports() -> None:
    arrows = re.findall(r"^  (\w+)(?:\[.*?\])? --> (\w+)", picture("flowchart TD"), re.MULTILINE)
    drawn = {name for arrow in arrows for name in arrow}
    packages = {path.name.removeprefix("contentgen_"): path for path in ROOT.glob("*/contentgen_*")}
    expected = {(name, imported) for name in drawn for imported in imports(packages[name])}
    assert set(arrows) == expected
    assert len(arrows) > 10


def test_each_folder_of_a_layered_package_is_in_its_row() -> None:
    named = {row.split("`")[1]: set(re.findall(r"`(\w+)`", row)) for row in rows("| package | layers |")}
    missing = {
        str(path.parent.relative_to(ROOT))
        for package in LAYERED
        for path in (ROOT / package).glob("*/__init__.py")
        if path.parent.name not in named[package]
    }
    assert missing == set()


def test_each_layer_is_a_module_or_a_folder() -> None:
    for row in rows("| package | layers |"):
        package, *names = re.findall(r"`([^`]+)`", row)
        for name in names if package in LAYERED else ():
            assert list((ROOT / package).glob(f"{name}*")), f"{package}: {name}"


def test_each_arrow_of_a_purchase_is_a_transition() -> None:
    arrows = re.findall(r"^  (\S+) --> (\w+): ", picture("stateDiagram-v2"), re.MULTILINE)
    allowed = {(transition.source, transition.target) for transition in PURCHASE_TRANSITIONS}
    assert len(arrows) > 10
    assert {(NONE if source == "[*]" else source, target) for source, target in arrows} - allowed == set()


def test_every_state_of_a_purchase_is_explained() -> None:
    assert set(PurchaseState) == set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))


def test_the_files_of_the_arrows_exist() -> None:
    """A path without a folder of the repository is relative to the package of the path before it."""
    for row in rows("| arrows | open, in this order |"):
        package = ROOT
        for path in re.findall(r"`([^`]+)`", row):
            package = ROOT / "/".join(path.split("/")[:2]) if "contentgen_" in path else package
            assert (ROOT / path if "contentgen_" in path else package / path).exists(), path


def test_twelve_changes_name_files_and_definitions_that_exist() -> None:
    """An entry is a path, or `path:name` of a class, function or constant of the module."""
    changes = rows("| to change | open |")
    assert len(changes) == 12
    for entry in re.findall(r"`([^`]+)`", "\n".join(changes)):
        path, _, name = entry.partition(":")
        assert (ROOT / path).exists(), entry
        if name:
            definition = rf"^(?:class |def |async def ){name}\b|^{name}\b.*="
            assert re.search(definition, (ROOT / path).read_text(), re.MULTILINE), entry


def test_the_arrows_of_a_job_are_numbered_as_in_the_picture() -> None:
    arrows = len(re.findall(r"^  \w+->>\w+: ", picture("sequenceDiagram"), re.MULTILINE))
    numbered = [int(number) for row in rows("| arrows |") for number in re.findall(r"\d+", row.split("|")[1])]
    assert numbered == sorted(numbered)
    assert numbered[-1] == arrows
