"""Output in chunks: after a kill at any step, the same command continues and writes complete files."""

import os
import shutil
from pathlib import Path

import pytest

from fairseq_mh.errors import UserError
from fairseq_mh.files.chunks import Chunks, as_text, concatenate

FILES = dict.fromkeys(("a.txt", "b.txt"), concatenate)
COUNT = 3


def write(folder: Path) -> None:
    """Do a run as the commands do it."""
    with Chunks(folder, {"seed": 1}, FILES, COUNT) as chunks:
        for number in chunks.missing():
            chunks.write(number, {name: as_text(lambda file, n=number: file.write(f"{n}\n")) for name in FILES})
        chunks.join()


def end_at(step: int) -> None:
    """Make this process end like after `kill -9` at its `step`-th call that changes something on the disk."""
    left = step

    def counted(call, *args, **options):
        nonlocal left
        left -= 1
        if left == 0:
            os._exit(9)
        return call(*args, **options)

    for owner, names in ((Path, ("mkdir", "rename", "unlink")), (os, ("fsync", "rmdir", "unlink", "replace"))):
        for name in names:
            call = getattr(owner, name)
            setattr(owner, name, lambda *args, call=call, **options: counted(call, *args, **options))


def killed_at(step: int, folder: Path) -> bool:
    """Return whether a run in its own process reached the step."""
    child = os.fork()
    if child == 0:
        end_at(step)
        write(folder)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_a_run_continues_after_a_kill_at_any_step(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # written data outlives a killed process anyway
    step = 1
    while killed_at(step, tmp_path / "out"):
        write(tmp_path / "out")
        assert all((tmp_path / "out" / name).read_text() == "0\n1\n2\n" for name in FILES)
        assert {path.name for path in (tmp_path / "out").iterdir()} == {*FILES, "settings.json"}
        shutil.rmtree(tmp_path / "out")
        step += 1
    assert step > 20


def test_only_one_process_writes_to_a_folder(tmp_path):
    with Chunks(tmp_path / "out", {"seed": 1}, FILES, COUNT):
        with pytest.raises(UserError, match="another process"):
            write(tmp_path / "out")
        with pytest.raises(UserError, match="another process"):
            Chunks(tmp_path / "out", {"seed": 2}, FILES, COUNT)
    write(tmp_path / "out")


def test_a_run_that_is_refused_leaves_no_folder_and_no_chunk(tmp_path):
    def refuse(file):
        raise UserError("no")

    with pytest.raises(UserError), Chunks(tmp_path / "out", {}, FILES, COUNT):
        raise UserError("no")
    assert not (tmp_path / "out").exists()
    with Chunks(tmp_path / "out", {}, FILES, COUNT) as chunks:
        chunks.write(0, dict.fromkeys(FILES, write_nothing))
        with pytest.raises(UserError):
            chunks.write(1, {"a.txt": write_nothing, "b.txt": refuse})
    assert [path.name for path in (tmp_path / "out" / "chunks").iterdir()] == ["0"]


def write_nothing(file) -> None:
    """Leave the file empty."""
