"""Output in chunks: killed at any step, the same command goes on, and what it writes is whole."""

import os
import shutil
from pathlib import Path

import pytest

from fairseq_mh.errors import UserError
from fairseq_mh.files.chunks import Chunks, as_text, concatenate

FILES = dict.fromkeys(("a.txt", "b.txt"), concatenate)
COUNT = 3


def write(folder: Path) -> None:
    """A run, as the scripts do it."""
    with Chunks(folder, {"seed": 1}, FILES, COUNT) as chunks:
        for number in chunks.missing():
            chunks.write(number, {name: as_text(lambda file, n=number: file.write(f"{n}\n")) for name in FILES})
        chunks.join()


def die(step: int) -> None:
    """Kills this process, as `kill -9` does, at its `step`-th call that changes something on the disk."""
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
    """Whether a run in a process of its own came as far as that step."""
    child = os.fork()
    if child == 0:
        die(step)
        write(folder)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_killed_at_any_step(tmp_path):
    step = 1
    while killed_at(step, tmp_path / "out"):
        write(tmp_path / "out")
        assert all((tmp_path / "out" / name).read_text() == "0\n1\n2\n" for name in FILES)
        assert {path.name for path in (tmp_path / "out").iterdir()} == {*FILES, "settings.json"}
        shutil.rmtree(tmp_path / "out")
        step += 1
    assert step > 20


def test_one_process_at_a_time(tmp_path):
    with Chunks(tmp_path / "out", {"seed": 1}, FILES, COUNT):
        with pytest.raises(UserError, match="another process"):
            write(tmp_path / "out")
        with pytest.raises(UserError, match="another process"):
            Chunks(tmp_path / "out", {"seed": 2}, FILES, COUNT)
    write(tmp_path / "out")


def test_of_what_is_refused_before_it_begins_nothing_is_left(tmp_path):
    def refuse(file):
        raise UserError("no")

    with pytest.raises(UserError), Chunks(tmp_path / "out", {}, FILES, COUNT):
        raise UserError("no")
    assert not (tmp_path / "out").exists()
    with Chunks(tmp_path / "out", {}, FILES, COUNT) as chunks:
        chunks.write(0, dict.fromkeys(FILES, nothing))
        with pytest.raises(UserError):
            chunks.write(1, {"a.txt": nothing, "b.txt": refuse})
    assert [path.name for path in (tmp_path / "out" / "chunks").iterdir()] == ["0"]


def nothing(file) -> None:
    """An empty file."""
