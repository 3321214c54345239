#!/usr/bin/env python3
"""Translate a corpus with any number of workers, and lose nothing.

    python scripts/translate_corpus.py models/libreoffice-de-en corpus.de --output OUT --workers 2 \
        -- --bpe sentencepiece --sentencepiece-model models/libreoffice-de-en/spm.model --nbest 3

The corpus is text, a sentence a line, or JSON lines with "text" and, if they have one, "id". OUT/translations.jsonl (or
.parquet) has a record a line: source, translations with energies, cost. A translation depends on the seed and its line
number, not on who translates it. Killed at any time, the same command goes on where it was.
"""

import logging
import signal
import sys
import warnings
from contextlib import redirect_stdout

from fairseq_mh.corpus.driver import summary, translate
from fairseq_mh.corpus.options import parse
from fairseq_mh.errors import UserError


def main():
    args = parse()
    logging.getLogger().setLevel(logging.WARNING)
    warnings.simplefilter("ignore")  # Hydra's and Ray's, of each other's plans
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as clusters end what is over its time
    try:
        with redirect_stdout(sys.stderr):  # Ray tells of workers that die
            counts = translate(args)
        print(summary(counts))
    except (UserError, OSError) as error:
        sys.exit(f"fairseq-mh: error: {error}")
    except KeyboardInterrupt:
        sys.exit("fairseq-mh: interrupted; the same command goes on where it was")


if __name__ == "__main__":
    main()
