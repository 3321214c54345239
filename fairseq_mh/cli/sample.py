"""Draw texts from a masked language model by Metropolis-Hastings.

    fairseq-mh sample models/libreoffice-en --output out/texts --chains 100 --length 15 45
    fairseq-mh sample models/libreoffice-en --output out/filled --text 'Click {3} to {}.'

MODEL is a folder with a Hugging Face model (extra `hf`), or a RoBERTa checkpoint of fairseq (.pt, with its dict.txt in
the same folder). In --text, {3} is a blank of three symbols, and {} a blank of a random number of symbols; the rest of
the text stays as it is. To start a chain, the masks in the blanks are filled one by one. OUTPUT/samples.jsonl has the
last text of each chain, and OUTPUT/trace.jsonl its sweeps. After an interruption, run the same command to continue.
"""

from argparse import ArgumentParser, Namespace

from fairseq_mh.open_ended.drawing import draw_texts, load_text_model
from fairseq_mh.open_ended.options import add_text_options, check_text_options, text_options


def add_arguments(parser: ArgumentParser) -> None:
    add_text_options(parser)


def run(args: Namespace) -> None:
    options = text_options(args)
    check_text_options(options)
    try:
        draw_texts(options, load_text_model(options.model, options.device, options.sentencepiece_model))
    except KeyboardInterrupt:
        raise KeyboardInterrupt("run the same command again to continue") from None
    print(f"{options.output / 'samples.jsonl'} is written: {options.chains} texts; their chains are in trace.jsonl")
