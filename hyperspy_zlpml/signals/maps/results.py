# SPDX-License-Identifier: GPL-3.0-or-later
"""What the results of all methods that make maps have in common: a summary, figures, and a folder."""

from dataclasses import fields, replace
from typing import ClassVar

import numpy as np
from hyperspy.signals import BaseSignal

from hyperspy_zlpml import arguments
from hyperspy_zlpml.ensemble import html
from hyperspy_zlpml.image.quality import NOT_IN_BAND
from hyperspy_zlpml.physics.reasons import Reason
from hyperspy_zlpml.removal.provenance import fingerprint_of
from hyperspy_zlpml.signals.folders import name_of_folder
from hyperspy_zlpml.signals.maps import files
from hyperspy_zlpml.signals.maps.native import Measured
from hyperspy_zlpml.signals.maps.pixels import pixel_shown, place_of
from hyperspy_zlpml.signals.maps.words import (
    answers,
    explained,
    has_legend,
    summary,
    title_of,
    units_of,
)
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
        return self._changed(lambda part: _cut(part, slices))

    def _changed(self, function):
        """Change all fields alike."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: function(part) for name, part in held.items()})

    def _held(self):
        """List the public fields by their names, records of a tuple by its name and their number."""
        found = {}
        for name in (field.name for field in fields(self) if not field.name.startswith("_")):
            part = getattr(self, name)
            several = part if _is_tuple_of_records(part) else ()
            found |= {f"{name}.{k}": one for k, one in enumerate(several)} or {name: part}
        return found

    def _parts(self):
        """List the public parts, those of records within it too, by their names."""
        found = {}
        for name, part in self._held().items():
            inner = part._parts() if isinstance(part, MapRecord) else {"": part}
            found |= {f"{name}.{of}".strip("."): one for of, one in inner.items()}
        return found

    def _alone(self):
        """Take the record without the removal that it is of, which is kept by itself."""
        return self._changed(
            lambda part: None if _holds_removal(part) else _inner(part, MapRecord._alone)
        )

    def _of(self, removal):
        """Take the record as one of a removal, from which it draws anew."""
        found = self._changed(lambda part: _inner(part, lambda record: record._of(removal)))
        return replace(found, _removal=removal) if hasattr(self, "_removal") else found


class Found(MapRecord):
    """Result of methods that make maps, one or several: told in words, saved, and read back."""

    def __str__(self):
        return self.summary

    def _fingerprint(self):
        """Take the fingerprint of the removal that the maps are of, where that is at hand."""
        removal = getattr(self, "_removal", None)
        if removal is not None:
            return fingerprint_of(removal.removed)
        inner = (one._fingerprint() for one in self._held().values() if isinstance(one, Found))
        return next(filter(None, inner), None)

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
        signals, content = files.written(self._alone(), self._fingerprint())
        kind = name_of_folder(type(self).__name__)
        save_together(
            signals,
            {_SUMMARY: f"{self.summary}\n".encode(), files.RESULT: content},
            directory,
            overwrite=overwrite,
            show_progressbar=wants_progressbar(None),
            kinds=files.names_in(directory, kind),
            title=kind,
        )


class MapResult(Found):
    """Result of a method that makes maps: a frozen record of signals.

    Printed, it says what all of its maps hold, what the reasons mean that there are, and how the checks of the
    removal went; medians are those of pixels that hold, where any does.
    """

    #: Map that stands for all in a line.
    _first: ClassVar[str]
    #: Maps that are plotted.
    _plotted: ClassVar[tuple[str, ...]]
    #: Maps of limits, which are the answer of pixels without another.
    _limits: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self):
        # A quantity keeps the reasons of its pixels where it is taken out of the result.
        for name in (field.name for field in fields(self) if field.name not in self._limits):
            part = getattr(self, name)
            if isinstance(part, Measured):
                object.__setattr__(self, name, part._with_reason(self.reason))

    @property
    def summary(self):
        """Words that say what all maps hold, a line for each, with the reasons there are (str)."""
        rows = self._rows()
        width = max(len(name) for name, _ in rows)
        return "\n".join([self._title(), *(f"  {name:{width}}  {text}" for name, text in rows)])

    def __repr__(self):
        rows = dict(self._rows())
        wrong = f"; {rows['removal']}" if _is_wrong(rows["removal"]) else ""
        return f"<{self._title()}, {self._first}: {rows[self._first]}; {rows['reason']}{wrong}>"

    def _repr_html_(self):
        """Write the summary as a table of HTML."""
        rows = [
            (name, html.coloured(said, "failed") if _is_wrong(said) else html.text(said))
            for name, said in self._rows()
        ]
        return html.table(rows, self._title())

    def _title(self):
        """Name the result and what it is of."""
        kind, words = type(self).__name__, title_of(self.reason)
        is_said = words.replace(" ", "").lower() in {f"{kind}{end}".lower() for end in _ENDS}
        return kind if is_said else f"{kind}, {words}"

    def _rows(self):
        """Say what each part holds, how the checks of the removal went, and what reasons mean; (name, words)."""
        parts = {name: part for name, part in self._parts().items() if part is not None}
        reasons = {name: part for name, part in parts.items() if name.endswith("reason")}
        rows = [
            (name, _words(part, Reason.NONE if name in self._limits else _codes_of(name, reasons)))
            for name, part in parts.items()
        ]
        checks = self.reason.metadata.get_item("ZLP_ML.checks", "checks unknown")
        meaning = {name: text for one in reasons.values() for name, text in explained(one).items()}
        return [*rows, ("removal", checks), *meaning.items()]

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

    def _map(self):
        """Take a map that has the navigation axes of all."""
        return getattr(self, self._first).value

    def plot(self, *, ax=None, title=None, **style):
        """Plot maps beside their whole errors.

        Grey pixels have no number, and are hatched where a reason says why; numbers that are to be
        read with care are hatched the other way. The legend counts the reasons. Of maps with more than
        two axes sliders choose the images: in figures that are dead pictures, choose by
        ``found.inav[..., 3].plot()``.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or sequence of these, optional
            To draw in, without a legend: one for each map, or two for each with its error. Default a figure of its own.
        title : str, optional
            Of all maps; default that of each.
        **style
            Of the maps, as ``matplotlib.axes.Axes.imshow`` takes it: ``cmap``, ``vmin``, ``vmax``, ``norm``; of numbers
            along a line, as ``errorbar`` does.

        Returns
        -------
        list of matplotlib.axes.Axes

        Raises
        ------
        ValueError
            If ``ax`` are no axes, too few or too many.
        """
        from hyperspy_zlpml.signals.maps.figure import plot_maps

        shown = {name: getattr(self, name) for name in self._plotted}
        maps = {name: one for name, one in shown.items() if one}
        return plot_maps(maps, self.reason, ax=ax, title=title, **style)


class MapGroup(Found):
    """Several results, which are told of, plotted, cut and saved together."""

    def _members(self):
        """List the results that there are, by their names."""
        return {name: one for name, one in self._held().items() if one is not None}

    @property
    def summary(self):
        """Words that say what all maps of all results hold (str)."""
        return "\n".join(one.summary for one in self._members().values())

    def __repr__(self):
        rows = [f"{name}: {one!r}" for name, one in self._members().items()]
        return "\n".join([f"<{type(self).__name__}:", *rows]).replace("\n", "\n  ") + ">"

    def _repr_html_(self):
        """Write the summaries as tables of HTML."""
        return "".join(one._repr_html_() for one in self._members().values())

    def _map(self):
        """Take a map that has the navigation axes of all."""
        return next(iter(self._members().values()))._map()

    def plot(self, **style):
        """Plot every result in a figure of its own.

        Parameters
        ----------
        **style
            Of all maps, as ``plot`` of one result takes it: ``cmap``, ``norm``.

        Returns
        -------
        list of matplotlib.axes.Axes
        """
        return [axes for one in self._members().values() for axes in one.plot(**style)]


def _cut(part, slices):
    """Take some pixels of a part of a result; what has none stays as it is."""
    if isinstance(part, BaseSignal):
        return cut_map(part, slices)
    if hasattr(part, "_fields"):
        return part._replace(**{name: _cut(getattr(part, name), slices) for name in part._fields})
    if _is_tuple_of_records(part):
        return tuple(one.inav[slices] for one in part)
    return part.inav[slices] if hasattr(part, "inav") else part


def _is_wrong(said):
    """Tell whether a line says that a check failed, or that something is missing in the bands."""
    return "FAILED" in said or NOT_IN_BAND in said


def _is_tuple_of_records(part):
    """Tell whether a field holds several records."""
    return type(part) is tuple and bool(part) and isinstance(part[0], MapRecord)


def _inner(part, function):
    """Change the records that a field holds; anything else stays as it is."""
    if _is_tuple_of_records(part):
        return tuple(function(one) for one in part)
    return function(part) if isinstance(part, MapRecord) else part


def _holds_removal(part):
    """Tell whether a part of a result is the removal that it is of, or a named tuple with it."""
    return any(hasattr(one, "removed") for one in (part if hasattr(part, "_fields") else (part,)))


def _codes_of(name, reasons):
    """Take the codes of the reasons of a part: those of the innermost result that it is of."""
    ends = {one.removesuffix("reason"): codes for one, codes in reasons.items()}
    innermost = max((end for end in ends if name.startswith(end)), key=len)
    return np.asarray(ends[innermost].data)


def _words(part, codes):
    """Say in a few words what a part of a result holds, of quantities without pixels that tell nothing."""
    if isinstance(part, Measured):
        return part.summary
    if not hasattr(part, "axes_manager"):
        return f"{part:.4g}" if isinstance(part, float) else f"{part}"
    if part.axes_manager.signal_dimension:
        return f"spectra, dimensions {part.axes_manager._get_dimension_str()}"
    if has_legend(part):
        return answers(part)
    values = np.where(codes == Reason.NOT_SIGNIFICANT, np.nan, part.data)
    return summary(values, units=units_of(part), holds=codes == Reason.NONE)
