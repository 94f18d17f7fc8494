# SPDX-License-Identifier: GPL-3.0-or-later
"""Result of a search for settings: what was found, how it was found, and whether it is a gain."""

import csv
from dataclasses import asdict, dataclass, field, fields

from hyperspy_zlpml import arguments
from hyperspy_zlpml.ensemble import html
from hyperspy_zlpml.search.comparison import Comparison
from hyperspy_zlpml.search.study import Record
from hyperspy_zlpml.training.settings import TrainingSettings

#: Columns of a table of the history beside the settings.
_COLUMNS = ("number", "score", "work", "error", "coverage", "seconds", "note")
#: Verdict where there is nothing to compare the defaults with.
_SAME = "the defaults are the best found"


@dataclass(frozen=True)
class SettingsSearch:
    """Result of a search for the settings of a training.

    Attributes
    ----------
    best : TrainingSettings
        The best that were found, by trainings with other seeds; the defaults where these were as good.
    comparison : Comparison
        Of the best with the defaults, on spectra that the search has not seen.
    history : tuple of Record
        All settings that were evaluated, with their scores.
    importance : dict of str to float
        Shares of the variance of the score, largest first; empty after few evaluations.

    Examples
    --------
    >>> from hyperspy_zlpml.data import ws2_like
    >>> s = ws2_like((8, 8), n_channels=512, random_state=0).signal
    >>> found = s.search_zlp_ml(
    ...     n_evaluations=3, n_replicas=4, n_trainings=2, random_state=0, show_progressbar=False
    ... )
    >>> found  # doctest: +ELLIPSIS
    <SettingsSearch of 3 settings, ...>
    >>> r = s.remove_zlp_ml(
    ...     settings=found.settings, n_replicas=4, random_state=0, show_progressbar=False
    ... )
    """

    best: TrainingSettings
    comparison: Comparison
    history: tuple[Record, ...]
    importance: dict[str, float] = field(default_factory=dict)

    @property
    def settings(self):
        """Settings to remove with: the best where they are a significant gain, else the defaults."""
        return self.best if self.comparison.is_gain else TrainingSettings()

    @property
    def verdict(self):
        """Whether the best are better than the defaults, in words (text)."""
        return str(self.comparison) if self.best.differences else _SAME

    @property
    def front(self):
        """Records that no other beats in both score and work, cheapest first (tuple of Record)."""
        trained = sorted((one for one in self.history if not one.note), key=_cheapest_first)
        front = []
        for one in trained:
            if not front or one.score > front[-1].score:
                front.append(one)
        return tuple(front)

    @property
    def summary(self):
        """Sentences that say what was found, and whether it is a gain (text)."""
        compared = self.comparison
        n_failed = sum(bool(one.note) for one in self.history)
        lines = [
            f"{len(self.history)} settings evaluated"
            + (f", {n_failed} of which could not be trained" if n_failed else "")
            + f". Best: {self.best}.",
        ]
        if not self.best.differences:
            return "\n".join([*lines, f"{_SAME.capitalize()}, and stay."])
        lines.append(
            f"On {compared.n_spectra} spectra that the search has not seen, trained "
            f"{compared.n_trainings} times: {compared}; significant beyond {compared.least:.3f}."
        )
        if not compared.is_gain:
            lines.append("The defaults stay.")
        return "\n".join(lines)

    def __repr__(self):
        verdict = self.verdict.split(":")[0]
        return f"<SettingsSearch of {len(self.history)} settings, {verdict}>"

    def _repr_html_(self):
        """Write what was found, and the front, as tables of HTML."""
        compared = self.comparison
        kind = "passed" if compared.is_gain else "note"
        rows = [
            ("evaluated", html.text(f"{len(self.history)} settings")),
            ("best", html.text(str(self.best))),
            ("verdict", html.coloured(self.verdict, kind)),
            ("to remove with", html.text(str(self.settings))),
        ]
        front = [
            (str(one.number), f"{one.score:.3f}", f"{one.work:.2g}", str(one.settings))
            for one in self.front
        ]
        header = ("number", "score", "work (10^9)", "settings")
        return html.table(rows, "Search for settings of a training") + html.grid(header, front)

    def table(self):
        """Make a table of the history.

        Returns
        -------
        list of dict
            A row for each set of settings: its number, its scores, its settings.
        """
        return [
            {name: getattr(one, name) for name in _COLUMNS} | asdict(one.settings)
            for one in self.history
        ]

    def to_csv(self, path):
        """Write the history as a table of comma-separated values.

        Parameters
        ----------
        path : str or Path

        Raises
        ------
        ValueError
            If it is no path.
        """
        names = [*_COLUMNS, *(one.name for one in fields(TrainingSettings))]
        with open(arguments.path(path, "path"), "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(
                {**row, "hidden_layers": "-".join(map(str, row["hidden_layers"]))}
                for row in self.table()
            )

    def plot(self):
        """Draw score against work with the front, and the importance of each setting.

        The best, a star, may lie below the front: every score is that of one training, and partly luck, so that the
        best of them and the defaults were trained again with other seeds, by which the star was chosen.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from hyperspy_zlpml.search.figure import draw

        return draw(self)


def _cheapest_first(record):
    return record.work, -record.score
