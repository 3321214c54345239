"""Keeps what Hydra composes for fairseq's command lines, which takes longer than the rest of a run of a tiny model."""

import copy
import functools
import importlib
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

initialize = importlib.import_module("hydra.initialize")  # as an attribute of `hydra` it is a class
compose = ConfigLoaderImpl._load_configuration_impl  # Hydra's own
caller = functools.cache(initialize.detect_calling_file_or_module_from_stack_frame)
kept: dict[tuple, Any] = {}


def keep_composed() -> None:
    """Make Hydra compose from what is kept, in this process.

    Hydra is always called by fairseq, so the caller, for which it searches all modules, is looked up once.
    """
    ConfigLoaderImpl._load_configuration_impl = compose_from_kept
    initialize.detect_calling_file_or_module_from_stack_frame = caller


def compose_from_kept(loader, config_name, overrides, *args, **options):
    """Compose the groups (task, model, optimizer) once for each choice of them, and set the options in a copy.

    Hydra composes the whole again where it would refuse an option.
    """
    groups = tuple(override for override in overrides if "." not in override.split("=", 1)[0])
    key = (config_name, groups, *args, *options.items())
    try:
        if key not in kept:
            kept[key] = compose(loader, config_name, list(groups), *args, **options)
        found = copy.deepcopy(kept[key])
        ConfigLoaderImpl._apply_overrides_to_config([parsed(one) for one in overrides if one not in groups], found)
    except Exception:
        return compose(loader, config_name, overrides, *args, **options)
    return found


@functools.cache
def parsed(override: str) -> Override:
    """Return an override as Hydra's grammar reads it.

    Raises:
        ValueError: for an override that stands for several values, which Hydra refuses.
    """
    (found,) = OverridesParser.create().parse_overrides([override])
    if found.is_sweep_override():
        raise ValueError(override)
    return found
