# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps of several methods in one pass, and what is found by all of them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from hyperspy_zlpml import arguments
from hyperspy_zlpml.signals.maps.plans import carry_out
from hyperspy_zlpml.signals.maps.results import MapGroup, MapResult
from hyperspy_zlpml.signals.preferences import wants_progressbar


@dataclass(frozen=True, repr=False, eq=False)
class Maps(MapGroup, Mapping):
    """Results of several methods by their names, from :meth:`~hyperspy_zlpml.ZLPRemoval.maps`: a mapping.

    ``found["band_gap"]`` is ``found.band_gap``; it holds those that were asked for.

    Attributes
    ----------
    band_gap : BandGap or None
    dielectric_function : Dielectric or None
    fit_peaks : PeakFit, PeakFits or None
    temperature : Temperature or None
    thickness : Thickness or None
        None where it was not asked for.
    """

    band_gap: MapResult | None = None
    dielectric_function: MapResult | None = None
    fit_peaks: MapResult | MapGroup | None = None
    temperature: MapResult | None = None
    thickness: MapResult | None = None

    # It is equal to itself alone, as all results are; mappings are equal by their items, and not hashable.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __getitem__(self, name):
        return self._members()[name]

    def __iter__(self):
        return iter(self._members())

    def __len__(self):
        return len(self._members())


#: Methods that may share a pass.
METHODS = tuple(field.name for field in fields(Maps))


class _Planning:
    """Removal whose methods hand out their plans instead of carrying them out."""

    def __init__(self, removal):
        self._removal = removal

    def __getattr__(self, name):
        return getattr(self._removal, name)

    def _carry_out(self, plan, show_progressbar):
        return plan


class MapMethods:
    """Maps of several methods in one pass."""

    def _carry_out(self, plan, show_progressbar):
        """Carry out the plan of one method."""
        wanted = wants_progressbar(show_progressbar)
        return carry_out(self, {"one": plan}, wanted)["one"]

    def maps(self, *names, show_progressbar=None, **methods):
        """Make the maps of several methods in one pass over the data.

        What all methods need of a spectrum, the zero-loss peak and all ways in which it may be wrong,
        is then computed once. Results are those of the methods by themselves, bit for bit.

        Parameters
        ----------
        *names : str
            Methods that are wanted with their defaults.
        show_progressbar : bool, optional
            Default from HyperSpy's preferences.
        **methods : dict
            Arguments of ``band_gap``, ``dielectric_function``, ``fit_peaks``, ``temperature`` and
            ``thickness``, of those that are wanted.

        Returns
        -------
        Maps
            Its attributes and items are the results, by the names of the methods.

        Raises
        ------
        ValueError
            If there is no such method, it is named twice, arguments are no dict, or any of them is wrong,
            before any work is done.

        Notes
        -----
        Methods that pool spectra (``pool=``) take a pass of their own.

        Examples
        --------
        >>> from hyperspy_zlpml.data import ws2_like
        >>> s = ws2_like((4, 4), n_channels=512, scale=0.1, random_state=0).signal
        >>> r = s.remove_zlp_ml(
        ...     n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False
        ... )
        >>> found = r.maps(
        ...     thickness={"density": 7.5}, dielectric_function={"n": 4.0}, show_progressbar=False
        ... )
        >>> found.thickness.by_density.value
        <BaseSignal, title: WS2-like flake thickness by density, dimensions: (4, 4|)>
        """
        show_progressbar = wants_progressbar(show_progressbar)
        methods = _by_default(names, methods) | methods
        if not methods:
            arguments.refuse(methods, "methods", f"some of {', '.join(METHODS)}")
        for name, given in methods.items():
            _check_method(name, given)
        planning = _Planning(self)
        plans = {name: getattr(type(self), name)(planning, **methods[name]) for name in methods}
        return Maps(**carry_out(self, plans, show_progressbar))


def _by_default(names, methods):
    """Take methods that are wanted with their defaults; ValueError where one is asked for twice."""
    for name in names:
        arguments.text(name, "names")
        if name in methods or names.count(name) > 1:
            raise ValueError(
                f"{name}: expected once, by its name or with its arguments, got it twice."
            )
    return {name: {} for name in names}


def _check_method(name, given):
    """Raise ValueError unless it is a method that shares passes, with a dict of its arguments."""
    if name == "retardation":
        raise ValueError(
            "retardation: expected none among methods that share a pass, for it reads no spectra but a "
            "dielectric function or n; ask for it by itself: r.retardation(...)."
        )
    if name not in METHODS:
        asked = arguments.meant(name, METHODS)
        raise ValueError(f"{name}: expected one of {', '.join(METHODS)}.{asked}")
    if not isinstance(given, dict) or not all(isinstance(one, str) for one in given):
        arguments.refuse(given, name, "a dict of the arguments of that method")
    if name == "fit_peaks" and "peaks" not in given:
        arguments.refuse(given, name, 'a dict that holds peaks, {"peaks": Plasmon(...)}')
    if "show_progressbar" in given:
        raise ValueError(f"{name}: expected no show_progressbar of its own; give it to maps.")
