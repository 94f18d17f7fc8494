# SPDX-License-Identifier: GPL-3.0-or-later
"""Dielectric functions with errors, and the method that makes them."""

from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial

import dask.array as da
import numpy as np
from exspy.signals import DielectricFunction
from hyperspy.signals import BaseSignal, Signal1D

from hyperspy_zlpml import arguments
from hyperspy_zlpml.physics.collection import as_parallel
from hyperspy_zlpml.physics.dielectric import dielectric_block
from hyperspy_zlpml.physics.film_tables import FilmTables
from hyperspy_zlpml.physics.kramers_kronig import LossGrid
from hyperspy_zlpml.physics.material import NUMBERS, SPECTRA, Analysis, film_table
from hyperspy_zlpml.physics.reasons import Reason
from hyperspy_zlpml.signals.maps.given import check_unused, index_of, with_error
from hyperspy_zlpml.signals.maps.native import Measured, plain_map, reason_map
from hyperspy_zlpml.signals.maps.pixels import at_pixel
from hyperspy_zlpml.signals.maps.plans import Plan
from hyperspy_zlpml.signals.maps.results import MapGroup, MapResult
from hyperspy_zlpml.signals.maps.thickness import shares_of_films
from hyperspy_zlpml.signals.microscope import beam_of
from hyperspy_zlpml.signals.wrapping import set_lazy
from hyperspy_zlpml.statistics import Range

#: Steps of the energies to one FWHM: finer ones hold nothing more.
_STEPS_PER_FWHM = 4
#: Finest step of the energies, eV.
_FINEST_STEP = 0.05
#: Most energies: the matrices of the noise are square.
_MOST_ENERGIES = 2048
#: Fewest energies of which anything can be said.
_FEWEST_ENERGIES = 16
#: Energies that a figure shows, in units of that of the highest losses.
_REACH = 3.0
#: From what the losses of films are computed.
_FILMS = ("clusters", "pixels")
#: Most refractive indices of an image that make materials of their own.
_MOST_INDICES = 4
#: Most spectra of which the mean of a material is taken.
_MOST_SPECTRA = 48
#: Zeros in the order of :class:`Crossings`.
_ZEROS = ("rising", "falling")
#: What reasons mean for a dielectric function.
_TEXTS = {
    Reason.AT_UPPER_END: "the refractive index lies above any: the losses of a nm add up to more than a metal's"
}


@dataclass(frozen=True, repr=False, eq=False)
class Zero(MapResult):
    """Energies at which the real part of a dielectric function is zero.

    Attributes
    ----------
    position : Measured
        In the units of the axis; NaN where there is none.
    probability : BaseSignal
        Probability that the function crosses zero in this direction at all.
    reason : BaseSignal
        Why there is no zero: NO_CROSSING where the function is known and has none.
    """

    _first = "position"
    _plotted = ("position",)

    position: Measured
    probability: BaseSignal
    reason: BaseSignal


@dataclass(frozen=True, repr=False, eq=False)
class Crossings(MapGroup):
    """Zeros of the real part of dielectric functions, smoothed over one FWHM.

    Attributes
    ----------
    rising : Zero
        The highest at which it becomes positive: above it lies the volume plasmon.
    falling : Zero
        The one below it at which it becomes negative; a metal has none.
    """

    rising: Zero
    falling: Zero


@dataclass(frozen=True, repr=False, eq=False)
class Dielectric(MapResult):
    """Dielectric function, from :meth:`~hyperspy_zlpml.ZLPRemoval.dielectric_function`.

    Spectra are on energies from each pixel's own peak, in the units of the axis.

    Attributes
    ----------
    epsilon : exspy.signals.DielectricFunction
        Complex dielectric function; NaN where a pixel has none.
    eps1, eps2 : Measured
        Its real and its imaginary part, spectra, with their errors: ``std`` from counting noise and
        the ZLP, ``systematic`` of what was given, of the losses below ``E_I`` and beyond the axis, and of
        the resolution.
    thickness : Measured
        nm.
    n : Measured
        Refractive index at zero energy, by the sum rule; infinite for a metal.
    crossings : Crossings
        Zeros of the real part.
    trusted_from : BaseSignal
        Energy from which losses were measured; below it they are assumed to rise with E.
    reason : BaseSignal
        Why pixels have no dielectric function, or one to be read with care:
        :class:`~hyperspy_zlpml.physics.reasons.Reason`, legend in the metadata.
    """

    _first = "thickness"

    epsilon: DielectricFunction
    eps1: Measured
    eps2: Measured
    thickness: Measured
    n: Measured
    crossings: Crossings
    trusted_from: BaseSignal
    reason: BaseSignal

    def plot(self, indices=None, *, ax=None, title=None, **style):
        """Plot the dielectric function of a pixel, with its errors as bands.

        The inner band is the standard deviation, the outer one holds systematic errors, too. Below the
        dotted line losses are assumed. Far above the main losses nothing happens: the figure ends at three
        times their energy.

        Parameters
        ----------
        indices : tuple of int, optional
            Navigation indices (x, y, ...) of the pixel, which is shown for good. By default the figure
            follows the navigators of ``epsilon`` and its parts, and begins with a pixel that has an answer.
        ax : matplotlib.axes.Axes, optional
            To draw in; default a figure of its own.
        title : str, optional
            Before that of the pixel.
        **style
            Of the lines, as ``matplotlib.axes.Axes.plot`` takes them.

        Returns
        -------
        list of matplotlib.axes.Axes

        Raises
        ------
        ValueError
            If there is no such pixel.
        """
        from hyperspy_zlpml.signals.maps.spectra_figure import plot_spectra

        shown = {rf"$\epsilon_{number}$": getattr(self, f"eps{number}") for number in (1, 2)}
        known = np.isfinite(np.asarray(self.trusted_from.data)).reshape(
            self.epsilon.axes_manager._navigation_shape_in_array
        )
        axes = plot_spectra(
            shown,
            indices,
            navigator=self.epsilon,
            known=known,
            describe=self._description,
            ax=ax,
            title=title,
            **style,
        )
        axes[0].set_ylabel("Dielectric function")
        return axes

    def _description(self, indices):
        """Name a pixel with what is to be minded of its numbers, and the energies that are shown."""
        from hyperspy_zlpml.signals.maps.spectra_figure import of_pixel

        reason, trusted = (
            np.ravel(of_pixel(one, indices))[0] for one in (self.reason, self.trusted_from)
        )
        reason = Reason(int(reason))
        title = at_pixel(indices, reason.text if reason else "")
        energy = self.epsilon.axes_manager.signal_axes[0].axis
        return title, _shown(energy, of_pixel(self.epsilon, indices), trusted)


def _shown(energy, epsilon, trusted):
    """Choose the energies that a figure shows: of known losses, up to some times the highest."""
    known = (energy >= np.nan_to_num(trusted)) & np.isfinite(epsilon)
    if not known.any():
        return Range(float(energy[0]), float(energy[-1]))
    losses = (-1 / epsilon[known]).imag
    last = max(_REACH * energy[known][losses.argmax()], energy[known][0])
    return Range(float(trusted), float(min(last, energy[-1])))


class DielectricMethods:
    """Dielectric function from the result of a removal."""

    @arguments.named
    def dielectric_function(  # noqa: PLR0913
        self,
        *,
        n=None,
        thickness=None,
        n_error=0.0,
        thickness_error=0.0,
        metal=False,
        surface=False,
        relativistic=False,
        film="clusters",
        show_progressbar=None,
    ):
        r"""Compute the dielectric function of each pixel by Kramers-Kronig analysis, with errors.

        Single scattering (Fourier-log) is divided by :math:`\ln[1+(\beta/\theta_E)^2]`, normalised to
        :math:`L = \mathrm{Im}[-1/\epsilon]` by the refractive index or by the thickness, and
        transformed,

        .. math::

            \mathrm{Re}\frac{1}{\epsilon(E)} = 1 - \frac{2}{\pi} P\!\int_0^\infty
            \frac{L(E')\,E'}{E'^2-E^2}\,dE', \qquad
            1-\frac{1}{n^2} = \frac{2}{\pi}\int_0^\infty \frac{L(E)}{E}\,dE,

        where L is a straight line between neighbouring energies. Either of n and thickness follows
        from the other [1]_.

        Parameters
        ----------
        n : float, map or Measured, optional
            Refractive index far below the lowest loss; infinite for a metal.
        thickness : float, map or Measured, optional
            nm. One of the two is needed. Pixels of a map that are not positive have no answer.
        n_error, thickness_error : float or map
            One standard deviation of what is given. A number or an array without it counts as exact; a
            Measured, or a map with a noise variance, brings its own.
        metal : bool
            The same as an infinite n.
        surface : bool
            Take off the losses of both faces [2]_, by iteration. Below 10 nm the faces feel each
            other, and nothing is given.
        relativistic : bool
            Take off what retardation adds to the losses of the volume [3]_, by iteration. Where
            eps1 exceeds ``(c/v)^2`` it is needed: the map of reasons says so. In films of less than
            some 200 nm there is no room for what it adds, and it must be used with ``surface``: the
            two together take off all that a film adds [4]_, its guided light included.
        film : "clusters" or "pixels"
            From what the losses of films are computed where both are taken off: from the mean spectrum of
            each cluster (and each index, where a map has up to 4), for any thickness; or from
            each pixel's own dielectric function, ten times slower, for materials that change within
            clusters.
        show_progressbar : bool, optional
            Default from HyperSpy's preferences.

        Returns
        -------
        Dielectric
            ``epsilon`` is a :class:`exspy.signals.DielectricFunction`; maps are in memory. Spectra are
            lazy where the data are: computed once, and kept in files of dask's
            ``temporary_directory`` as long as they are used.

        Raises
        ------
        ValueError
            If none or both of n and thickness are given, one is impossible or a map of another
            shape, or beam energy and angles are missing in the metadata.
        OSError
            If data are lazy and there is no room for the files of their spectra.

        Notes
        -----
        A convergent beam is taken as a parallel one with Egerton's effective collection angle.

        Below ``E_I`` no losses are known: L is taken to be proportional to E there, with the slope of
        the first FWHM above. What these losses did to the ZLP while it was matched is taken back.
        Beyond the axis losses fall as ``E / (E^2 - W^2)^2``, W the energy of the largest loss, as in a
        free-electron gas. Data whose axis ends below 1.4 W have no answer.

        ``std`` holds the counting noise and the directions in which the ZLP may be wrong (the choice of
        ``E_I`` among them). ``systematic`` holds ``n_error`` or ``thickness_error``, 10 % of W, 70 % of
        what was taken back below ``E_I``, half of what the answer changes by where losses are trusted from an
        energy a third higher, and the resolution: by how much the answer changes where the data are sharpened by the response, to second order; that of a thickness from n, or of
        n from a thickness, also what a film adds to the losses of its volume, but for what ``surface`` and
        ``relativistic`` take off, as in :meth:`~hyperspy_zlpml.ZLPRemoval.thickness`. Errors are of first order,
        :math:`d\epsilon = -\epsilon^2 d(1/\epsilon)`: large where eps is.

        References
        ----------
        .. [1] R. F. Egerton, *Electron Energy-Loss Spectroscopy in the Electron Microscope*, 3rd ed.
               (Springer, 2011), section 4.2.
        .. [2] R. H. Ritchie, Phys. Rev. 106, 874 (1957).
        .. [3] A. Eljarrat and C. T. Koch, Ultramicroscopy 206, 112825 (2019).
        .. [4] E. Kroeger, Z. Phys. 216, 115 (1968).

        Examples
        --------
        >>> from hyperspy_zlpml.data import ws2_like
        >>> s = ws2_like((4, 4), n_channels=512, scale=0.1, random_state=0).signal
        >>> r = s.remove_zlp_ml(
        ...     n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False
        ... )
        >>> found = r.dielectric_function(n=4.0, n_error=0.1, show_progressbar=False)
        >>> found.epsilon
        <DielectricFunction, title: WS2-like flake dielectric function, dimensions: (4, 4|469)>
        >>> found.crossings.rising.position.value
        <BaseSignal, title: WS2-like flake rising zero of eps1, dimensions: (4, 4|)>
        """
        errors = {"n_error": n_error, "thickness_error": thickness_error}
        given, error = _checked_given(self, n, thickness, errors=errors, metal=metal)
        flags = {"surface": surface, "relativistic": relativistic}
        for name, value in flags.items():
            arguments.flag(value, name)
        arguments.choice(film, "film", _FILMS)
        grid, rebin = _grid_of(self)
        analysis = Analysis(
            grid=grid,
            rebin=rebin,
            beam=as_parallel(beam_of(self, "dielectric function")),
            by_index=thickness is None,
            **flags,
        )
        plan = _plan(given, error, analysis)
        if analysis.excess.is_film and film == "clusters":
            plan = replace(plan, ready=partial(_with_films, analysis=analysis))
        return self._carry_out(plan, show_progressbar)


def _checked_given(removal, n, thickness, *, errors, metal):
    """Take what the losses are normalised by, and its error, as arrays of the navigation shape."""
    if arguments.flag(metal, "metal"):
        if n is not None and not _is_infinite(n):
            arguments.refuse(n, "n", "no finite refractive index of a metal; leave n or metal out")
        n = np.inf if thickness is None else n
    if (n is None) == (thickness is None):
        got = "none" if n is None else "both"
        raise ValueError(
            "n, thickness: expected either the refractive index or the thickness (nm), got "
            f"{got}; n=float('inf') is a metal, and each follows from the other."
        )
    used, other = ("n", "thickness") if thickness is None else ("thickness", "n")
    check_unused(errors[f"{other}_error"], f"{other}_error", other)
    if used == "n":
        return index_of(removal, n, errors["n_error"])
    return _checked_thickness(removal, thickness, errors["thickness_error"])


def _is_infinite(value):
    value = value.value if isinstance(value, Measured) else value
    return bool(np.all(np.isinf(arguments.real_array(getattr(value, "data", value), "n"))))


def _checked_thickness(removal, thickness, error):
    """Take a thickness and its error; pixels of a map that have none are NaN."""
    values, errors = with_error(removal, thickness, error, "thickness")
    positive = np.isfinite(values) & (values > 0)
    if not positive.any():
        arguments.refuse(thickness, "thickness", "a positive number (nm), or a map of them")
    return np.where(positive, values, np.nan), errors


def _grid_of(removal):
    """Choose energies from the peak that all pixels have losses at, and the channels of a step."""
    application = removal.removed.application
    energy, peak = application.subtraction.energy, removal.removed.typical
    channel = energy[1] - energy[0]
    end = energy[-1] - peak.last
    step = max(peak.fwhm / _STEPS_PER_FWHM, _FINEST_STEP, end / _MOST_ENERGIES)
    # Rounding of the axis must not make a step of three channels out of one of four.
    rebin = max(int(step / channel + 1e-6), 1)
    step = rebin * channel
    size = int(end / step) - 1
    if size < _FEWEST_ENERGIES:
        raise ValueError(
            f"dielectric function: expected an axis with losses up to at least "
            f"{_FEWEST_ENERGIES * step:g} eV above the peak, got up to {end:g} eV."
        )
    return LossGrid(step, size, window=2 * int(peak.fwhm / step / 2) + 1), rebin


def _plan(given, error, analysis):
    """Plan spectra and maps."""
    return Plan(
        function=partial(dielectric_block, analysis=analysis),
        width=analysis.width,
        finish=partial(_finished, analysis=analysis),
        title="Computing dielectric functions",
        others=(given, error),
        spectra=(len(SPECTRA), analysis.grid.size),
    )


def _with_films(removal, plan, analysis):
    """Compute what films of the materials of an image add, and plan with these tables."""
    removed, (given, error) = removal.removed, plan.others
    kinds = _materials(removed, given)
    # Vacuum among the specimen tells nothing of it.
    usable = np.isfinite(removed.centre) & ~np.isnan(given) & ~removed.vacuum
    tables = []
    for kind in range(kinds.max() + 1):
        rows = np.flatnonzero(usable & (kinds == kind))
        rows = rows[:: -(-rows.size // _MOST_SPECTRA) or 1]
        table = FilmTables.unknown(analysis.grid.size)
        if rows.size:
            table = film_table(removed.losses_of(rows), given.ravel()[rows], analysis)
        tables.append(table)
    function = partial(dielectric_block, analysis=analysis, films=FilmTables.join(tables))
    return replace(plan, function=function, others=(given, error, kinds.astype(float)))


def _materials(removed, given):
    """Give numbers to what pixels are made of: clusters, and in them indices where these are few."""
    indices = np.unique(given[~np.isnan(given)])
    is_few = indices.size <= _MOST_INDICES
    of_index = np.searchsorted(indices, given) if is_few else np.zeros(given.shape, int)
    both = np.stack([np.ravel(removed.clusters), np.ravel(of_index)])
    return np.unique(both, axis=1, return_inverse=True)[1].reshape(given.shape)


def _finished(removal, numbers, analysis):
    """Wrap everything."""
    spectra = {name: numbers[..., analysis.columns(name)] for name in SPECTRA}
    numbers = np.moveaxis(np.asarray(numbers[..., -len(NUMBERS) :]), -1, 0)
    numbers = dict(zip(NUMBERS, numbers, strict=True))
    if not analysis.excess.is_film:
        numbers |= _with_losses_of_film(removal, numbers, analysis)
    return _wrapped(removal, spectra, numbers, analysis.grid)


def _with_losses_of_film(removal, numbers, analysis):
    """Add what films lose beside their volume, and beside what was taken off, to the error of what follows.

    By so much the sum of losses over their energy is too large: of an index that is given it makes the
    thickness, of a thickness ``1 - 1/n^2``.
    """
    thickness, index = numbers["thickness"], numbers["index"]
    _, share = shares_of_films(
        removal, numbers["main_losses"], index, thickness, taken_off=analysis.excess
    )
    slopes = (
        {"thickness": thickness} if analysis.by_index else {"index": (index**2 - 1) * index / 2}
    )
    return {
        f"{name}_systematic": np.hypot(numbers[f"{name}_systematic"], slope * share)
        for name, slope in slopes.items()
    }


def _wrapped(removal, spectra, numbers, grid):
    """Make signals of spectra and maps."""
    energy = f"Energy ({removal._units})"
    epsilon = spectra["eps1"] + 1j * spectra["eps2"]
    parts = {
        name: _measured_spectra(removal, spectra, name, grid=grid) for name in ("eps1", "eps2")
    }
    thickness = _measured(
        removal, numbers, "thickness", title="thickness", quantity="Thickness (nm)"
    )
    title = "refractive index"
    index = _measured(removal, numbers, "index", title=title, quantity=title.capitalize())
    trusted = numbers["trusted_from"] / removal._factor
    title = "dielectric function"
    return Dielectric(
        epsilon=_spectra(removal, epsilon, grid, title=title, kind=DielectricFunction),
        **parts,
        thickness=thickness,
        n=index,
        crossings=Crossings(*(_zero(removal, numbers, name, energy) for name in _ZEROS)),
        trusted_from=plain_map(removal, trusted, "lowest energy of known losses", energy),
        reason=reason_map(removal, numbers["reason"], title, _TEXTS),
    )


def _measured_spectra(removal, spectra, name, grid):
    """Make spectra of a quantity and its errors."""
    value, std, systematic = (
        _spectra(removal, spectra[f"{name}{kind}"], grid, title=f"{title}{name}")
        for kind, title in (
            ("", ""),
            ("_std", "standard deviation of "),
            ("_systematic", "systematic error of "),
        )
    )
    variance = np.square(spectra[f"{name}_std"])
    value.set_noise_variance(_spectra(removal, variance, grid, title=f"variance of {name}"))
    return Measured(value, std, systematic)


def _zero(removal, numbers, name, quantity):
    """Make maps of zeros, energies in the units of the axis."""
    title, unit = f"{name} zero of eps1", removal._factor
    probability = numbers[f"{name}_probability"]
    has_none = np.isnan(numbers[name]) & np.isfinite(numbers["trusted_from"])
    return Zero(
        _measured(removal, numbers, name, title=title, quantity=quantity, unit=unit),
        plain_map(removal, probability, f"probability of a {title}", "Probability"),
        reason_map(
            removal, np.where(has_none, Reason.NO_CROSSING, numbers["reason"]), title, _TEXTS
        ),
    )


def _measured(removal, numbers, name, *, title, quantity, unit=1.0):
    """Make maps of a quantity and its errors, in units of so many eV, nm or 1."""
    found = tuple(numbers[f"{name}{kind}"] / unit for kind in ("", "_std", "_systematic"))
    return Measured.of(removal, found, title=title, quantity=quantity)


def _spectra(removal, data, grid, *, title, kind=Signal1D):
    """Make spectra over energies from the peak, with the navigation axes of the data."""
    manager = removal._like.axes_manager
    energy = manager.signal_axes[0].get_axis_dictionary()
    step = float(grid.step / removal._factor)
    energy.update(size=grid.size, offset=step, scale=step)
    axes = [axis.get_axis_dictionary() for axis in manager.navigation_axes[::-1]]
    metadata = removal._like.metadata.as_dictionary()
    metadata.pop("_HyperSpy", None)
    metadata["Signal"] = {"signal_type": kind._signal_type, "quantity": title}
    signal = kind(data, axes=[*axes, energy], metadata=metadata)
    set_lazy(signal, isinstance(data, da.Array))
    name = removal._like.metadata.get_item("General.title", "")
    signal.metadata.General.title = f"{name} {title}".strip()
    signal.metadata.add_dictionary({"ZLP_ML": deepcopy(removal.removed.record)})
    return signal
