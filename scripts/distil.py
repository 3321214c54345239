"""The teacher's translations of the training corpora, beside their references: OUT/corpora/NAME_distilled."""

import re
from pathlib import Path

from fairseq_mh.evaluation.output import read_lines
from scripts.mix_corpora import mixture
from scripts.scoring import BEAM, translate

SHARDS = 20  # each a file of its own, so that little is lost where the work is stopped
MOST_PIECES = 3  # a piece of the source that a translation may have, and SLACK more: longer ones repeat themselves
SLACK = 10
HYPOTHESIS = re.compile(r"^H-(\d+)\t[^\t]*\t(.*)$", re.MULTILINE)


def hypotheses(out: Path, model: Path, teacher: Path, corpora: list[str], shards: int) -> dict[int, str]:
    """Translate the German of some corpora, one after the other, shard by shard; returns pieces by line."""
    data = mixture(out, model, "sources", dict.fromkeys(corpora, 1))
    found: dict[int, str] = {}
    for shard in range(shards):
        output = out / "translations" / f"{shard}-of-{shards}.txt"
        output.parent.mkdir(exist_ok=True)
        if not output.exists():
            translate(data, teacher, "train", output, f"{BEAM} --num-shards {shards} --shard-id {shard}")
        found |= {int(number): text for number, text in HYPOTHESIS.findall(output.read_text(encoding="utf-8"))}
    return found


def is_sound(source: str, translation: str | None) -> bool:
    """Say whether a translation in pieces is there at all, and not much too long."""
    return bool(translation) and len(translation.split()) <= MOST_PIECES * len(source.split()) + SLACK


def distil(out: Path, model: Path, teacher: Path, corpora: list[str], shards: int = SHARDS) -> None:
    """Write each corpus once more, with the teacher's translations as targets."""
    names = {corpus: out / "corpora" / f"{corpus}_distilled" for corpus in corpora}
    if all(name.with_suffix(".en").exists() for name in names.values()):
        return
    by_line = hypotheses(out, model, teacher, corpora, shards)
    before = 0  # lines of the corpora before this one
    for corpus, name in names.items():
        sources = read_lines(out / "corpora" / f"{corpus}.de")
        pairs = [(de, by_line[i]) for i, de in enumerate(sources, start=before) if is_sound(de, by_line.get(i))]
        before += len(sources)
        for side, language in enumerate(("de", "en")):
            text = "".join(pair[side] + "\n" for pair in pairs)
            name.with_suffix(f".{language}").write_text(text, encoding="utf-8")
        print(f"{corpus}: {len(pairs)} of {len(sources)} lines distilled")
