"""Every option of fairseq is read or refused."""

from dataclasses import fields

import pytest
from fairseq.dataclass.configs import GenerationConfig

from fairseq_mh.errors import UserError
from fairseq_mh.loading import parse_generate_options
from fairseq_mh.translation.options.checks import check
from fairseq_mh.translation.options.fairseq_options import MINE, WITHOUT_MEANING

LANGUAGES = ("--source-lang", "de", "--target-lang", "en")


READ = {
    "iter_decode_force_max_iter",  # these decoders always run all passes
    "iter_decode_max_iter",
    "iter_decode_with_beam",
    "iter_decode_with_external_reranker",
    "nbest",
    "no_seed_provided",  # set by fairseq itself
    "prefix_size",
    "print_step",
    "retain_iter_history",
    "sacrebleu",  # read by fairseq's scoring
    "score_reference",
    "constraints",
}


def test_every_option_of_fairseq_is_decided_on():
    """A new option of fairseq's parser must be added to one of the lists."""
    known = [*READ, *MINE, *WITHOUT_MEANING]
    assert len(known) == len(set(known))
    assert set(known) == {field.name for field in fields(GenerationConfig) if not field.name.startswith("_")}


GIVEN = {
    "temperature": (("--temperature", "2"), "use --mh-temperature"),
    "length penalty": (("--lenpen", "0.6"), "use --mh-length-select"),
    "shortest": (("--min-len", "5"), "use --mh-length-select"),
    "EOS penalty": (("--iter-decode-eos-penalty", "1"), "--iter-decode-eos-penalty"),
    "decoding format": (("--decoding-format", "unigram"), "--decoding-format"),
    "source length": (("--match-source-len",), "--match-source-len"),
    "beam": (("--beam", "4"), "--iter-decode-with-beam"),
    "sampling": (("--sampling",), "--mh-preset sample"),
    "unknown words": (("--replace-unk",), "--replace-unk"),
    "n-grams": (("--no-repeat-ngram-size", "3"), "--no-repeat-ngram-size"),
    "language model": (("--lm-path", "x.pt"), "--mh-energy"),
    "alignment": (("--print-alignment", "hard"), "--print-alignment"),
}


@pytest.mark.parametrize("name", GIVEN)
def test_options_that_would_do_nothing_are_refused(tiny, name):
    given, message = GIVEN[name]
    cfg = parse_generate_options(str(tiny.folder), [*LANGUAGES, *given])
    with pytest.raises(UserError, match=message):
        check(cfg.task, cfg.generation)


def test_the_other_options_are_read(tiny):
    more = ("--nbest", "2", "--iter-decode-with-beam", "3", "--iter-decode-max-iter", "4", "--print-step")
    cfg = parse_generate_options(str(tiny.folder), [*LANGUAGES, *more, "--iter-decode-force-max-iter"])
    check(cfg.task, cfg.generation)
