# SPDX-License-Identifier: GPL-3.0-or-later
"""Noise of the counts: ``variance = gain * expected counts + readout**2``.

Camera counts are not electrons. The gain and the read-out noise follow from how the scatter of
neighbouring channels (:mod:`hyperspy_zlpml.image.differences`), and of their sums
(:mod:`hyperspy_zlpml.image.sums`), grows with their level.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter1d

from hyperspy_zlpml.image import differences
from hyperspy_zlpml.image.differences import N_LEVELS
from hyperspy_zlpml.image.sums import (
    FEW_SPECTRA,
    classes_of,
    deviations,
    fit_correlation,
    scatter_of_sums,
    without_spikes,
)

#: Channels within this many FWHM of the peak are too curved for differences of channels.
CURVED_WITHIN = 3.0
#: The same for sums of channels: within this many channels of narrow peaks.
_CURVED_CHANNELS = 10
#: Spectra that noise is told from. Gain and read-out noise of ``ws2_like`` and ``thick_small_gap`` are then off by
#: up to 0.5 % (rms), by up to 0.6 % with twice as many; the gain of ``monochromated``, where read-out noise is most of all,
#: by 3.3 % and 4.1 %.
_SPECTRA_LOOKED_AT = 128
#: Source of noise that was estimated.
FROM_DATA = "estimated from the data"
#: Levels, as quantiles of all, at which a pattern is looked for: ...
_TYPICAL = (0.5, 0.99)
#: ... there it makes neighbours scatter more than spectra do, by this factor.
_PATTERNED = 1.1
#: Electrons in a channel, at least, before a pattern of sensitivity stands out of their noise.
_PATTERN_SEEN = 300.0
#: Median of the square of a normal number.
_MEDIAN_OF_SQUARES = 0.455
#: A variance that is larger than that of the median by this factor is one of spikes.
_SPIKED = 4.0
#: Counts of fewer electrons than this are whole numbers of them: the median of their squares tells nothing.
_RARE = 5.0
#: What an electron counts is this quantile of the steps between them: a few channels may have been bridged.
_ONE_ELECTRON = 0.05
#: Gains that exceed a bound by more than this many standard errors are those of structure.
_BEYOND = 3.0


@dataclass(frozen=True)
class NoiseModel:
    """Model of the noise of channels and of their sums.

    Electrons arrive at random, the detector spreads each over neighbouring channels, and every
    channel is read out with noise of its own: ``counts = spread * (gain * Poisson) + read-out``.
    The spread correlates neighbours: they differ by less than electrons do, and only the sum of
    many has the variance ``gain * expected + n_channels * readout**2``.

    Attributes
    ----------
    gain : float
        Counts per detected electron (times the detector's excess noise).
    readout : float
        Standard deviation of an empty channel, counts; white.
    source : str
        Where the numbers come from, for the report.
    correlation : tuple of float
        Covariance of the electrons' noise between channels 0, 1, 2, ... apart, over
        ``gain * expected``. The first plus twice the others is 1; (1.0,) without spread.
    gain_error : float
        Standard error of ``gain``, counts per electron: read-out noise hides that of electrons. 0 where
        given, as large as the gain where that is a guess.
    dark : tuple of float
        Standard deviations of dark levels, the same in all spectra: of what is not known of those of single
        channels, which is part of ``readout``, and of all, known or not. (0.0, 0.0) where they do not differ.

    Examples
    --------
    A detector that leaves 60 % of an electron in its channel:

    >>> from hyperspy_zlpml.image.noise import NoiseModel, correlation_of_spread
    >>> spread = correlation_of_spread([0.2, 0.6, 0.2])
    >>> noise = NoiseModel(gain=2.0, readout=0.0, correlation=spread)
    >>> noise.of_sum(100.0, [1, 2, 1000]).round(1)
    array([ 88. , 136. , 199.9])
    """

    gain: float
    readout: float
    source: str = "given"
    correlation: tuple[float, ...] = (1.0,)
    gain_error: float = 0.0
    dark: tuple[float, float] = (0.0, 0.0)

    @property
    def unit(self):
        """Counts of an electron, or of the read-out noise where those are more.

        Far less than this is nothing, whatever counts are scaled by.
        """
        return max(self.gain, self.readout, np.finfo(float).tiny)

    def variance(self, expected, n_channels=1):
        """Compute the variance of a sum of many channels from the counts expected in it.

        It governs the errors of all that is fitted to many channels, too. Sums of few channels
        vary by less where neighbours are correlated: :meth:`of_sum`.

        Parameters
        ----------
        expected : float or ndarray
            Counts expected in the sum; negative ones count as none.
        n_channels : int or ndarray
            Channels in the sum, each with its own read-out noise.

        Returns
        -------
        float or ndarray
            Counts squared.

        Examples
        --------
        >>> from hyperspy_zlpml.image.noise import NoiseModel
        >>> float(NoiseModel(gain=2.0, readout=3.0).variance(100.0, n_channels=4))
        236.0
        """
        return self.gain * np.clip(expected, 0, None) + n_channels * self.readout**2

    def of_dark_levels(self, n_channels=1):
        """Compute the variance of what dark levels add to a sum of channels, the same in all spectra.

        What is known of them changes fast along the channels: nothing of it is left in sums of many.

        Parameters
        ----------
        n_channels : int or ndarray
            Neighbouring channels in the sum.

        Returns
        -------
        float or ndarray
            Counts squared.

        Examples
        --------
        >>> from hyperspy_zlpml.image.noise import NoiseModel
        >>> noise = NoiseModel(gain=1.0, readout=10.0, dark=(1.0, 3.0))
        >>> noise.of_dark_levels([1, 4, 100]).round(1)
        array([  1.,  16., 900.])
        """
        unknown, of_all = self.dark
        n_channels = np.asarray(n_channels)
        return n_channels * np.minimum(n_channels * unknown**2, of_all**2)

    def of_sum(self, expected, n_channels=1):
        """Compute the variance of a sum of neighbouring channels, however few they are.

        Parameters
        ----------
        expected : float or ndarray
            Counts expected in the sum, evenly spread; negative ones count as none.
        n_channels : int or ndarray
            Channels in the sum.

        Returns
        -------
        float or ndarray
            Counts squared.

        Examples
        --------
        >>> from hyperspy_zlpml.image.noise import NoiseModel
        >>> noise = NoiseModel(gain=1.0, readout=3.0, correlation=(0.5, 0.25))
        >>> noise.of_sum(100.0, [1, 2, 100]).round(1)
        array([ 59. ,  93. , 999.5])
        """
        electrons = self.gain * np.clip(expected, 0, None) * self.seen_by_sums(n_channels)
        return electrons + np.asarray(n_channels) * self.readout**2

    def error_of_channel(self, expected):
        """Compute how far the variance of single channels may be off, for the error of the gain.

        Parameters
        ----------
        expected : float or ndarray
            Counts expected in the channel; negative ones count as none.

        Returns
        -------
        float or ndarray
            Standard error of the variance over it: none where all is read-out noise.

        Examples
        --------
        >>> from hyperspy_zlpml.image.noise import NoiseModel
        >>> noise = NoiseModel(gain=2.0, readout=10.0, gain_error=0.2)
        >>> noise.error_of_channel([0.0, 50.0, 1e6]).round(2)
        array([0.  , 0.05, 0.1 ])
        """
        error = self.gain_error * np.clip(expected, 0, None) * self.seen_by_sums(1)
        return error / np.maximum(self.of_sum(expected), np.finfo(float).tiny)

    def seen_by_sums(self, n_channels):
        """Compute the fraction of the electrons' variance that a sum of few channels shows.

        Parameters
        ----------
        n_channels : int or ndarray
            Channels in the sum, at least 1.

        Returns
        -------
        ndarray
            1 without correlation.
        """
        n = np.asarray(n_channels, float)
        fraction = np.full(n.shape, self.correlation[0])
        for lag, value in enumerate(self.correlation[1:], start=1):
            fraction += 2 * np.clip(1 - lag / n, 0, None) * value
        return fraction

    def of_measured(self, counts, n_channels=1):
        """Compute the variance of measured channels; an empty one has that of a single electron.

        Parameters
        ----------
        counts : ndarray
            Counts of single channels.
        n_channels : int or ndarray
            What each of this many neighbours adds to the variance of their sum.

        Returns
        -------
        ndarray
            Counts squared, of the same shape.

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_zlpml.image.noise import NoiseModel
        >>> noise = NoiseModel(gain=1.0, readout=3.0, correlation=(0.5, 0.25))
        >>> noise.of_measured(np.array([0.0, 100.0]))
        array([ 9.5, 59. ])
        """
        # A number, where it is one: counts in single precision stay in it.
        gain = self.gain * self.seen_by_sums(n_channels)[()]
        if np.ndim(gain) == 0:
            gain = float(gain)
        return gain * np.maximum(counts, self.gain) + self.readout**2


def looked_at(n_spectra):
    """Choose the spectra that noise is estimated from, spread evenly over all.

    Parameters
    ----------
    n_spectra : int

    Returns
    -------
    slice
        All of a few.

    Examples
    --------
    >>> from hyperspy_zlpml.image.noise import looked_at
    >>> looked_at(100), looked_at(4096)
    (slice(None, None, 1), slice(None, None, 32))
    """
    return slice(None, None, max(n_spectra // _SPECTRA_LOOKED_AT, 1))


def correlation_of_spread(kernel):
    """Compute the correlation of the noise from how a detector spreads an electron.

    Parameters
    ----------
    kernel : array_like of shape (n,)
        Share of each channel.

    Returns
    -------
    tuple of float
        As in :class:`NoiseModel`.

    Examples
    --------
    >>> from hyperspy_zlpml.image.noise import correlation_of_spread
    >>> [round(value, 2) for value in correlation_of_spread([0.2, 0.6, 0.2])]
    [0.44, 0.24, 0.04]
    """
    kernel = np.asarray(kernel, float) / np.sum(kernel)
    return tuple(np.correlate(kernel, kernel, "full")[kernel.size - 1 :].tolist())


def estimate_noise(counts, energy, centre, fwhm):
    """Estimate gain, read-out noise and correlation from how channels and their sums scatter.

    Third differences remove the smooth spectrum; where there are many spectra, what they share
    is taken off before, with any fixed pattern (:func:`~hyperspy_zlpml.image.sums.deviations`).
    The scatter of sums of 1 to 8 channels beside the peak grows with their length as the correlation of the
    noise says. Where it says that there is none, a straight line is fitted to the mean square of single channels in classes of
    equal level: beside the peak, and within it, without the shapes that spectra share, as far as that is noise
    (:mod:`hyperspy_zlpml.image.differences`). Where electrons are few, nothing else tells their gain.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
        Pedestal already subtracted.
    energy : ndarray of shape (n_energy,)
        eV.
    centre, fwhm : ndarray of shape (n_spectra,)
        Position and width of the peaks, eV.

    Returns
    -------
    NoiseModel

    Examples
    --------
    A camera that counts 3 for every electron.

    >>> import numpy as np
    >>> from hyperspy_zlpml.image.noise import estimate_noise
    >>> energy = 0.05 * np.arange(-100, 500)
    >>> electrons = 1e4 / (1 + (energy / 0.25) ** 2) + 2e3 * np.exp(-(((energy - 15) / 8) ** 2))
    >>> counts = 3 * np.random.default_rng(0).poisson(electrons, (50, 600))
    >>> noise = estimate_noise(counts, energy, centre=np.zeros(50), fwhm=np.full(50, 0.5))
    >>> bool(abs(noise.gain / 3 - 1) < 0.05), noise.correlation
    (True, (1.0,))
    """
    some = looked_at(len(counts))
    recorded = counts[some]
    counts, spiked = without_spikes(recorded)
    u = (energy - centre[some, None]) / fwhm[some, None]
    used, clean = np.abs(u) > CURVED_WITHIN, ~spiked
    channels = (energy - centre[some, None]) / (energy[1] - energy[0])
    far = used & (np.abs(channels) > _CURVED_CHANNELS)
    plain = differences.of_channels(counts, counts, counts)
    beside = differences.Beside(plain.where(differences.all_of(used & clean)))
    inside = plain.where(differences.all_of(clean) & ~differences.all_of(used))
    if len(counts) < FEW_SPECTRA:
        noise = fit_correlation(scatter_of_sums(counts, counts, used & clean))
        return _as_model(noise or differences.fit_with_core(beside, inside))
    left, level = deviations(counts, u, centre[some])
    clean &= ~without_spikes(left)[1]
    noise = fit_correlation(scatter_of_sums(left, level, far & clean))
    if noise is not None:
        return _as_model(noise)
    of_left = differences.of_channels(left, level, counts).where(differences.all_of(used & clean))
    without_pattern = differences.Beside(of_left)
    if _is_patterned(beside, without_pattern):
        beside = without_pattern
    core = np.abs(np.median(u, axis=0)) < CURVED_WITHIN
    hit = np.ptp(recorded[:, core], axis=0) > 0
    noise = differences.fit_core(beside, recorded[:, core], hit)
    return _as_model(_bounded(noise, differences.fit_with_core(beside, inside)))


def _bounded(noise, bound):
    """Take the bound for noise that is not known, or is more than it: peaks that move too far for shapes.

    Noise is no more than what neighbouring channels differ by, which is the bound.
    """
    if noise is None or bound is None:
        return noise
    # A gain that is said to be anything up to itself is a bound, too.
    known = noise.gain_error < noise.gain
    error = np.hypot(noise.gain_error, bound.gain_error) if known else 0.0
    if noise.gain_error <= noise.gain < bound.gain + _BEYOND * error:
        return noise
    return bound._replace(gain_error=max(bound.gain, bound.gain_error))


def _as_model(fitted):
    """Make the noise model of what was fitted; where nothing scatters, counts are taken for electrons."""
    if fitted is None:
        return NoiseModel(gain=1.0, readout=0.0, source=FROM_DATA, gain_error=1.0)
    return NoiseModel(
        gain=fitted.gain,
        readout=fitted.readout,
        source=FROM_DATA,
        correlation=getattr(fitted, "correlation", (1.0,)),
        gain_error=fitted.gain_error,
    )


def _is_patterned(plain, left):
    """Tell whether neighbouring channels differ by more than spectra do: by a pattern that all of these share."""
    noise, other = plain.line, left.line
    if noise is None or other is None:
        return False
    typical = np.quantile(plain.found.level, _TYPICAL)
    seen = typical[-1] > _PATTERN_SEEN * other.gain > 0
    return bool(seen and (noise.variance(typical) > _PATTERNED * other.variance(typical)).all())


def rough_noise(counts, noise):
    """Estimate noise in a way that no spikes move, to find them by.

    The median of squared third differences is that of noise as long as less than half of the
    channels of a level hold spikes. Where electrons are rare it is too small, zero even: there they
    scatter as electrons do at least.

    Parameters
    ----------
    counts : ndarray of shape (n_spectra, n_energy)
    noise : NoiseModel
        As estimated from means.

    Returns
    -------
    NoiseModel
        The one given where that is not clearly larger.

    Examples
    --------
    A tenth of the spectra hold a spike as high as the peak.

    >>> import numpy as np
    >>> from hyperspy_zlpml.image.noise import NoiseModel, rough_noise
    >>> energy = 0.05 * np.arange(-100, 500)
    >>> electrons = np.tile(1e4 / (1 + (energy / 0.25) ** 2), (50, 1))
    >>> counts = np.random.default_rng(0).poisson(electrons).astype(float)
    >>> counts[::10, 400] = 1e4
    >>> bool(rough_noise(counts, NoiseModel(gain=300.0, readout=0.0)).gain < 5)
    True
    """
    counts = counts[looked_at(len(counts))]
    difference = np.diff(counts, 3, axis=-1) / np.sqrt(20)
    level = uniform_filter1d(counts, 9, axis=-1, mode="nearest")[:, 1:-2].ravel()
    classes = classes_of(level, min(N_LEVELS, max(level.size // 20, 1)))
    x = np.array([np.median(level[c]) for c in classes])
    y = np.array([np.median(difference.ravel()[c] ** 2) for c in classes]) / _MEDIAN_OF_SQUARES
    step = np.abs(np.diff(counts, axis=-1))[:, 1:-1].ravel()
    electron = np.array([smallest_step(step[c]) for c in classes])
    y = np.where(x < _RARE * electron, np.maximum(y, electron * x), y)
    gain, offset = differences.non_negative_line(x, y)
    rough = NoiseModel(float(gain), float(np.sqrt(offset)), noise.source)
    typical = np.quantile(level, _TYPICAL)
    smaller = 0 < _SPIKED * rough.variance(typical).sum() < noise.variance(typical).sum()
    return rough if smaller else noise


def smallest_step(steps):
    """Find what an electron counts where they are rare, or what counts were rounded to.

    Parameters
    ----------
    steps : ndarray
        Absolute differences of neighbouring channels.

    Returns
    -------
    float
        The smallest of them, but for a few that were bridged; 0 where all are equal.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.noise import smallest_step
    >>> float(smallest_step(np.array([5.0, 0.0, 10.0, 5.0])))
    5.0
    """
    steps = steps[steps > 0]
    return np.quantile(steps, _ONE_ELECTRON) if steps.size else 0.0


def fit_noise(level, squared, source):
    """Fit a straight line to pairs of level and variance.

    Parameters
    ----------
    level : ndarray of shape (n,)
        Expected counts of channels.
    squared : ndarray of shape (n,)
        Their variances.
    source : str
        Where they come from, for the report.

    Returns
    -------
    NoiseModel
        Slope and offset of the line, none of them negative.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.noise import fit_noise
    >>> level = np.linspace(0, 1e4, 500)
    >>> noise = fit_noise(level, 1.5 * level + 6.0**2, "a line")
    >>> round(noise.gain, 6), round(noise.readout, 6)
    (1.5, 6.0)
    """
    x, y, _ = mean_levels(level, squared, trimmed=False)
    gain, offset = differences.non_negative_line(x, y)
    if gain == 0 and offset == 0:
        return NoiseModel(gain=1.0, readout=0.0, source=source, gain_error=1.0)
    return NoiseModel(gain=float(gain), readout=float(np.sqrt(offset)), source=source)


def noise_of_variance(variance, counts):
    """Describe given variances of some spectra by a noise model.

    Parameters
    ----------
    variance : float or ndarray of shape (n_spectra, n_energy)
        Variance of the counts.
    counts : ndarray of shape (n_spectra, n_energy)

    Returns
    -------
    NoiseModel

    Raises
    ------
    ValueError
        If a variance is negative, or none is positive.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.image.noise import noise_of_variance
    >>> noise_of_variance(25.0, np.ones((2, 100))).readout
    5.0
    """
    if not np.ndim(variance):
        return NoiseModel(0.0, float(np.sqrt(variance)), "constant variance of the signal")
    use = np.isfinite(counts) & np.isfinite(variance)
    if (variance[use] < 0).any():
        raise ValueError(
            f"variance: expected at least 0 in every channel, got {variance[use].min():g}; clip it."
        )
    if not (variance[use] > 0).any():
        raise ValueError("variance: expected positive finite values, got none.")
    return fit_noise(counts[use], variance[use], "variance of the signal")


def mean_levels(level, squared, trimmed=True):
    """Average levels and squared deviations over classes of equal level.

    Parameters
    ----------
    level : ndarray of shape (n,)
        Expected counts of channels.
    squared : ndarray of shape (n,)
        Their squared deviations, or variances.
    trimmed : bool
        Leave out the largest 1 % of each class.

    Returns
    -------
    x, y : ndarray of shape (n_classes,)
    n : ndarray of int of shape (n_classes,)
        Channels in each.
    """
    classes = classes_of(level, min(N_LEVELS, max(level.size // 20, 1)))
    x = np.array([level[c].mean() for c in classes])
    y = np.array([squared[c].mean() for c in classes])
    n = np.array([c.size for c in classes])
    if trimmed:
        # The largest 1 % may be spikes or edges. For normal noise they hold 7.7 % of the sum, but
        # where electrons are rare they hold all of them.
        kept = [np.sort(squared[c])[: max(int(0.99 * c.size), 1)].mean() for c in classes]
        kept = np.array(kept) / 0.923
        most = kept.max(initial=0.0) or y.max(initial=0.0)
        y = np.where(kept > 0, kept, np.minimum(y, most))
    return x, y, n
