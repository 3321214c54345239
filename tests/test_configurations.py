"""The configurations that tests compose from what they keep are those that Hydra composes."""

import pytest
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from hydra._internal.config_loader_impl import ConfigLoaderImpl

import fairseq_mh.tasks.translation_mh  # noqa: F401  (registers the task)
from tests import configurations

COMMANDS = {
    "the sampler": ("--mh-sweeps", "3", "--mh-energy", "two-stream", "--mh-chains", "2", "--seed", "7"),
    "none of the sampler's": ("--nbest", "2", "--beam", "3", "--batch-size", "4", "--fp16", "--gen-subset", "valid"),
    "texts": ("--path", "a b/c=d,'e'.pt", "--model-overrides", "{'x': [1, 2]}", "--post-process", "sentencepiece"),
    "others": ("--task", "translation_lev", "--scoring", "sacrebleu", "--sacrebleu-lowercase"),
}


def composed(*arguments, **changes):
    parser = options.get_generation_parser()
    parser.set_defaults(arch="wav2vec2")  # as `fairseq-generate` does
    task = () if "--task" in arguments else ("--task", "translation_mh")
    args = options.parse_args_and_arch(parser, ["data", *task, *arguments])
    vars(args).update(changes)
    return convert_namespace_to_omegaconf(args)


@pytest.mark.parametrize("name", COMMANDS)
def test_it_is_what_hydra_composes(name, monkeypatch):
    configurations.keep_composed()
    found = composed(*COMMANDS[name])
    monkeypatch.setattr(ConfigLoaderImpl, "_load_configuration_impl", configurations.compose)
    assert found == composed(*COMMANDS[name])


def test_what_is_changed_is_not_kept():
    configurations.keep_composed()
    expected, changed = composed(), composed()
    changed.generation.nbest = 5
    changed.task.mh_sweeps = 99
    assert composed() == expected != changed


@pytest.mark.parametrize("value", ["1,2", "${oc.env:NOWHERE}"])
def test_hydra_says_what_it_refuses(value, monkeypatch):
    configurations.keep_composed()
    said = []
    for _ in range(2):
        with pytest.raises(Exception, match=r"seed|NOWHERE") as refused:
            composed(seed=value)
        said.append((refused.type, str(refused.value)))
        monkeypatch.setattr(ConfigLoaderImpl, "_load_configuration_impl", configurations.compose)
    assert said[0] == said[1]
