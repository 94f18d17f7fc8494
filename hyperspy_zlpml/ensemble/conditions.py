# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of the microscope as inputs: which were measured, how they scale, what follows them.

An ensemble trained at several settings has them as inputs of its networks, beside reduced energy
and ln N0 (Roest 2021, section 3.4). The networks predict the shape of the peak in units of its
FWHM; its counts and its width follow laws of the settings (:mod:`hyperspy_zlpml.ensemble.laws`).
"""

import keyword
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.optimize import nnls

from hyperspy_zlpml import arguments
from hyperspy_zlpml.ensemble.laws import Law

#: Weight of the equation that shares sum to one, beside equations of order one.
_SUM_TO_ONE = 1e4
#: Distances, in half ranges of the settings, that count as none.
_INSIDE = 1e-6
#: Conditions that the counts of a spectrum are in proportion to.
TIMES = ("exposure", "dwell_time")
#: Units of the conditions that HyperSpy's metadata know.
UNITS = {
    "beam_energy": "keV",
    "convergence_angle": "mrad",
    "collection_angle": "mrad",
    "exposure": "s",
    "dwell_time": "s",
}
#: Parameters of ``Ensemble.predict``: no condition can have such a name.
_TAKEN = ("self", "energy", "centre", "fwhm", "log_intensity", "height", "setting")
#: Smallest singular value of settings of unit variance at which conditions are independent.
_INDEPENDENT = 1e-3
#: Most settings that an ensemble is trained at and a file may hold.
MOST_SETTINGS = 200
#: Laws that an ensemble has, in the order of their columns.
LAWS = ("log_rate", "log_fwhm")


@dataclass(frozen=True)
class Conditions:
    """Settings that an ensemble was trained at, and the laws that follow from them.

    Attributes
    ----------
    names : tuple of str
    settings : ndarray of shape (n_settings, n_conditions)
        Values of the conditions, each in its own unit (:data:`UNITS`).
    logarithmic : tuple of bool
        Whether a condition counts by its logarithm: those that are positive everywhere do.
    values, errors : ndarray of shape (n_settings, 2)
        ln of N0 (per second, where a time is among the conditions) and of FWHM / eV, and their
        standard errors.
    spread : ndarray of shape (2,)
        Standard deviation of these logarithms from spectrum to spectrum of one acquisition.
    scores : ndarray of shape (n_replicas, 2)
        How many standard deviations from the laws each replica is.
    """

    names: tuple[str, ...]
    settings: np.ndarray
    logarithmic: tuple[bool, ...]
    values: np.ndarray
    errors: np.ndarray
    spread: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, names, settings, log_n0, log_fwhm, errors, spread, scores):
        """Collect what was measured at each setting.

        Parameters
        ----------
        names : sequence of str
        settings : array_like of shape (n_settings, n_conditions)
        log_n0 : array_like of shape (n_settings,)
            ln N0 as counted; where a time is among the conditions, counts are divided by it.
        log_fwhm : array_like of shape (n_settings,)
            ln(FWHM / eV).
        errors : array_like of shape (n_settings, 2)
            Standard errors of both.
        spread : array_like of shape (2,)
            Standard deviation of both from spectrum to spectrum of one acquisition.
        scores : ndarray of shape (n_replicas, 2)
            How many standard deviations from the laws each replica is.

        Returns
        -------
        Conditions

        Examples
        --------
        Counts in proportion to the exposure are one rate:

        >>> import numpy as np
        >>> from hyperspy_zlpml.ensemble.conditions import Conditions
        >>> conditions = Conditions.of(
        ...     ["exposure"],
        ...     settings=[[0.1], [0.2], [0.4]],
        ...     log_n0=np.log([1e5, 2e5, 4e5]),
        ...     log_fwhm=np.log([0.3, 0.3, 0.3]),
        ...     errors=np.full((3, 2), 1e-3),
        ...     spread=[0.01, 0.01],
        ...     scores=np.zeros((1, 2)),
        ... )
        >>> np.exp(conditions.values[:, 0]).round(3)
        array([1000000., 1000000., 1000000.])
        >>> (log_n0, log_fwhm), _ = conditions.predicted((0.8,))
        >>> round(float(np.exp(log_n0)) / 8e5, 2), round(float(np.exp(log_fwhm)), 2)
        (1.0, 0.3)
        """
        settings = np.asarray(settings, float)
        values = np.stack([log_n0 - _log_time(names, settings), log_fwhm], -1)
        return cls(
            names=tuple(names),
            settings=settings,
            logarithmic=tuple(bool(flag) for flag in (settings > 0).all(0)),
            values=values,
            errors=np.asarray(errors, float),
            spread=np.asarray(spread, float),
            scores=scores,
        )

    def select(self, replicas):
        """Take some of the replicas.

        Parameters
        ----------
        replicas : any index of NumPy

        Returns
        -------
        Conditions
        """
        return replace(self, scores=self.scores[replicas])

    @property
    def time(self):
        """Name of the condition that counts are in proportion to, or None."""
        return next((name for name in self.names if name in TIMES), None)

    @cached_property
    def _range(self):
        """Middle and half range of the settings, of their logarithms where these count."""
        values = self._transformed(self.settings)
        low, high = values.min(0), values.max(0)
        return 0.5 * (low + high), 0.5 * (high - low)

    def _transformed(self, settings):
        """Take the logarithm of the conditions that count by it."""
        return with_logarithms(np.asarray(settings, float), np.array(self.logarithmic))

    def scaled(self, settings):
        """Scale settings such that those trained at lie between -1 and 1.

        Parameters
        ----------
        settings : array_like of shape (..., n_conditions)

        Returns
        -------
        ndarray of shape (..., n_conditions)
        """
        middle, half = self._range
        return (self._transformed(settings) - middle) / half

    @property
    def middle(self):
        """Setting in the middle of those trained at, as a tuple."""
        middle, _ = self._range
        is_log = np.array(self.logarithmic)
        return tuple(
            float(v) for v in np.where(is_log, np.exp(np.where(is_log, middle, 0)), middle)
        )

    def checked(self, given):
        """Put the values of all conditions in order, and check them.

        Parameters
        ----------
        given : dict of str to float
            Values by the names of the conditions.

        Returns
        -------
        tuple of float

        Raises
        ------
        ValueError
            If one is missing, unknown or not a number that the condition can have.
        """
        if set(given) != set(self.names):
            raise ValueError(
                f"conditions: expected a value for each of {list(self.names)}, got {sorted(given)}."
            )
        values = []
        for name, is_log in zip(self.names, self.logarithmic, strict=True):
            if is_log:
                arguments.positive(given[name], name)
            values.append(arguments.setting(given[name], name))
        return tuple(values)

    def outside(self, setting):
        """Measure how far a setting lies outside those trained at.

        It is the distance to their convex hull: a setting that lies between none of them is
        outside, though each condition alone may have been seen.

        Parameters
        ----------
        setting : sequence of float

        Returns
        -------
        float
            In units of half the range of the settings; 0 inside.

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_zlpml.ensemble.conditions import Conditions
        >>> settings = [[-1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]
        >>> conditions = Conditions.of(
        ...     ["tilt", "defocus"],
        ...     settings,
        ...     log_n0=np.zeros(3),
        ...     log_fwhm=np.zeros(3),
        ...     errors=np.zeros((3, 2)),
        ...     spread=np.zeros(2),
        ...     scores=np.zeros((1, 2)),
        ... )
        >>> conditions.outside((0.0, 0.5)), round(conditions.outside((1.0, 3.0)), 3)
        (0.0, 2.0)

        The fourth corner was not measured:

        >>> round(conditions.outside((1.0, -1.0)), 3)
        1.414
        """
        corners, here = self.scaled(self.settings), self.scaled(setting)
        ones = _SUM_TO_ONE * np.ones(len(corners))
        shares, _ = nnls(np.vstack([corners.T, ones]), np.append(here, _SUM_TO_ONE))
        distance = float(np.linalg.norm(corners.T @ shares - here))
        return distance if distance > _INSIDE else 0.0

    @cached_property
    def laws(self):
        """Laws of ln N0 per time and of ln FWHM."""
        scaled = self.scaled(self.settings)
        return tuple(Law(scaled, v, e) for v, e in zip(self.values.T, self.errors.T, strict=True))

    def predicted(self, setting):
        """Predict ln N0 and ln FWHM of one spectrum at a setting.

        Parameters
        ----------
        setting : sequence of float

        Returns
        -------
        mean, sigma : ndarray of shape (2,)
            Expectation and standard deviation.
        """
        at = self.scaled(setting)[None]
        mean, sigma = np.array([law(at) for law in self.laws])[..., 0].T
        mean[0] += _log_time(self.names, np.array([setting]))[0]
        return mean, np.hypot(sigma, self.spread)

    def of_replicas(self, setting):
        """Predict ln N0 and ln FWHM of every replica at a setting.

        Parameters
        ----------
        setting : sequence of float

        Returns
        -------
        log_n0, log_fwhm : ndarray of shape (n_replicas,)
        """
        mean, sigma = self.predicted(setting)
        return tuple((mean + sigma * self.scores).T)


def with_logarithms(settings, is_log):
    """Take the logarithm of the conditions that count by it.

    Parameters
    ----------
    settings : ndarray of shape (..., n_conditions)
    is_log : ndarray of bool of shape (n_conditions,)

    Returns
    -------
    ndarray of shape (..., n_conditions)

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.ensemble.conditions import with_logarithms
    >>> with_logarithms(np.array([np.e, -2.0]), is_log=np.array([True, False]))
    array([ 1., -2.])
    """
    return np.where(is_log, np.log(np.where(is_log, settings, 1.0)), settings)


def _log_time(names, settings):
    """Take the logarithm of the time of every setting, 0 where it is no condition."""
    columns = [number for number, name in enumerate(names) if name in TIMES]
    return np.log(settings[:, columns[0]]) if columns else np.zeros(len(settings))


def condition_values(name, given, n_settings):
    """Take the values of one condition as numbers.

    Parameters
    ----------
    name : str
    given : sequence of float
    n_settings : int

    Returns
    -------
    ndarray of shape (n_settings,)

    Raises
    ------
    ValueError
        If they are not so many finite numbers.

    Examples
    --------
    >>> from hyperspy_zlpml.ensemble.conditions import condition_values
    >>> condition_values("exposure", [0.1, 0.4], 2)
    array([0.1, 0.4])
    """
    values = list(given) if arguments.is_sequence(given) else []
    if len(values) != n_settings or not all(arguments.is_number(one) for one in values):
        raise ValueError(
            f"conditions: expected {n_settings} finite values of {name}, one for each "
            f"setting, got {arguments.got(given)}."
        )
    return np.array(values, float)


def check_conditions(names, values):
    """Raise ValueError unless conditions can be learnt from their values.

    Parameters
    ----------
    names : tuple of str
    values : ndarray of shape (n_settings, n_conditions)

    Raises
    ------
    ValueError
        If a name cannot be used, a condition does not change or is no positive time, settings are
        too few or too many, or one condition follows from the others.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.ensemble.conditions import check_conditions
    >>> check_conditions(("exposure",), np.array([[0.1], [0.2]]))
    >>> check_conditions(("exposure",), np.array([[0.1], [0.1]]))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: conditions: expected exposure to differ between the settings, it is 0.1 in all ...
    """
    check_condition_names(names)
    for name, column in zip(names, values.T, strict=True):
        if np.ptp(column) == 0:
            raise ValueError(
                f"conditions: expected {name} to differ between the settings, it is {column[0]:g} "
                "in all of them; leave it out."
            )
    if len(values) > MOST_SETTINGS:
        raise ValueError(
            f"conditions: expected at most {MOST_SETTINGS} settings, got {len(values)}."
        )
    n_settings = len(np.unique(values, axis=0))
    if n_settings < values.shape[1] + 1:
        raise ValueError(
            f"conditions: expected at least {values.shape[1] + 1} settings for "
            f"{values.shape[1]} conditions, got {n_settings}."
        )
    _check_independent(names, values)


def check_condition_names(names):
    """Raise ValueError unless each name can be a keyword of ``Ensemble.predict``.

    Parameters
    ----------
    names : iterable of str

    Raises
    ------
    ValueError
        If one is no keyword, or is one of its other parameters, or there are two times.

    Examples
    --------
    >>> from hyperspy_zlpml.ensemble.conditions import check_condition_names
    >>> check_condition_names(["beam_energy", "spot_size"])
    >>> check_condition_names(["spot size"])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: conditions: expected names that can be keywords ..., got ['spot size'].
    """
    wrong = sorted(
        name
        for name in names
        if name in _TAKEN or keyword.iskeyword(name) or not name.isidentifier()
    )
    if wrong:
        raise ValueError(
            "conditions: expected names that can be keywords and are no arguments of "
            f"Ensemble.predict, got {wrong}."
        )
    times = [name for name in names if name in TIMES]
    if len(times) > 1:
        raise ValueError(
            f"conditions: expected one time that counts are in proportion to, got {times}; leave "
            "one out."
        )


def _check_setting(value, name):
    """Raise ValueError unless a microscope can stand at a value of a condition."""
    try:
        arguments.setting(value, name)
    except ValueError as error:
        raise ValueError(f"conditions: {error}") from error


def _check_independent(names, values):
    """Raise ValueError unless settings are possible and no condition follows from the others."""
    for name, column in zip(names, values.T, strict=True):
        for value in column:
            _check_setting(float(value), name)
    settings = with_logarithms(values, (values > 0).all(0))
    settings = (settings - settings.mean(0)) / settings.std(0)
    if np.linalg.matrix_rank(settings, tol=_INDEPENDENT) < len(names):
        raise ValueError(
            f"conditions: expected {', '.join(names)} to change independently of each other, got "
            "settings at which one follows from the others: leave one out, or measure more."
        )
