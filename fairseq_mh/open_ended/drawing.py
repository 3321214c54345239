"""Draws texts in batches of chains, and writes each batch as a chunk, so that an interrupted run can continue."""

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TextIO

import fairseq_mh
from fairseq_mh.files.chunks import Chunks, as_text, concatenate
from fairseq_mh.files.trace import trace_records, warn_of_broken, write_records
from fairseq_mh.mcmc.chain import convert_events, finish
from fairseq_mh.open_ended.blanks import TextModel
from fairseq_mh.open_ended.options import TextOptions
from fairseq_mh.open_ended.sampling import Chains, check_text, sample, text_energy
from fairseq_mh.progress import Progress
from fairseq_mh.sampler_config import SamplerConfig

FILES = ("samples.jsonl", "trace.jsonl")


def load_text_model(model: str | Path, device: str, pieces: Path | None = None, download: bool = False) -> TextModel:
    """Load a masked language model of text; only the library for its kind is imported.

    Args:
        model: a folder with a Hugging Face model, or a checkpoint of a fairseq RoBERTa (`.pt`).
        device: the device.
        pieces: for a fairseq RoBERTa, the file of the SentencePiece model of its pieces.
        download: whether a Hugging Face model may also be the name of one of the Hub, which is then downloaded.

    Raises:
        UserError: if it cannot be loaded.
    """
    if Path(model).suffix == ".pt":
        from fairseq_mh.masked_lms.roberta import load_fairseq

        return load_fairseq(Path(model), device, pieces)
    from fairseq_mh.masked_lms.hugging_face import load_hugging_face

    return load_hugging_face(model, device, download=download)


def draw_texts(options: TextOptions, model: TextModel, spend: Callable[[float], object] | None = None) -> None:
    """Draw the texts that are not yet in the output folder, and write them to it.

    Args:
        options: the options, after `check_text_options`.
        model: the model from `load_text_model`.
        spend: called with the seconds that each batch took, after the batch is written.

    Raises:
        UserError: if the model cannot read the text, or if the folder holds other files.
    """
    check_text(model, options.text, options.lengths[-1])
    settings = options.identity() | {"version": fairseq_mh.__version__}
    batches, sweeps = options.batches(), options.sampler.mh_sweeps
    with (
        Chunks(options.output, settings, dict.fromkeys(FILES, concatenate), len(batches)) as chunks,
        Progress(desc=options.output.name, unit=" sweeps", total=options.chains * sweeps) as bar,
    ):
        missing = chunks.missing()
        bar.update(sweeps * (options.chains - sum(len(batches[number]) for number in missing)))
        for number in missing:
            begun = time.perf_counter()
            running = sample(model, options.text, options.lengths, batches[number], options.seed, options.sampler)
            chains = finish(convert_events(running, lambda ended: [bar.update(ended.number > 0)]))
            warn_of_broken(chains.sweeps)
            samples = as_text(partial(write_samples, chains, options.sampler))
            trace = as_text(partial(write_chains, chains, options.sampler))
            chunks.write(number, dict(zip(FILES, (samples, trace), strict=True)))
            if spend:
                spend(time.perf_counter() - begun)
        chunks.join()


def write_samples(chains: Chains, cfg: SamplerConfig, file: TextIO) -> None:
    """Write a JSON line for each chain: where it ended, as text and tokens, with its energies in nats."""
    end = chains.sweeps[-1].end
    nats = text_energy(cfg).by_name(end.scores)
    energies = {f"energy_{name}": values.tolist() for name, values in nats.items()}
    for n, (chain, length, text) in enumerate(zip(chains.ids, chains.lengths, chains.texts, strict=True)):
        numbers = {name: values[n] for name, values in energies.items()}
        record = {"id": chain, "text": text, "length": length, "tokens": end.tokens[n, :length].tolist(), **numbers}
        file.write(json.dumps(record, ensure_ascii=False) + "\n")


def write_chains(chains: Chains, cfg: SamplerConfig, file: TextIO) -> None:
    """Write the chains' trace: a JSON line for each chain and sweep."""
    records = trace_records(chains.sweeps, text_energy(cfg), chains.ids, chains.lengths, [0] * len(chains.ids))
    write_records(file, records)
