"""Sequence-level distillation: the teacher's translations of the training corpora, as OUT/corpora/NAME_distilled."""

import re
from pathlib import Path

from fairseq_mh.files.output import read_lines
from scripts.mix_corpora import mixture
from scripts.prepare_data import write_text
from scripts.scoring import BEAM, translate

# A translation may have MOST_PIECES pieces for each piece of the source, and SLACK more; longer ones repeat themselves.
MOST_PIECES = 3
SLACK = 10
HYPOTHESIS = re.compile(r"^H-(\d+)\t[^\t]*\t(.*)$", re.MULTILINE)


def hypotheses(out: Path, model: Path, teacher: Path, corpora: list[str]) -> dict[int, str]:
    """Translate the German side of some corpora, one after the other; return line number -> translation in pieces."""
    data = mixture(out, model, "sources", dict.fromkeys(corpora, 1))
    output = out / "translations.txt"
    if not output.exists():
        translate(data, teacher, "train", output, BEAM)
    return {int(number): text for number, text in HYPOTHESIS.findall(output.read_text(encoding="utf-8"))}


def is_sound(source: str, translation: str | None) -> bool:
    """Say whether a translation in pieces exists and is not much too long."""
    return bool(translation) and len(translation.split()) <= MOST_PIECES * len(source.split()) + SLACK


def distil(out: Path, model: Path, teacher: Path, corpora: list[str]) -> None:
    """Write a copy of each corpus with the teacher's translations as targets; do nothing if all copies exist.

    Args:
        out: the folder of the training.
        model: the folder of the model whose pieces and dictionary are used.
        teacher: the teacher's checkpoint.
        corpora: the names of the corpora.
    """
    names = {corpus: out / "corpora" / f"{corpus}_distilled" for corpus in corpora}
    if all(name.with_suffix(".en").exists() for name in names.values()):
        return
    by_line = hypotheses(out, model, teacher, corpora)
    first = 0  # line number of the corpus's first line in all corpora together
    for corpus, name in names.items():
        sources = read_lines(out / "corpora" / f"{corpus}.de")
        pairs = [(de, by_line[i]) for i, de in enumerate(sources, start=first) if is_sound(de, by_line.get(i))]
        first += len(sources)
        write_text({name.name: pairs}, name.parent)
        print(f"{corpus}: {len(pairs)} of {len(sources)} lines distilled")
