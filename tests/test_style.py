# SPDX-License-Identifier: GPL-3.0-or-later
"""How the code is written keeps to what was agreed; ``make style`` prints the same figures."""

import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import style  # noqa: E402


@pytest.fixture(scope="module")
def figures():
    return style.count_package(ROOT / "hyperspy_zlpml")


def where(figures, words):
    """Places of the only kind whose name holds these words."""
    (places,) = (found for kind, found in figures.places.items() if words in kind)
    return places


def test_functions_are_small(figures):
    assert sum(figures.lengths) / len(figures.lengths) < 9
    assert max(figures.lengths) <= 55


def test_every_public_function_is_documented(figures):
    assert not where(figures, "without a docstring")


def test_many_public_functions_have_an_example(figures):
    assert figures.with_example >= figures.public / 4


@pytest.mark.parametrize("kind", ["fmt: skip", "object", "leans on another"])
def test_what_there_is_none_of(figures, kind):
    assert not where(figures, kind)


def test_calls_say_what_their_arguments_are(figures):
    assert len(where(figures, "positional arguments")) <= figures.lines / 2000


def test_what_is_counted_is_found(tmp_path):
    """The counts themselves: one place of each kind in a file made for it."""
    path = style.ROOT / "benchmarks" / "style.py"
    text = (
        "class A:\n"
        '    """The letter."""\n'
        "    first: object\n"
        "    def bare(self):\n"
        "        # a comment\n"
        "        return call(1, 2, 3, 4, 5)  # fmt: skip\n"
        "    def told(self):\n"
        '        """Tell.\n\n        >>> 1\n        1\n        """\n'
        "        return 1\n"
    )
    found = style.Figures()
    style.count(style.ast.parse(text), text, path.relative_to(style.ROOT), found)
    assert [len(places) for places in found.places.values()] == [1, 1, 1, 1, 1]
    assert found.lengths == [2, 2]
    assert (found.public, found.documented, found.with_example, found.doctests) == (2, 1, 1, 1)
