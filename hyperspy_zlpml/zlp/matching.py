# SPDX-License-Identifier: GPL-3.0-or-later
"""Matching: joining the ensemble to every spectrum.

In the window where a spectrum is still pure zero-loss peak its own counts say how high, where,
how wide and of which of the ensemble's shapes its peak is. These few numbers are fitted there by
weighted least squares with the ensemble's spread as the prior, for all spectra at once; what is
left of the spread after the fit is the uncertainty of the ZLP in that spectrum.
"""

from dataclasses import dataclass

import numpy as np

from hyperspy_zlpml.compute.compiled import laid_out
from hyperspy_zlpml.compute.records import PerSpectrum
from hyperspy_zlpml.statistics import Range
from hyperspy_zlpml.zlp import kernels
from hyperspy_zlpml.zlp.kernels import N_PEAK


@dataclass(frozen=True)
class Match(PerSpectrum):
    """Outcome of matching spectra; the first axis runs over spectra.

    Attributes
    ----------
    log_height : ndarray of shape (n_spectra,)
        Logarithm of the height of the peak, counts per channel.
    centre, fwhm : ndarray of shape (n_spectra,)
        Corrected position and width, eV.
    coefficients : ndarray of shape (n_spectra, n_modes)
        Of the modes, in standard deviations of their prior.
    covariance : ndarray of shape (n_spectra, 3 + n_modes, 3 + n_modes)
        Of (log height, shift in FWHM, ln FWHM, coefficients).
    chi2, n_points : ndarray of shape (n_spectra,)
        Misfit in the window, and points in it.
    """

    log_height: np.ndarray
    centre: np.ndarray
    fwhm: np.ndarray
    coefficients: np.ndarray
    covariance: np.ndarray
    chi2: np.ndarray
    n_points: np.ndarray

    @classmethod
    def empty(cls, n_spectra, n_modes):
        """Make room for the matches of some spectra.

        Parameters
        ----------
        n_spectra, n_modes : int

        Returns
        -------
        Match
            Of arrays that hold anything.
        """
        n = N_PEAK + n_modes
        return cls(
            log_height=np.empty(n_spectra),
            centre=np.empty(n_spectra),
            fwhm=np.empty(n_spectra),
            coefficients=np.empty((n_spectra, n_modes)),
            covariance=np.empty((n_spectra, n, n)),
            chi2=np.empty(n_spectra),
            n_points=np.empty(n_spectra),
        )

    def with_rows(self, rows, others):
        """Replace the matches of some spectra.

        Parameters
        ----------
        rows : ndarray of int of shape (n,)
        others : Match
            n of them.

        Returns
        -------
        Match
        """
        values = {name: value.copy() for name, value in vars(self).items()}
        for name, value in values.items():
            value[rows] = getattr(others, name)
        return Match(**values)

    @property
    def reduced_chi2(self):
        """Misfit per degree of freedom."""
        return self.chi2 / np.maximum(self.n_points - N_PEAK, 1)


@dataclass(frozen=True)
class KnownPeaks(PerSpectrum):
    """Peak of every spectrum of an image as it is known before it is matched.

    NaN where a spectrum has no usable peak.

    Attributes
    ----------
    channel : ndarray of shape (n_spectra,)
        Highest channel, as a floating-point number.
    centre, fwhm : ndarray of shape (n_spectra,)
        Position and width, eV.
    log_intensity : ndarray of shape (n_spectra,)
        ln N0 at the dose of the ensemble.
    gain_limit, loss_limit : ndarray of shape (n_spectra,)
        Limits of the pure ZLP on both sides, eV from the peak.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.zlp.matching import KnownPeaks
    >>> peaks = KnownPeaks(
    ...     channel=np.array([40.0, np.nan]),
    ...     centre=np.array([0.1, np.nan]),
    ...     fwhm=np.array([0.5, np.nan]),
    ...     log_intensity=np.array([12.0, np.nan]),
    ...     gain_limit=np.array([-2.0, -2.0]),
    ...     loss_limit=np.array([1.5, np.inf]),
    ... )
    >>> peaks.usable
    array([ True, False])
    >>> peaks.select(peaks.usable).start.window
    Range(low=array([-4.]), high=array([3.]))
    """

    channel: np.ndarray
    centre: np.ndarray
    fwhm: np.ndarray
    log_intensity: np.ndarray
    gain_limit: np.ndarray
    loss_limit: np.ndarray

    @property
    def usable(self):
        """Spectra whose peak can be matched, as a boolean array."""
        numbers = (self.channel, self.centre, self.fwhm, self.log_intensity)
        return np.isfinite(np.stack(numbers)).all(0)

    @property
    def start(self):
        """Start of a match, with its window in reduced energies."""
        window = Range(self.gain_limit / self.fwhm, self.loss_limit / self.fwhm)
        return MatchStart(self.centre, self.fwhm, self.log_intensity, window)


@dataclass(frozen=True)
class MatchStart(PerSpectrum):
    """Start of a match, and the window in which it looks.

    Attributes
    ----------
    centre, fwhm : ndarray of shape (n_spectra,)
        Position and width, eV.
    log_intensity : ndarray of shape (n_spectra,)
        ln N0, by which the table is looked up.
    window : Range of two ndarrays of shape (n_spectra,)
        Limits in reduced energy.
    """

    centre: np.ndarray
    fwhm: np.ndarray
    log_intensity: np.ndarray
    window: Range


def inside_window(u, window):
    """Tell which reduced energies lie within the window of their spectrum.

    Parameters
    ----------
    u : ndarray of shape (n_spectra, n)
        Reduced energies, FWHM.
    window : Range of two ndarrays of shape (n_spectra,)

    Returns
    -------
    ndarray of bool of shape (n_spectra, n)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.statistics import Range
    >>> from hyperspy_zlpml.zlp.matching import inside_window
    >>> inside_window(np.array([[-2.0, 0.0, 3.0]]), Range(np.array([-1.0]), np.array([np.inf])))
    array([[False,  True,  True]])
    """
    return (u >= window.low[:, None]) & (u <= window.high[:, None])


def match(spectra, start, table, noise, width_prior, n_steps=10):
    """Fit height, shift, width and shape of the peaks in their pure-ZLP windows.

    Parameters
    ----------
    spectra : GroupedSpectra
    start : MatchStart
    table : ShapeTable
    noise : NoiseModel
    width_prior : Normal or None
        ln(FWHM) over the image; None leaves the width free.
    n_steps : int
        Most Gauss-Newton steps; a spectrum takes those it needs.

    Returns
    -------
    Match

    Examples
    --------
    A peak without noise, looked for a little beside its centre, gives back what it was made of.

    >>> import numpy as np
    >>> from hyperspy_zlpml.image.noise import NoiseModel
    >>> from hyperspy_zlpml.statistics import Range
    >>> from hyperspy_zlpml.zlp.grid import Grid
    >>> from hyperspy_zlpml.zlp.groups import ChannelGroups, Curvature, group_spectra
    >>> from hyperspy_zlpml.zlp.matching import MatchStart, match
    >>> from hyperspy_zlpml.zlp.tables import ShapeTable
    >>> grid = Grid.covering(-8, 8)
    >>> table = ShapeTable.of_reference(grid, -2 * np.log1p(1.66 * grid.u**2))
    >>> energy = 0.05 * np.arange(-80, 81)
    >>> counts = 1e5 * (1 + 1.66 * ((energy[None] - 0.01) / 0.5) ** 2) ** -2
    >>> channels = ChannelGroups(np.arange(-80, 82))  # one in each group
    >>> straight = Curvature.none(161)
    >>> spectra = group_spectra(counts, energy, np.array([80]), channels, straight)
    >>> window = Range(np.array([-8.0]), np.array([8.0]))
    >>> start = MatchStart(np.array([0.05]), np.array([0.5]), np.zeros(1), window)
    >>> found = match(spectra, start, table, NoiseModel(1.0, 5.0), width_prior=None)
    >>> np.exp(found.log_height).round(-1), found.centre.round(3), found.fwhm.round(3)
    (array([100000.]), array([0.01]), array([0.5]))
    """
    found = Match.empty(len(start.centre), table.n_modes)
    fit = kernels.Fit(
        groups=laid_out_groups(spectra, noise),
        starts=_starts(start, table, width_prior),
        rows=kernels.Rows(
            values=table.rows_of_match,
            start=float(table.grid.start),
            log_fwhm=float(table.log_fwhm),
        ),
        noise=kernels.Noise(float(noise.gain), float(noise.readout), float(noise.unit)),
        n_steps=n_steps,
    )
    room = kernels.Room.of(
        n_groups=spectra.n_channels.size,
        n_tables=fit.rows.values.shape[-1],
        n_modes=table.n_modes,
    )
    kernels.match_spectra(fit, room, kernels.Found(**vars(found)))
    return found


def laid_out_groups(spectra, noise):
    """Lay out grouped spectra for the compiled functions.

    Parameters
    ----------
    spectra : GroupedSpectra
    noise : NoiseModel

    Returns
    -------
    kernels.Groups
    """
    return kernels.Groups(
        sums=laid_out(spectra.sums),
        energy=laid_out(spectra.energy),
        complete=laid_out(spectra.complete, bool),
        n_channels=laid_out(spectra.n_channels),
        seen=laid_out(noise.seen_by_sums(spectra.n_channels)),
        curvature=laid_out(spectra.curvature.values),
        log_fwhm=float(spectra.curvature.log_fwhm),
    )


def _starts(start, table, width_prior):
    """Lay out the starts of matches."""
    at = table.at(start.log_intensity)
    n_spectra = len(start.centre)
    mean, sigma = (0.0, np.inf) if width_prior is None else width_prior
    return kernels.Starts(
        centre=laid_out(start.centre),
        fwhm=laid_out(start.fwhm),
        node=laid_out(at.node, np.int64),
        fraction=laid_out(at.fraction),
        low=laid_out(start.window.low),
        high=laid_out(start.window.high),
        log_fwhm=laid_out(np.broadcast_to(mean, n_spectra)),
        precision=laid_out(np.broadcast_to(np.power(sigma, -2.0), n_spectra)),
    )
