"""Tests that outputs of experiments are named by decoder and settings, and other outputs by their paths."""

import json

from fairseq_mh.evaluation.comparison import system_names


def write(folder, **row):
    folder.mkdir(parents=True)
    (folder / "row.json").write_text(json.dumps(row), encoding="utf-8")
    return folder / "output.txt"


def test_differing_settings_are_in_the_name(tmp_path):
    paths = [
        write(tmp_path / "a", decoder="mask-predict", seed=1, mh_sweeps="6"),
        write(tmp_path / "b", decoder="MH", seed=1, mh_sweeps="6", mh_energy="norm"),
        write(tmp_path / "c", decoder="MH", seed=2, mh_sweeps="12", mh_energy="norm"),
    ]
    assert system_names(paths) == ["mask-predict", "MH, seed 1, sweeps 6", "MH, seed 2, sweeps 12"]


def test_settings_that_a_decoder_does_not_read_are_not_in_the_name(tmp_path):
    paths = [
        write(
            tmp_path / f"{decoding}{n}", decoder=decoding, mh_decoding=decoding, seed=1, mh_sweeps=n, mh_temperature=n
        )
        for decoding in ("mask-predict", "gibbs")
        for n in (1, 2)
    ]
    assert system_names(paths) == [*map(str, paths[:2]), "gibbs, sweeps 1", "gibbs, sweeps 2"]


def test_paths_are_the_names_of_unknown_or_equal_runs(tmp_path):
    same = [write(tmp_path / name, decoder="MH", seed=1) for name in "ab"]
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "row.json").write_text("[" * 100_000, encoding="utf-8")
    others = [tmp_path / "c" / "output.txt", tmp_path / "mine.txt"]
    assert system_names([*same, *others]) == [str(path) for path in (*same, *others)]
