"""What users give of translations, as outlines: templates, and phrases."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from fairseq_mh.errors import UserError
from fairseq_mh.translation.given.outline import OPEN, Outline, outline_of
from fairseq_mh.translation.given.phrases import encoded

Template = str | Outline


def outlines_of_templates(
    template: Template | Sequence[Template] | None, texts: int, task: Any, end: Sequence[int]
) -> list[Outline | None]:
    """Return what a template, or one for each text, gives of the texts' translations.

    Args:
        template: words with blanks, as of `outline_of`, or an outline by tokens; None gives nothing.
        texts: how many there are.
        task: fairseq's, with the targets' dictionary, and with what cuts text into pieces.
        end: the symbols that end every target of words.

    Raises:
        UserError: for another number of templates, and for words that the model has no pieces for.
    """
    if template is None:
        return [None] * texts
    templates = [template] * texts if isinstance(template, str | Outline) else template
    if len(templates) != texts:
        raise UserError(f"there are {len(templates)} templates for {texts} texts: one for each, or one for all")
    return [
        one if isinstance(one, Outline) else Outline([*outline_of(one, task.cut, task.target_dictionary).parts, *end])
        for one in templates
    ]


def outlines_of_phrases(
    phrases: Sequence[Sequence[str]], texts: int, task: Any, end: Sequence[int]
) -> list[Outline | None]:
    """Return what phrases give of each text's translation; the arguments are as of `outlines_of_templates`.

    Raises:
        UserError: for phrases of another number of texts, and for words that the model has no pieces for.
    """
    if len(phrases) != texts:
        raise UserError("phrases are given for each text, and without a template")
    found = (encoded(mine, task.cut, task.target_dictionary) for mine in phrases)
    return [Outline([OPEN, *(end if mine else [])], [*map(Tensor.tolist, mine)]) for mine in found]
