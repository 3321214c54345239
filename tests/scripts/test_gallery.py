"""Tests that the program of the documentation's gallery draws its plots."""

import pytest

from tests.programs import ROOT

IMAGES = ("energy.svg", "autocorrelation.svg", "quality.svg")
MOST = 60_000  # bytes of an image that the repository holds


def test_the_gallery_is_drawn(tmp_path):
    """Few chains and draws of the embedded model; the third plot is the one that the documentation shows."""
    gallery = pytest.importorskip("scripts.gallery", reason="needs the extra `bench`", exc_type=ImportError)
    images = gallery.draw(ROOT / "models/libreoffice-de-en", tmp_path, chains=2, sweeps=2, draws=24)
    assert [image.name for image in images] == list(IMAGES)
    texts = {image.stem: image.read_text(encoding="utf-8") for image in images}
    assert f"German: {gallery.SOURCE}" in texts["energy"]
    assert "start: " in texts["energy"]
    assert "one position at a time" in texts["autocorrelation"]
    for decoder in gallery.DECODERS:
        assert texts["quality"].count(f">{decoder.name}</text>") == 2, "one label for BLEU, one for chrF"
    shown = (ROOT / "docs/images/quality.svg").read_text(encoding="utf-8")
    assert texts["quality"] == shown, "results/ changed: run scripts.gallery again"


@pytest.mark.parametrize("name", IMAGES)
def test_images_of_the_gallery_are_small(name):
    assert (ROOT / "docs/images" / name).stat().st_size <= MOST
