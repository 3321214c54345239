#!/usr/bin/env python3
"""Train the embedded masked language model: a small BERT on the English side of the LibreOffice help.

    python scripts/train_mlm.py models/libreoffice-de-en/en-de.tsv.gz OUT        # needs the extra `hf`

Pages are split as for the CMLM (`prepare_data.py`). Twice BERT's share of the symbols is masked, because chains begin
with masks alone, and always by [MASK], because the sampler never shows the model another symbol in its place. Resumes
from its checkpoints; bf16 on a CPU.
"""

import argparse
import gzip
from pathlib import Path

from prepare_data import split
from tokenizers import BertWordPieceTokenizer

from fairseq_mh.open_ended.transformers_at_hand import transformers

MASKED = 0.3
LONGEST = 64
SIZES = {
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
    "max_position_embeddings": LONGEST,
    "type_vocab_size": 1,
}


def english(corpus: Path) -> dict[str, list[str]]:
    """Distinct segments of each split."""
    with gzip.open(corpus, "rt", encoding="utf-8") as lines:
        splits = split([tuple(line.rstrip("\n").split("\t")) for line in lines])
    return {name: list(dict.fromkeys(pair[1] for pair in pairs)) for name, pairs in splits.items()}


def train_tokenizer(segments: list[str], vocabulary: int):
    pieces = BertWordPieceTokenizer(lowercase=True)
    pieces.train_from_iterator(segments, vocab_size=vocabulary, min_frequency=2, show_progress=False)
    return transformers.BertTokenizerFast(tokenizer_object=pieces._tokenizer, model_max_length=LONGEST)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path, help="page, English, German: a .tsv.gz")
    parser.add_argument(
        "output", type=Path, help="the model's folder; its checkpoints are beside it, in OUTPUT.training"
    )
    parser.add_argument("--updates", type=int, default=4000)
    parser.add_argument("--batch-size", type=int, default=64, help="segments; default: %(default)s")
    parser.add_argument("--vocabulary", type=int, default=4000)
    args = parser.parse_args()
    texts = english(args.corpus)
    tokenizer = train_tokenizer(texts["train"], args.vocabulary)
    transformers.set_seed(1)
    model = transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=len(tokenizer), **SIZES))
    data = {name: tokenizer(texts[name], truncation=True)["input_ids"] for name in ("train", "valid")}
    training = Path(f"{args.output}.training")
    trainer = transformers.Trainer(
        model,
        transformers.TrainingArguments(
            output_dir=str(training),
            max_steps=args.updates,
            per_device_train_batch_size=args.batch_size,
            learning_rate=1e-3,
            warmup_steps=500,
            weight_decay=0.01,
            adam_beta2=0.98,
            train_sampling_strategy="group_by_length",
            bf16=True,
            use_cpu=not transformers.utils.is_torch_cuda_available(),
            eval_strategy="steps",
            eval_steps=500,
            save_steps=500,
            save_total_limit=1,
            logging_steps=100,
            report_to=[],
            seed=1,
        ),
        train_dataset=[{"input_ids": ids} for ids in data["train"]],
        eval_dataset=[{"input_ids": ids} for ids in data["valid"]],
        data_collator=transformers.DataCollatorForLanguageModeling(
            tokenizer, mlm_probability=MASKED, mask_replace_prob=1.0, random_replace_prob=0.0
        ),
    )
    trainer.train(resume_from_checkpoint=any(training.glob("checkpoint-*")))
    model.half().save_pretrained(args.output)
    tokenizer.save_pretrained(args.output)


if __name__ == "__main__":
    main()
