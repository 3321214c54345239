#!/usr/bin/env python3
"""Measure translations that must contain phrases drawn from their references (`--constraints`).

    python -m benchmarks.phrases models/libreoffice-de-en models/libreoffice-de-en/test --output phrases.csv

The program reads TEXT.de and TEXT.en. It draws phrases of 1 to 3 words, which share no word, from each reference with a
fixed seed: first one phrase, then two if there is room. Each line of the table is one decoder without phrases, with
phrases, or, for Metropolis-Hastings, with phrases that stay where they start. Its columns are the share of phrases that
the translations contain (without phrases: the share of one phrase drawn from each reference), their share as whole
words, BLEU, chrF, decoder rows a sentence, and seconds. --teacher adds an autoregressive model with fairseq's own
constrained beam search.
"""

import argparse
import random
import re
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import polars as pl

from fairseq_mh.evaluation.scores import corpus_scores
from fairseq_mh.files.output import read_lines
from fairseq_mh.translator import Translator

SEED, LONGEST = 1, 3  # seed of the drawn phrases, and most words in a phrase
DECODERS = {
    "mask-predict": {"decoding": "mask-predict", "iter_decode_with_beam": 5},
    "default": {},
    "best": {"preset": "best"},
}


def draw_phrases(references: list[str], count: int) -> list[list[str]]:
    """Draw phrases from each reference that share no word and do not touch each other.

    Args:
        references: text of the references.
        count: the number of phrases for each reference; fewer are drawn if there is no room.

    Returns:
        The phrases of each reference, in their order in it.
    """
    stream, drawn = random.Random(SEED), []
    for reference in references:
        words, chosen = reference.split(), []
        taken = [False] * len(words)
        for length in [stream.randint(1, LONGEST) for _ in range(count)]:
            sites = [i for i in range(len(words) - length + 1) if not any(taken[max(i - 1, 0) : i + length + 1])]
            if sites:
                site = stream.choice(sites)
                taken[site : site + length] = [True] * length
                chosen.append((site, " ".join(words[site : site + length])))
        drawn.append([phrase for _, phrase in sorted(chosen)])
    return drawn


def shares_held(phrases: list[list[str]], translations: list[str]) -> dict[str, float]:
    """Return the share of phrases that their translations contain ("held"), and contain as whole words ("whole")."""
    pairs = [(phrase, text) for mine, text in zip(phrases, translations, strict=True) for phrase in mine]
    whole = [re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text) is not None for phrase, text in pairs]
    return {"held": sum(phrase in text for phrase, text in pairs) / len(pairs), "whole": sum(whole) / len(pairs)}


def decode(translator: Translator, sources: list[str], phrases: list[list[str]] | None, moving: bool):
    """Return the translations, and the decoder rows a sentence.

    Args:
        translator: the decoder.
        sources: text of the sources.
        phrases: the phrases that each translation must contain.
        moving: whether chains move the phrases.
    """
    set_up = translator.generator.set_up
    if not moving:
        translator.generator.set_up = lambda *args: set_up(*args)._replace(phrase_order=None)
    results = translator.decode(sources, phrases=phrases, trace=False)
    translator.generator.set_up = set_up
    texts = [result.translations[0].text if result.translations else "" for result in results]
    return texts, sum(result.rows for result in results) / len(results)


def beam_search(args, sources: list[str], phrases: list[list[str]] | None) -> tuple[list[str], None]:
    """Return the translations of fairseq's own constrained beam search, and None, because it counts no rows."""
    lines = ["\t".join([source, *mine]) for source, mine in zip(sources, phrases or [[] for _ in sources], strict=True)]
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".txt") as text:
        text.write("".join(line + "\n" for line in lines))
        text.flush()
        command = [sys.executable, "-m", "benchmarks.constrained_beam", str(args.data), "--task", "translation"]
        command += ["--path", str(args.teacher), "--source-lang", "de", "--target-lang", "en", "--input", text.name]
        command += ["--bpe", "sentencepiece", "--sentencepiece-model", str(args.data / "spm.model"), "--beam", "5"]
        command += ["--buffer-size", "2000", "--batch-size", "50", *(["--constraints"] if phrases else [])]
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    found = {int(n): text for n, text in re.findall(r"^D-(\d+)\t\S+\t(.*)$", output, re.MULTILINE)}
    return [found.get(n, "") for n in range(len(sources))], None


def main():
    """Measure all decoders and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="fairseq's data folder, with checkpoint.pt and spm.model")
    parser.add_argument("text", type=Path, help="text of the sources, TEXT.de, and of the references, TEXT.en")
    parser.add_argument("--output", type=Path, required=True, help="the CSV file to write")
    parser.add_argument("--decoders", nargs="*", default=["mask-predict", "best"], choices=list(DECODERS))
    parser.add_argument("--phrases", nargs="*", type=int, default=[1, 2], help="phrases to draw from each reference")
    parser.add_argument("--teacher", type=Path, help="an autoregressive model with the same dictionaries")
    parser.add_argument("--limit", type=int, help="use only this number of sentences, from the first")
    args = parser.parse_args()
    sources, references = (read_lines(Path(f"{args.text}.{side}"))[: args.limit] for side in ("de", "en"))
    drawn = {0: None} | {count: draw_phrases(references, count) for count in args.phrases}
    rows = []

    def add(decoder, count, moving, run):
        start = time.perf_counter()
        texts, rows_a_sentence = run()
        row = {"decoder": decoder, "phrases": count, "moving": moving, "rows": rows_a_sentence}
        row |= shares_held(drawn[count or min(args.phrases)], texts)
        row |= {**corpus_scores(texts, references), "seconds": time.perf_counter() - start}
        rows.append(row)
        pl.DataFrame(rows).write_csv(args.output)
        print(row, flush=True)

    if args.teacher:
        for count, phrases in drawn.items():
            add("teacher, beam 5", count, False, partial(beam_search, args, sources, phrases))
    for name in args.decoders:
        translator = Translator.load(args.data, source_lang="de", target_lang="en", **DECODERS[name])
        for count, phrases in drawn.items():
            for moving in (False, True) if count and name != "mask-predict" else (False,):
                add(name, count, moving, partial(decode, translator, sources, phrases, moving))


if __name__ == "__main__":
    main()
