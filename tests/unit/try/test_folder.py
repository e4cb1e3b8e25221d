"""The folder of a run: one process at a time, and a damaged or foreign ledger is refused."""

from pathlib import Path

import pytest

from contentgen_try import command
from contentgen_try.folder import FolderRefused, PaidFolder, SandboxFolder, locked, refuse_sandbox
from contentgen_try.programs.stack import NotStarted


def used(folder: Path, bucket: str = "", endpoint: str = "", providers: tuple[str, ...] = ()) -> PaidFolder:
    """A paid folder after a complete start."""
    made = PaidFolder(folder, bucket, endpoint, providers)
    made.open()
    (made.path / "mongodb/store").write_text("ledger")
    (made.path / "mongodb/starts").write_text("1")
    for name in ("api-server", "objects"):
        (made.path / name).mkdir()
    (made.path / "objects/index").write_text("{}")
    made.ready()
    return made


def test_folder_belongs_to_one_process(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "new"),
        pytest.raises(FolderRefused, match="another `contentgen try`"),
        locked(tmp_path / "new"),
    ):
        pass
    with locked(tmp_path / "new"):
        pass


def test_a_used_folder_is_opened_again(tmp_path: Path) -> None:
    used(tmp_path)
    PaidFolder(tmp_path, "").open()
    assert (tmp_path / ".paid").stat().st_mode & 0o077 == 0


def test_a_start_that_never_was_ready_has_paid_nothing(tmp_path: Path) -> None:
    PaidFolder(tmp_path, "").open()
    PaidFolder(tmp_path, "").open()


@pytest.mark.parametrize(
    "name", ["mongodb/store", "mongodb/starts", "api-server", "objects", "objects/index", "about.json"]
)
def test_a_missing_part_is_an_error(name: str, tmp_path: Path) -> None:
    folder = used(tmp_path)
    part = folder.path / name
    part.rename(tmp_path / "away")
    with pytest.raises(FolderRefused, match="damaged"):
        PaidFolder(tmp_path, "").open()


@pytest.mark.parametrize("name", ["mongodb/store", "about.json"])
def test_an_emptied_part_is_an_error(name: str, tmp_path: Path) -> None:
    (used(tmp_path).path / name).write_text("")
    with pytest.raises(FolderRefused, match="damaged"):
        PaidFolder(tmp_path, "").open()


def test_another_bucket_is_refused(tmp_path: Path) -> None:
    used(tmp_path)
    with pytest.raises(FolderRefused, match="without --bucket"):
        PaidFolder(tmp_path, "mine").open()


def test_another_endpoint_is_refused(tmp_path: Path) -> None:
    used(tmp_path, "mine", "https://store.example")
    PaidFolder(tmp_path, "mine", "https://store.example").open()
    with pytest.raises(FolderRefused, match=r"--endpoint https://store\.example"):
        PaidFolder(tmp_path, "mine").open()


def test_sandbox_never_replaces_a_paid_provider(tmp_path: Path) -> None:
    used(tmp_path, providers=("fal",))
    with pytest.raises(FolderRefused, match="paid requests of fal: give --fal-key-file too"):
        PaidFolder(tmp_path, "", "", ("assemblyai",)).open()
    PaidFolder(tmp_path, "", "", ("fal", "assemblyai")).open()  # noted at once, before its first request
    with pytest.raises(FolderRefused, match="paid requests of assemblyai"):
        PaidFolder(tmp_path, "", "", ("fal",)).open()


def test_the_sandbox_leaves_paid_results_alone(tmp_path: Path) -> None:
    refuse_sandbox(tmp_path)
    used(tmp_path)
    with pytest.raises(FolderRefused, match="paid results"):
        refuse_sandbox(tmp_path)


def test_the_logs_of_a_run_replace_no_folder_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/mine").write_text("kept")

    class Stopped(NotStarted):
        """In place of the programs."""

    def stopped(*_: object) -> None:
        raise Stopped

    monkeypatch.setattr(command, "Stack", stopped)
    assert command.main(["--folder", str(tmp_path)]) == 1
    assert (tmp_path / "logs/mine").read_text() == "kept"


@pytest.mark.parametrize(("finished", "version", "kept"), [(True, "1", True), (False, "1", False), (True, "2", False)])
def test_sandbox_state_is_kept_for_the_same_version(finished: bool, version: str, kept: bool, tmp_path: Path) -> None:
    first = SandboxFolder(tmp_path, "1")
    first.open()
    (first.path / "mongodb/store").write_text("ledger")
    if finished:
        first.finish()
    SandboxFolder(tmp_path, version).open()
    assert (first.path / "mongodb/store").exists() is kept
    SandboxFolder(tmp_path, version).open()  # the second run was killed
    assert not (first.path / "mongodb/store").exists()
    assert (first.path / "mongodb").is_dir()
