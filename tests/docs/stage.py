"""The folder in which the documentation's commands run: what they read is there, small."""

from pathlib import Path

from tests.docs.markdown import ROOT

GERMAN = ["Öffnen Sie das Menü.", "Wählen Sie eine Zelle aus.", "Klicken Sie auf die Schaltfläche.", "Speichern unter"]
GRID = """
title: A small grid
runs:
  - decoder: MH
    options: {mh-decoding: mh, mh-chains: 1, mh-sweeps: [1, 2]}
"""
ENGLISH = ["Open the menu.", "Select a cell.", "Click the button.", "Save as"]


def set_stage(folder: Path) -> None:
    """Put the models (as links), a corpus, and the files of someone's own data into a folder."""
    (folder / "models").mkdir()
    for model in (ROOT / "models").iterdir():
        (folder / "models" / model.name).symlink_to(model)
    for split in ("train", "valid", "test"):
        for language, lines in (("de", GERMAN), ("en", ENGLISH)):
            (folder / f"{split}.{language}").write_text("".join(f"{line}\n" for line in lines * 3), encoding="utf-8")
    (folder / "corpus.de").write_text("".join(f"{line}\n" for line in GERMAN), encoding="utf-8")
    (folder / "mine.yaml").write_text(GRID, encoding="utf-8")
