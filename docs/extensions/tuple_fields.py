"""Leaves the fields of NamedTuples out of their members, because `Attributes:` in the docstring describes them."""

from collections import namedtuple

from sphinx.application import Sphinx

FIELD = type(namedtuple("Example", "field").field)  # its docstring is "Alias for field number 0"


def is_left_out(app, what, name, obj, skip: bool, options) -> bool | None:
    """Return True for a field of a NamedTuple, and None, which lets Sphinx decide, for all else."""
    return True if isinstance(obj, FIELD) else None


def setup(app: Sphinx) -> dict:
    app.connect("autodoc-skip-member", is_left_out)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
