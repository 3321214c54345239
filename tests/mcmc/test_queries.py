"""Tests of the queries that rows are read in: no result depends on them, and padding is not computed."""

import pytest
import torch

from fairseq_mh.mcmc import masked_lm
from fairseq_mh.mcmc.masked_lm import features_of


class Recorder:
    """Gives each masked position its row's context, position and length as features, and counts what it reads."""

    pad = -1

    def __init__(self):
        self.queries: list[tuple[int, int]] = []  # rows, and length of the longest

    def features(self, tokens, masked, context):
        lengths = tokens.ne(self.pad).sum(1)
        self.queries.append((len(tokens), int(lengths.max())))
        row, site = masked.nonzero(as_tuple=True)
        return torch.stack([context[row], site, lengths[row]], 1).float()

    @property
    def positions(self) -> int:
        return sum(rows * longest for rows, longest in self.queries)


def rows_of(lengths):
    """Return tokens, masked positions and contexts of rows of these lengths; every second position is masked."""
    lengths = torch.tensor(lengths)
    valid = torch.arange(int(lengths.max())) < lengths[:, None]
    masked = valid & (torch.arange(valid.size(1)) % 2 == 0)
    tokens = torch.zeros(valid.shape, dtype=torch.long).masked_fill(~valid, Recorder.pad)
    return tokens, masked, torch.arange(len(valid))


LENGTHS = {
    "one": [7],
    "equal": [9] * 70,
    "short": [1, 2, 3, 4, 5, 6],
    "two kinds": [60, 3] * 30,
    "all": [*range(1, 101)],
    "one long": [4] * 63 + [200],
}


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_features_are_in_the_order_of_the_masked_positions(lengths):
    tokens, masked, context = rows_of(lengths)
    row, site = masked.nonzero(as_tuple=True)
    expected = torch.stack([context[row], site, torch.tensor(lengths)[row]], 1).float()
    assert features_of(Recorder(), tokens, masked, context).equal(expected)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_a_query_has_less_padding_than_another_query_would_take(lengths):
    """More queries than are needed must save as much padding as they take, whatever the lengths are."""
    lm = Recorder()
    features_of(lm, *rows_of(lengths))
    assert sum(rows for rows, _ in lm.queries) == len(lengths)
    assert max(rows for rows, _ in lm.queries) <= masked_lm.QUERY_ON_CPU
    ordered = sorted(lengths)
    for rows, _ in lm.queries:
        query, ordered = ordered[:rows], ordered[rows:]
        saved = [(query[-1] - query[cut - 1]) * cut for cut in range(1, rows)]
        assert max(saved, default=0) <= masked_lm.QUERY_TAKES
    needed = -(-len(lengths) // masked_lm.QUERY_ON_CPU)
    whole = sum(len(part) * max(part) for part in torch.tensor(sorted(lengths)).split(masked_lm.QUERY_ON_CPU))
    assert whole - lm.positions >= (len(lm.queries) - needed) * masked_lm.QUERY_TAKES


def test_rows_of_two_lengths_have_no_padding():
    lm = Recorder()
    features_of(lm, *rows_of(LENGTHS["two kinds"]))
    assert lm.queries == [(30, 3), (30, 60)]


def test_no_rows_are_one_empty_query():
    class Empty(Recorder):
        def features(self, tokens, masked, context):
            return torch.zeros(0, 3)

    empty = torch.zeros(0, 4, dtype=torch.long)
    assert features_of(Empty(), empty, empty.bool(), empty[:, 0]).shape == (0, 3)
