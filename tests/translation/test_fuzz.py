"""Any options, model and source give translations of words with finite energies, or one clear line of refusal.

hypothesis chooses the cases, the same ones in every run; `pytest -m heavy` tries many more command lines.
"""

import functools
import json
from argparse import Namespace
from contextlib import suppress

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairseq_mh.corpus.records import record_of
from fairseq_mh.corpus.sources import read, scan
from fairseq_mh.excepthook import report
from fairseq_mh.masked_lms.cmlm import cmlm_of
from fairseq_mh.mcmc.chain import finish
from fairseq_mh.mcmc.energy import ENERGIES
from fairseq_mh.mcmc.moves.masked import SCANS
from fairseq_mh.translation.chains.starts import STARTS
from fairseq_mh.translation.generator import MHGenerator
from fairseq_mh.translation.options.checks import check
from fairseq_mh.translation.options.config import DECODINGS, TranslationMHConfig, summands_of
from fairseq_mh.translation.options.fairseq_options import with_defaults
from fairseq_mh.translation.ranking.minimum_bayes_risk import SACREBLEU
from fairseq_mh.translation.ranking.selection import LENGTH_SELECTIONS, SELECTIONS
from fairseq_mh.translation.scorer import Scorer
from fairseq_mh.translator import Translator
from tests.tiny_cmlm import dictionary_of, generate, model_of

DICTIONARY = dictionary_of()
WORDS = {DICTIONARY.index(word) for word in "abc"}
fuzz = {"deadline": None, "derandomize": True, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


def one_of(*values):
    return st.sampled_from([getattr(value, "value", value) for value in values])


OPTIONS = {
    "mh_decoding": one_of(*DECODINGS),
    "mh_energy": one_of(*ENERGIES, "two-stream", "two-stream,norm:0", "raw:0.5,two-stream:2"),
    "mh_sweeps": st.integers(0, 3),
    "mh_temperature": one_of(0.02, 0.3, 1.0, 30.0),
    "mh_final_temperature": one_of(1e-6, 0.02, 1.0),
    "mh_proposal_temperature": one_of(0.01, 0.5, 3.0),
    "mh_block_size": st.integers(0, 20),
    "mh_final_block_size": st.integers(0, 20),
    "mh_nucleus": one_of(0.1, 0.9, 1.0),
    "mh_scan": one_of(None, *SCANS, "informed"),
    "mh_chains": one_of(None, 1, 2),
    "mh_burn_in": st.integers(0, 3),
    "mh_init": one_of(*(name for name in STARTS if name != "reference")),
    "mh_select": one_of(*SELECTIONS),
    "mh_utility": one_of(*SACREBLEU),
    "mh_mbr_beta": one_of(0.0, 20.0),
    "mh_length_select": one_of(*LENGTH_SELECTIONS),
}
GENERATION = {"iter_decode_with_beam": st.integers(1, 12), "iter_decode_max_iter": st.integers(0, 4)}
GENERATION |= {"nbest": st.integers(1, 5), "retain_iter_history": st.booleans()}
MODELS = [
    {},
    {"share_all_embeddings": True},
    {"decoder_normalize_before": True, "encoder_normalize_before": True},
    {"decoder_learned_pos": True, "encoder_learned_pos": True, "activation_fn": "gelu"},
]


DECODERS = {  # options whose values a decoder restricts
    "mh": {"mh_energy": one_of(*ENERGIES)},
    "one pass": {"mh_energy": one_of("two-stream", "two-stream,norm:0")},
    "gibbs": {"mh_scan": one_of(None, "random")},
    "mask-predict": {"mh_chains": one_of(None, 1)},
}
DECODERS["mask-predict"] |= DECODERS["gibbs"]


@st.composite
def sampler_options(draw):
    """Draw each decoder equally often, with a value for every option, so that all combinations are tried."""
    decoder = draw(st.sampled_from(list(DECODERS)))
    options = draw(st.fixed_dictionaries(OPTIONS | DECODERS[decoder]))
    options["mh_decoding"] = decoder if decoder in ("gibbs", "mask-predict") else "mh"
    options["mh_burn_in"] = min(options["mh_burn_in"], options["mh_sweeps"])
    if options["mh_init"] == "mixed" and options["mh_chains"] == 1:
        options["mh_chains"] = None
    return options


@settings(max_examples=150, **fuzz)
@given(
    sampler_options(),
    st.fixed_dictionaries(GENERATION),
    st.sampled_from(MODELS),
    st.sampled_from([0.3, 1.0, 4.0]),
    st.lists(st.lists(st.integers(3, len(DICTIONARY) - 1), min_size=1, max_size=9), min_size=1, max_size=3),
)
def test_any_options_decode_to_words_with_finite_energies(options, generation, kind, scale, sources):
    cfg, generation = TranslationMHConfig(**options, seed=1, bf16=False), with_defaults(Namespace(**generation))
    check(cfg, generation)
    cmlm = cmlm_of(model(scale, **kind), DICTIONARY)
    scorer = Scorer(cmlm, summands_of(cfg, cmlm.has_two_streams), load=pytest.fail)
    generator = MHGenerator(scorer, DICTIONARY, cfg, generation)
    lines = [torch.tensor([DICTIONARY.bos(), *line, DICTIONARY.eos()]) for line in sources]
    padded = torch.nn.utils.rnn.pad_sequence(lines, batch_first=True, padding_value=DICTIONARY.pad())
    source = {"src_tokens": padded, "src_lengths": torch.tensor([len(line) for line in lines])}
    decoded = finish(generator.events({"id": torch.arange(len(lines)), "net_input": source}))
    best = generator.best(decoded, ["a b"] * len(lines))
    assert len(best) == len(lines)
    for candidates in best:
        assert 1 <= len(candidates) <= generation.nbest
        for candidate in candidates:
            assert set(candidate.tokens.tolist()) <= WORDS
            assert torch.tensor([candidate.score, candidate.energy]).isfinite().all()
            assert candidate.positional.isfinite().all()
            assert len(candidate.positional) == len(candidate.tokens)
        scores = [candidate.score for candidate in candidates]
        assert scores == sorted(scores, reverse=True)


@functools.cache
def model(scale: float, **kind):
    """Return a model with random weights of this scale."""
    built = model_of(DICTIONARY, **kind)
    for weight in built.parameters():
        weight.data *= scale
    return built


SWITCHES = ["--mh-gold-length", "--retain-iter-history", "--print-step", "--quiet", "--fp16", "--bf16", "--cpu"]
SWITCHES += ["--mh-trace=/dev/null", "--skip-invalid-size-inputs-valid-test", "--scoring=sacrebleu", "--unnormalized"]
NAMES = [f"--{name.replace('_', '-')}" for name in (*OPTIONS, "mh_expert", "mh_energie", *list(GENERATION)[:3])]
NAMES += ["--batch-size", "--max-tokens", "--seed", "--beam", "--gen-subset", "--path", "--post-process", "--nbest"]
NAMES += ["--num-shards", "--distributed-world-size", "--distributed-rank", "--source-lang"]
VALUES = [
    "0",
    "1",
    "2",
    "3",
    "-1",
    "0.5",
    "nan",
    "inf",
    "1e400",
    "",
    "x",
    "None",
    "two-stream",
    "single",
    "mbr",
    "random",
]
VALUES += ["mask-predict", "gibbs", "raw", "test", "💥", "{}", "[1]", "40", "reference", "/", "@@ "]
COMMAND_LINES = st.lists(
    st.sampled_from(SWITCHES) | st.builds("{}={}".format, st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=4
)


def check_any(tiny, options, capsys) -> None:
    """Run `fairseq-generate`; argparse or our `excepthook` must report a refusal in one line."""
    with suppress(SystemExit):
        try:
            generate(tiny, "--gen-subset", "test", "--mh-sweeps", 1, *options, double=False)
        except Exception as error:
            capsys.readouterr()
            report(type(error), error, error.__traceback__)
            said = capsys.readouterr().err.splitlines()
            assert len(said) == 1, said
            assert said[0].startswith("fairseq-mh: error: ")


@settings(max_examples=40, **fuzz)
@given(options=COMMAND_LINES)
def test_any_command_line(tiny, options, capsys):
    check_any(tiny, options, capsys)


@pytest.mark.heavy
@settings(max_examples=1500, **fuzz)
@given(options=COMMAND_LINES)
def test_many_command_lines(tiny, options, capsys):
    check_any(tiny, options, capsys)


CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0\n")


@pytest.fixture(scope="module")
def translator(tiny):
    more = ("--mh-sweeps", "1", "--source-lang", "de", "--target-lang", "en")
    return Translator(str(tiny.folder), more)


@settings(max_examples=100, **fuzz)
@given(st.lists(st.text(st.sampled_from("abcz \t\r\u2028\u00a0") | CHARACTERS, max_size=8), min_size=1, max_size=4))
def test_any_text_gives_one_record_per_line(translator, tmp_path, lines):
    path = tmp_path / "c.txt"
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    (span,) = scan(path, 10).spans
    sources = list(read(path, span))
    results = translator.decode([source.text for source in sources], samples=True)
    records = [record_of(source, result) for source, result in zip(sources, results, strict=True)]
    assert [record["source"] for record in records] == [line.strip() for line in lines]
    assert all(bool(record["translations"]) == (record["untranslated"] is None) for record in records)
    assert [json.loads(json.dumps(record, ensure_ascii=False)) for record in records] == records
    assert all(result.trace or result.untranslated for result in results)
