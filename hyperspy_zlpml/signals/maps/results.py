# SPDX-License-Identifier: GPL-3.0-or-later
"""What the results of all methods that make maps have in common: a summary, figures, and a folder."""

from dataclasses import fields, replace
from typing import ClassVar

import numpy as np
from hyperspy.signals import BaseSignal

from hyperspy_zlpml import arguments
from hyperspy_zlpml.ensemble import html
from hyperspy_zlpml.physics.reasons import Reason
from hyperspy_zlpml.removal.provenance import fingerprint_of
from hyperspy_zlpml.signals.folders import name_of_folder
from hyperspy_zlpml.signals.maps import files
from hyperspy_zlpml.signals.maps.native import Measured
from hyperspy_zlpml.signals.maps.pixels import pixel_shown, place_of
from hyperspy_zlpml.signals.maps.words import answers, has_legend, summary, title_of, units_of
from hyperspy_zlpml.signals.preferences import wants_progressbar
from hyperspy_zlpml.signals.saving import save_together
from hyperspy_zlpml.signals.wrapping import Slicer, cut_map

#: Ends of titles that say no more than the name of a result does.
_ENDS = ("", "function")
#: File of a folder that says in words what is in it.
_SUMMARY = "summary.txt"


class MapRecord:
    """Record of signals, by itself or within a result."""

    @property
    def inav(self):
        """Pixels or regions of all maps and spectra, ``found.inav[10:20, 5]``, as HyperSpy slices signals.

        It is the same kind of result. Single numbers, and what is told of clusters, stay those of the
        whole image.
        """
        return Slicer(self._within)

    def _within(self, slices):
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: _cut(part, slices) for name, part in parts.items()})

    def _parts(self):
        """List the public parts, those of records within it too, by their names."""
        public = [field.name for field in fields(self) if not field.name.startswith("_")]
        found = {}
        for name in public:
            part = getattr(self, name)
            if isinstance(part, MapRecord):
                found |= {f"{name}.{inner}": one for inner, one in part._parts().items()}
            else:
                found[name] = part
        return found


class MapResult(MapRecord):
    """Result of a method that makes maps: a frozen record of signals.

    Printed, it says what all of its maps hold, and how the checks of the removal went; medians of quantities
    leave out pixels whose losses are not significant.
    """

    #: Map that stands for all in a line.
    _first: ClassVar[str]
    #: Maps that are plotted.
    _plotted: ClassVar[tuple[str, ...]]

    @property
    def summary(self):
        """Words that say what all maps hold, a line for each, with the reasons there are (str)."""
        rows = self._rows()
        width = max(len(name) for name, _ in rows)
        return "\n".join([self._title(), *(f"  {name:{width}}  {text}" for name, text in rows)])

    def __repr__(self):
        rows = dict(self._rows())
        failed = f"; {rows['removal']}" if "FAILED" in rows["removal"] else ""
        return f"<{self._title()}, {self._first}: {rows[self._first]}; {rows['reason']}{failed}>"

    def __str__(self):
        return self.summary

    def _repr_html_(self):
        """Write the summary as a table of HTML."""
        return html.table([(name, html.text(said)) for name, said in self._rows()], self._title())

    def _title(self):
        """Name the result and what it is of."""
        kind, words = type(self).__name__, title_of(self.reason)
        is_said = words.replace(" ", "").lower() in {f"{kind}{end}".lower() for end in _ENDS}
        return kind if is_said else f"{kind}, {words}"

    def _rows(self):
        """Say what each part holds, and how the checks of the removal went; (name, words)."""
        insignificant = np.asarray(self.reason.data) == Reason.NOT_SIGNIFICANT
        parts = {name: part for name, part in self._parts().items() if part is not None}
        rows = [(name, _words(part, insignificant)) for name, part in parts.items()]
        return [*rows, ("removal", self.reason.metadata.ZLP_ML.checks)]

    def save(self, directory, overwrite=None):
        """Write all maps and spectra into a folder of their own, to be read by :func:`hyperspy_zlpml.load_maps`.

        Each is a ``.zspy`` of its name, ``gap.zspy`` with the noise variance of it, ``gap_std.zspy`` and
        ``gap_systematic.zspy``, which ``hyperspy.api.load`` reads, too; beside them are a summary in words and
        what the result is made of. The folder is made aside and takes its place when all is written: an
        interrupted save leaves what was there before.

        Parameters
        ----------
        directory : str or Path
            Made if it does not exist. One that exists must be empty or hold an earlier result of
            the same kind and nothing else.
        overwrite : bool, optional
            Whether to replace an earlier result; by default it is asked.

        Raises
        ------
        FileExistsError
            If the folder holds anything but such a result.
        ValueError
            If its name ends like that of a file (``.hspy``), or it is the working directory.
        OSError
            If it cannot be written.
        """
        arguments.optional_flag(overwrite, "overwrite")
        directory = arguments.path(directory, "directory")
        removal = getattr(self, "_removal", None)
        of = None if removal is None else fingerprint_of(removal.removed)
        signals, content = files.written(self._alone(), of)
        save_together(
            signals,
            {_SUMMARY: f"{self.summary}\n".encode(), files.RESULT: content},
            directory,
            overwrite=overwrite,
            show_progressbar=wants_progressbar(None),
            kinds=self._names(),
            title=name_of_folder(type(self).__name__),
        )

    def _alone(self):
        """Take the result without the removal that it is of, which is kept by itself."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: None for name, part in held.items() if _holds_removal(part)})

    def _of_removal(self):
        """Take the removal that the maps are of; ValueError where it is not at hand."""
        if self._removal is None:
            raise ValueError(
                "what is drawn anew from spectra: expected the removal that the maps are of, got none; "
                "read them by load_maps(directory, removal=r), r of load_removal(directory, signal=s)."
            )
        return self._removal

    def _place_of(self, indices):
        """Take the place of a pixel in arrays of the navigation shape; default the pixel that is shown."""
        shape = self._of_removal().removed.shape[:-1]
        if indices is None:
            first = getattr(self, self._first).value
            indices = pixel_shown(first, np.isfinite(first.data)) if shape else ()
        return place_of(indices, shape)

    def _names(self):
        """List the names that files of such a result may have, whatever was asked for."""
        names = {*self._parts(), *(field.name for field in fields(self))}
        kinds = ("value", *Measured.errors)
        ways = [name for one in names for name in (one, *(f"{one}.{kind}" for kind in kinds))]
        return {files.name_of(way) for way in ways}

    def plot(self):
        """Plot maps beside their whole errors.

        Grey pixels have no number, and are hatched where a reason says why; numbers that are to be
        read with care are hatched the other way. The legend counts the reasons. Of maps with more than
        two axes sliders choose the images: in figures that are dead pictures, choose by
        ``found.inav[..., 3].plot()``.

        Returns
        -------
        list of matplotlib.axes.Axes
        """
        from hyperspy_zlpml.signals.maps.figure import plot_maps

        shown = {name: getattr(self, name) for name in self._plotted}
        return plot_maps({name: one for name, one in shown.items() if one}, self.reason)


def _cut(part, slices):
    """Take some pixels of a part of a result; what has none stays as it is."""
    if isinstance(part, BaseSignal):
        return cut_map(part, slices)
    if hasattr(part, "_fields"):
        return part._replace(**{name: _cut(getattr(part, name), slices) for name in part._fields})
    return part.inav[slices] if hasattr(part, "inav") else part


def _holds_removal(part):
    """Tell whether a part of a result is the removal that it is of, or a named tuple with it."""
    return any(hasattr(one, "removed") for one in (part if hasattr(part, "_fields") else (part,)))


def _words(part, insignificant):
    """Say in a few words what a part of a result holds, of quantities without pixels that tell nothing."""
    if isinstance(part, Measured):
        return part._summary_without(insignificant)
    if not hasattr(part, "axes_manager"):
        return f"{part:.4g}" if isinstance(part, float) else f"{part}"
    if part.axes_manager.signal_dimension:
        return f"spectra, dimensions {part.axes_manager._get_dimension_str()}"
    if has_legend(part):
        return answers(part)
    return summary(part.data, units=units_of(part))
