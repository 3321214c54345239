"""The teacher's translations of the training corpora, beside their references: OUT/corpora/NAME_distilled."""

import re
from pathlib import Path

from fairseq_mh.files.output import read_lines
from scripts.mix_corpora import mixture
from scripts.scoring import BEAM, translate

MOST_PIECES = 3  # a piece of the source that a translation may have, and SLACK more: longer ones repeat themselves
SLACK = 10
HYPOTHESIS = re.compile(r"^H-(\d+)\t[^\t]*\t(.*)$", re.MULTILINE)


def hypotheses(out: Path, model: Path, teacher: Path, corpora: list[str]) -> dict[int, str]:
    """Translate the German of some corpora, one after the other; returns pieces by line."""
    data = mixture(out, model, "sources", dict.fromkeys(corpora, 1))
    output = out / "translations.txt"
    if not output.exists():
        translate(data, teacher, "train", output, BEAM)
    return {int(number): text for number, text in HYPOTHESIS.findall(output.read_text(encoding="utf-8"))}


def is_sound(source: str, translation: str | None) -> bool:
    """Say whether a translation in pieces is there at all, and not much too long."""
    return bool(translation) and len(translation.split()) <= MOST_PIECES * len(source.split()) + SLACK


def distil(out: Path, model: Path, teacher: Path, corpora: list[str]) -> None:
    """Write each corpus once more, with the teacher's translations as targets."""
    names = {corpus: out / "corpora" / f"{corpus}_distilled" for corpus in corpora}
    if all(name.with_suffix(".en").exists() for name in names.values()):
        return
    by_line = hypotheses(out, model, teacher, corpora)
    before = 0  # lines of the corpora before this one
    for corpus, name in names.items():
        sources = read_lines(out / "corpora" / f"{corpus}.de")
        pairs = [(de, by_line[i]) for i, de in enumerate(sources, start=before) if is_sound(de, by_line.get(i))]
        before += len(sources)
        for side, language in enumerate(("de", "en")):
            text = "".join(pair[side] + "\n" for pair in pairs)
            name.with_suffix(f".{language}").write_text(text, encoding="utf-8")
        print(f"{corpus}: {len(pairs)} of {len(sources)} lines distilled")
