"""Fixtures: more tiny models with the dictionary of the tiny CMLM."""

from types import SimpleNamespace

import pytest

from tests.tiny_cmlm import write_checkpoint, write_data


@pytest.fixture(scope="package")
def others(tiny, tmp_path_factory):
    """Write checkpoints of an Electric, of autoregressive models of both directions and of another CMLM.

    The tiny CMLM's data gets a subset `few` with sentences of two lengths.
    """
    write_data(tiny.folder, tiny.dictionary, "few", [("abca", "cab"), ("bb", "ba")])
    folder = tmp_path_factory.mktemp("others")
    kinds = {
        "electric": {"arch": "electric_transformer"},
        "teacher": {"arch": "transformer", "scale": 2.0},
        "reverse": {"arch": "transformer", "scale": 2.0, "source_lang": "en", "target_lang": "de"},
        "cmlm": {"scale": 1.1},
    }
    for name, options in kinds.items():
        write_checkpoint(folder / f"{name}.pt", tiny.dictionary, share_all_embeddings=True, **options)
    return SimpleNamespace(**{name: folder / f"{name}.pt" for name in kinds})
