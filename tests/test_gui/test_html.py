# SPDX-License-Identifier: GPL-3.0-or-later
"""What notebooks show of results, reports and ensembles: all of it, and nothing that can run."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from hyperspy_zlpml.removal.checks import VacuumCheck
from hyperspy_zlpml.statistics import Range


class Strict(HTMLParser):
    """Parser that knows whether every tag is closed, and which there are."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], set(), ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += f"{data} "


def parsed(thing):
    found = Strict(thing._repr_html_())
    assert not found.open
    return found


#: Words that only lines of text need.
NOT_IN_TABLES = set("name (I0 counts of the ZLP; limits eV from the peak)".split())


def test_every_number_of_the_report_is_there(removal):
    words = parsed(removal.report).words.replace(":", " ").split()
    assert set(str(removal.report).replace(":", " ").split()) - NOT_IN_TABLES <= set(words)


@pytest.mark.parametrize("pull, colour", [(1.0, "#2a9d4a"), (5.0, "#d1343b")])
def test_verdicts_have_colours(removal, pull, colour):
    report = removal.report
    check = VacuumCheck(
        n_spectra=20,
        residual=0.003,
        pull=pull,
        coverage=0.7,
        confidence=0.68,
        window=Range(1.2, 3.6),
    )
    html = replace(report, vacuum=check)._repr_html_()
    verdict = "passed" if pull < 2 else "FAILED"
    assert f'<span style="color:{colour};font-weight:bold">{verdict}</span>' in html


def test_text_of_others_is_text(removal):
    """A title, or a message, of a file from somebody else is shown, not carried out."""
    bad = "<script>alert(1)</script>"
    report = replace(removal.report, messages=(bad,), noise=bad)
    provenance = {**removal.ensemble.origin.provenance, "title": bad}
    origin = replace(removal.ensemble.origin, provenance=provenance)
    for thing in (report, replace(removal.ensemble, origin=origin)):
        found = parsed(thing)
        assert "script" not in found.tags
        assert bad in found.words


def test_a_result_shows_its_report_and_what_is_made(removal):
    words = parsed(removal).words
    assert "E_I scan" in words
    assert "8, 8|1024" in words


def test_an_ensemble_says_what_it_has_seen(removal):
    words = parsed(removal.ensemble).words
    assert "WS2-like flake" in words
    assert f"{removal.ensemble.n_replicas}, layers" in words
