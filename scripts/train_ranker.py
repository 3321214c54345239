#!/usr/bin/env python3
"""Train an Electric that orders the embedded CMLM's translations by their quality.

    python -m scripts.train_ranker OUT

Mask-predict translates some sentences of the training corpus at five lengths; their references tell the quality of each
translation. The CMLM was trained on the teacher's translations of these sentences, so its own translations are better
on them than on validation. The program writes OUT/data, OUT/train.txt, OUT/valid.txt and OUT/ranker.pt, and
keeps existing files.
"""

import argparse
import random
import shutil
from pathlib import Path

import torch

from fairseq_mh.energies.electric import without_lent_weights
from fairseq_mh.files.checkpoints import allow_fairseq_types
from scripts.fairseq_training import fairseq_train, inference_checkpoint
from scripts.parallel_text import read_rows
from scripts.prepare_data import HELDOUT_WORDS, binarise, encode, write_text
from scripts.scoring import MASK_PREDICT, translate

NBEST = f"{MASK_PREDICT} --iter-decode-with-beam 5 --nbest 5"
RANKING = "--task translation_mh_bf16 --arch electric_transformer --criterion electric_ranking --freeze-encoder \
--dropout 0.2 --lr 2e-4 --lr-scheduler polynomial_decay --warmup-updates 100 --batch-size 8 --batch-size-valid 25 \
--best-checkpoint-metric picked --maximize-best-checkpoint-metric"


def write_data(model: Path, out: Path, sentences: int) -> Path:
    """Write a data folder of the validation set and of random training segments with validation's range of lengths."""
    data, raw = out / "data", out / "raw"
    if data.exists():
        return data
    pairs = [(german, english) for _, english, german in read_rows(model / "en-de.tsv.gz")]
    pairs = [pair for pair in pairs if all(len(side.split()) in HELDOUT_WORDS for side in pair)]
    random.Random(1).shuffle(pairs)
    write_text({"train": pairs[:sentences]}, raw)
    for language in ("de", "en"):
        shutil.copy(model / f"valid.{language}", raw)
    encode(raw, out / "pieces", model / "spm.model")
    binarise(out / "pieces", data, model / "dict.en.txt")
    return data


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="the folder to write")
    parser.add_argument("--model", type=Path, default=Path("models/libreoffice-de-en"), help="the CMLM's data folder")
    parser.add_argument("--sentences", type=int, default=4000, help="sentences of the training corpus")
    parser.add_argument("--updates", type=int, default=1000, help="updates of the training")
    args = parser.parse_args()
    allow_fairseq_types()
    out, cmlm = args.output, args.model / "checkpoint.pt"
    data = write_data(args.model, out, args.sentences)
    files = {split: out / f"{split}.txt" for split in ("train", "valid")}
    for split, file in files.items():
        if not file.exists():
            translate(data, cmlm, split, file, NBEST)
    options = [*RANKING.split(), "--total-num-update", str(args.updates), "--finetune-from-model", str(cmlm)]
    options += ["--candidates", str(files["train"]), "--valid-candidates", str(files["valid"])]
    fairseq_train(data, out / "ranker", args.updates, *options)
    state = inference_checkpoint(out / "ranker" / "checkpoint_best.pt", "electric_transformer")
    state["model"] = without_lent_weights(state["model"], torch.load(cmlm)["model"])
    torch.save(state, out / "ranker.pt")


if __name__ == "__main__":
    main()
