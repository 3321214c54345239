"""The command line of `scripts/sample_mlm.py`: chains in batches, written in chunks."""

import argparse
import json
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import torch
from fairseq.dataclass.utils import gen_parser_from_dataclass
from tqdm import tqdm

import fairseq_mh
from fairseq_mh.files.chunks import Chunks, as_text, concatenate, fingerprint
from fairseq_mh.files.trace import warn_of_broken, write_trace
from fairseq_mh.mcmc.energy import ENERGIES, total
from fairseq_mh.open_ended.blanks import TextModel
from fairseq_mh.open_ended.sampling import Chains, check_text, sample
from fairseq_mh.open_ended.template import Template
from fairseq_mh.sampler_config import SamplerConfig, check_sampler, energy_of, refuse

# A sample of the energy, and not its modes: the paper's settings.
DEFAULTS: dict[str, Any] = {"mh_temperature": 1.0, "mh_final_temperature": 1.0, "mh_proposal_temperature": 1.0}
DEFAULTS |= {"mh_proposal": "single", "mh_scan": "random", "mh_sweeps": 33}


def parse(arguments: list[str] | None = None) -> tuple[argparse.Namespace, SamplerConfig]:
    parser = argparse.ArgumentParser(
        description="Draw texts from a masked language model by Metropolis-Hastings.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("model", type=Path, help="folder of a Hugging Face model, or checkpoint of a fairseq RoBERTa")
    parser.add_argument("--output", type=Path, required=True, help="the folder to write")
    parser.add_argument("--chains", type=int, default=100, help="how many texts")
    parser.add_argument(
        "--length", type=int, nargs=2, default=(15, 45), metavar=("MIN", "MAX"), help="of {}, in symbols"
    )
    parser.add_argument("--text", default="{}", help="what is given, with blanks")
    parser.add_argument("--batch-size", type=int, default=25, help="chains at once")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sentencepiece", type=Path, help="of a fairseq RoBERTa: the model that cuts text into pieces")
    gen_parser_from_dataclass(parser, SamplerConfig())
    parser.set_defaults(**DEFAULTS)
    args = parser.parse_args(arguments)
    return args, SamplerConfig(
        **{field.name: getattr(args, field.name) for field in fields(SamplerConfig) if field.name.startswith("mh_")}
    )


def check(args: argparse.Namespace, cfg: SamplerConfig) -> None:
    """Refuse what means nothing, before anything is loaded or written."""
    check_sampler(cfg)
    shortest, longest = args.length
    refusals = {
        "--length MIN MAX must be 1 or more, the first no more than the second": not 1 <= shortest <= longest,
        "--chains must be 1 or more": args.chains < 1,
        "--batch-size must be 1 or more": args.batch_size < 1,
        "--seed must not be negative": args.seed < 0,
        "--device cuda: there is none": args.device.startswith("cuda") and not torch.cuda.is_available(),
        "--sentencepiece is for a fairseq checkpoint": bool(args.sentencepiece) and args.model.suffix != ".pt",
    }
    refuse(refusals)
    Template(args.text).check()


def load(args: argparse.Namespace) -> TextModel:
    """Only what is needed is imported."""
    if args.model.suffix == ".pt":
        from fairseq_mh.masked_lms.roberta import load_fairseq

        return load_fairseq(args.model, args.device, args.sentencepiece)
    from fairseq_mh.masked_lms.hugging_face import load_hugging_face

    return load_hugging_face(args.model, args.device)


def write_samples(chains: Chains, file: TextIO) -> None:
    end = chains.sweeps[-1].end
    energies = {f"energy_{name}": total(end.scores, name).tolist() for name in ENERGIES}
    for n, (chain, length, text) in enumerate(zip(chains.ids, chains.lengths, chains.texts, strict=True)):
        numbers = {name: values[n] for name, values in energies.items()}
        record = {"id": chain, "text": text, "length": length, "tokens": end.tokens[n, :length].tolist(), **numbers}
        file.write(json.dumps(record, ensure_ascii=False) + "\n")


def write_sweeps(chains: Chains, cfg: SamplerConfig, file: TextIO) -> None:
    write_trace(file, chains.sweeps, energy_of(cfg), chains.ids, chains.lengths, [0] * len(chains.ids))


def draw(args: argparse.Namespace, cfg: SamplerConfig, model: TextModel) -> None:
    """What was asked for (`check`), by this model. Raises UserError for what cannot be done."""
    template, lengths = Template(args.text), range(args.length[0], args.length[1] + 1)
    check_text(model, template, lengths[-1])
    settings = {name: value for name, value in vars(args).items() if name not in ("output", "device")}
    settings |= {"model_files": fingerprint(args.model), "version": fairseq_mh.__version__}
    count = -(-args.chains // args.batch_size)
    with Chunks(args.output, settings, dict.fromkeys(("samples.jsonl", "trace.jsonl"), concatenate), count) as chunks:
        missing = chunks.missing()
        for number in tqdm(missing, desc=args.output.name, unit=" batches", initial=count - len(missing), total=count):
            ids = range(number * args.batch_size, min((number + 1) * args.batch_size, args.chains))
            chains = sample(model, template, lengths, ids, args.seed, cfg)
            warn_of_broken(chains.sweeps)
            texts, sweeps = as_text(partial(write_samples, chains)), as_text(partial(write_sweeps, chains, cfg))
            chunks.write(number, {"samples.jsonl": texts, "trace.jsonl": sweeps})
        chunks.join()
