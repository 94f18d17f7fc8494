# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of the microscope as inputs: which were measured, how they scale, what follows them.

An ensemble trained at several settings has them as inputs of its networks, beside reduced energy
and ln N0 (Roest 2021, section 3.4). The networks tell the shape of the peak in units of its FWHM;
how many electrons it holds and how wide it is follow laws of the settings
(:mod:`hyperspy_zlpml.ensemble.laws`).
"""

import numbers
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.optimize import nnls

from hyperspy_zlpml.ensemble.laws import Law

#: Weight of the condition that shares sum to one, and distances that count as none.
_SUM_TO_ONE, _INSIDE = 1e4, 1e-6
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
#: Arguments of ``Ensemble.predict``, which no condition can be called.
_TAKEN = ("self", "energy", "centre", "fwhm", "log_intensity", "height", "setting")
#: Smallest singular value of settings of unit variance that tells two conditions apart.
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
        As measured.
    logarithmic : tuple of bool
        Whether a condition counts by its logarithm: those that are positive everywhere do.
    values, errors : ndarray of shape (n_settings, 2)
        ln of N0 (per second, where a time is among the conditions) and of FWHM / eV.
    spread : ndarray of shape (2,)
        Standard deviation of the same from spectrum to spectrum of one acquisition.
    scores : ndarray of shape (n_replicas, 2)
        How many standard deviations from the laws each replica is.
    """

    names: tuple
    settings: np.ndarray
    logarithmic: tuple
    values: np.ndarray
    errors: np.ndarray
    spread: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, names, settings, log_n0, log_fwhm, errors, spread, scores):
        """From ln N0 as counted at each setting."""
        settings = np.asarray(settings, float)
        values = np.stack([log_n0 - _log_time(names, settings), log_fwhm], -1)
        logarithmic = tuple(bool(flag) for flag in (settings > 0).all(0))
        errors, spread = np.asarray(errors, float), np.asarray(spread, float)
        return cls(tuple(names), settings, logarithmic, values, errors, spread, scores)

    def select(self, replicas):
        """The same with some of the replicas."""
        return replace(self, scores=self.scores[replicas])

    @property
    def time(self):
        """The condition that counts are in proportion to, or None."""
        return next((name for name in self.names if name in TIMES), None)

    @cached_property
    def _range(self):
        """Middle and half range of the settings, where a logarithm is due of that."""
        values = self._transformed(self.settings)
        low, high = values.min(0), values.max(0)
        return 0.5 * (low + high), 0.5 * (high - low)

    def _transformed(self, settings):
        return with_logarithms(np.asarray(settings, float), np.array(self.logarithmic))

    def scaled(self, settings):
        """Settings (..., n_conditions) such that those trained at lie between -1 and 1."""
        middle, half = self._range
        return (self._transformed(settings) - middle) / half

    @property
    def middle(self):
        """The setting in the middle of those trained at, as a tuple."""
        middle, _ = self._range
        is_log = np.array(self.logarithmic)
        return tuple(
            float(v) for v in np.where(is_log, np.exp(np.where(is_log, middle, 0)), middle)
        )

    def checked(self, given):
        """Values of all conditions, in order, from keywords.

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
            value = given[name]
            if not isinstance(value, numbers.Real) or isinstance(value, (bool, np.bool_)):
                raise ValueError(f"{name}: expected a number, got {value!r}.")
            if not np.isfinite(value) or (is_log and value <= 0):
                raise ValueError(
                    f"{name}: expected a {'positive ' * is_log}finite number, got {value!r}."
                )
            values.append(float(value))
        return tuple(values)

    def outside(self, setting):
        """How far a setting lies outside those trained at, in units of half their range.

        The distance to their convex hull: what lies between none of them is outside, though each
        condition alone may have been seen.
        """
        corners, here = self.scaled(self.settings), self.scaled(setting)
        ones = _SUM_TO_ONE * np.ones(len(corners))
        shares, _ = nnls(np.vstack([corners.T, ones]), np.append(here, _SUM_TO_ONE))
        distance = float(np.linalg.norm(corners.T @ shares - here))
        return distance if distance > _INSIDE else 0.0

    @cached_property
    def laws(self):
        """Of ln N0 per time and of ln FWHM."""
        scaled = self.scaled(self.settings)
        return tuple(Law(scaled, v, e) for v, e in zip(self.values.T, self.errors.T, strict=True))

    def predicted(self, setting):
        """Ln N0 and ln FWHM of one spectrum at a setting.

        Returns
        -------
        mean, sigma : ndarray of shape (2,)
        """
        at = self.scaled(setting)[None]
        mean, sigma = np.array([law(at) for law in self.laws])[..., 0].T
        mean[0] += _log_time(self.names, np.array([setting]))[0]
        return mean, np.hypot(sigma, self.spread)

    def of_replicas(self, setting):
        """Ln N0 and ln FWHM of every replica at a setting, each of shape (n_replicas,)."""
        mean, sigma = self.predicted(setting)
        return tuple((mean + sigma * self.scores).T)


def with_logarithms(settings, is_log):
    """Settings (..., n_conditions) with the logarithm of those conditions that count by it."""
    return np.where(is_log, np.log(np.where(is_log, settings, 1.0)), settings)


def _log_time(names, settings):
    """Logarithm of the time of every setting, 0 where it is no condition."""
    columns = [number for number, name in enumerate(names) if name in TIMES]
    return np.log(settings[:, columns[0]]) if columns else np.zeros(len(settings))


def check_conditions(names, values):
    """Raise ValueError unless the values of conditions tell their settings apart.

    Parameters
    ----------
    names : tuple of str
    values : ndarray of shape (n_settings, n_conditions)
    """
    check_condition_names(names)
    for name, column in zip(names, values.T, strict=True):
        if np.ptp(column) == 0:
            raise ValueError(
                f"conditions: expected {name} to differ between the signals, it is {column[0]:g} "
                "in all of them; leave it out."
            )
    if len(values) > MOST_SETTINGS:
        raise ValueError(f"signals: expected at most {MOST_SETTINGS} settings, got {len(values)}.")
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
    """
    wrong = sorted(name for name in names if name in _TAKEN or not name.isidentifier())
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


def _check_independent(names, values):
    """Times are positive, and conditions do not all change together."""
    for name, column in zip(names, values.T, strict=True):
        if name in TIMES and not (column > 0).all():
            raise ValueError(f"conditions: expected {name} to be positive, got {column.min():g}.")
    settings = with_logarithms(values, (values > 0).all(0))
    settings = (settings - settings.mean(0)) / settings.std(0)
    if np.linalg.matrix_rank(settings, tol=_INDEPENDENT) < len(names):
        raise ValueError(
            f"conditions: expected {', '.join(names)} to change independently of each other, got "
            "settings at which one follows from the others: leave one out, or measure more."
        )
