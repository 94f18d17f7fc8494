# SPDX-License-Identifier: GPL-3.0-or-later
"""What is used today instead of ``remove_zlp_ml``: the rivals that the accuracy is judged by.

A method takes a :class:`Measurement` and gives the counts of the zero-loss peak (ZLP) that it
would subtract, NaN for a spectrum that it cannot treat, or None where it cannot be applied at
all. All start from the same peak centres and widths as ``remove_zlp_ml``. EELSFitter runs in an
environment of its own, made by ``make bench-peers``.
"""

import os
import subprocess
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path

import hyperspy.api as hs
import numpy as np
from scipy.interpolate import CubicSpline

from hyperspy_zlpml.image.peaks import peak_parameters

HERE = Path(__file__).resolve().parent
#: Python of the environment that holds EELSFitter.
PEERS_PYTHON = HERE.parent / ".venv-peers" / "bin" / "python"

#: Half width of the core that a vacuum spectrum is scaled by, in FWHM.
_CORE = 1.0
#: Half width of the window that functions are fitted in, in FWHM.
_FIT_REACH = 1.5
#: Exponents that a power law may have, and halvings of that interval.
_EXPONENTS = (0.0, 40.0)
_HALVINGS = 50
_FEWEST_CHANNELS = 3

#: Every value of a ``form`` is a peak, so that the fits need no bounds: an inverse exponent between
#: 0 (a Gaussian) and 2 (1 is a Lorentzian), a part of a Lorentzian between 0 and 1.
_PEARSON_VII = (
    "height * (1 + 4 * (2 ** inverse - 1) * ((x - centre) / fwhm) ** 2) ** (-1 / inverse);"
    "inverse = 1.000001 + 2 / pi * atan(form)"
)
_SPLIT_PEARSON_VII = _PEARSON_VII.replace(
    "(form)", "(Piecewise((form_gain, x < centre), (form_loss, True)))"
)
_PSEUDO_VOIGT = (
    "height * (lorentz / (1 + 4 * u ** 2) + (1 - lorentz) * exp(-4 * log(2) * u ** 2));"
    "u = (x - centre) / fwhm; lorentz = 1 / 2 + atan(form) / pi"
)


@dataclass(frozen=True)
class Measurement:
    """Spectra to be freed of their zero-loss peaks.

    Attributes
    ----------
    energy : ndarray of shape (n_energy,)
        Uniform axis in eV.
    counts : ndarray of shape (n_spectra, n_energy)
    vacuum : ndarray of bool, shape (n_spectra,)
        Spectra known to be of vacuum; may be all False.
    reference : ndarray of shape (n_reference, n_energy), optional
        Separate vacuum spectra on the same axis.
    """

    energy: np.ndarray
    counts: np.ndarray
    vacuum: np.ndarray
    reference: np.ndarray | None = None


def scaled_vacuum(measurement):
    """Mean vacuum spectrum, shifted to every peak and scaled to the counts of its core.

    The vacuum spectra are those of the image, or else the reference; None without either.
    """
    energy, counts = measurement.energy, measurement.counts
    if measurement.vacuum.any():
        vacuum = counts[measurement.vacuum]
    else:
        vacuum = measurement.reference
    template = None if vacuum is None else _mean_of_aligned(vacuum, energy)
    if template is None:
        return None
    of_template = peak_parameters(template, energy)
    peaks = peak_parameters(counts, energy)
    spline = CubicSpline(energy, template)
    distance = energy - peaks.centre[:, None]
    zlp = spline(np.clip(distance + of_template.centre, energy[0], energy[-1]))
    core = np.abs(distance) <= _CORE * of_template.fwhm
    scale = np.where(core, counts, 0).sum(-1) / np.where(core, zlp, 1e-300).sum(-1)
    return zlp * scale[:, None]


def _mean_of_aligned(spectra, energy):
    """Mean of spectra shifted to their median centre; None if none has a usable peak."""
    peaks = peak_parameters(spectra, energy)
    if not peaks.usable.any():
        return None
    shift = peaks.centre - np.median(peaks.centre[peaks.usable])
    total = np.zeros(energy.size)
    for index in np.flatnonzero(peaks.usable):
        position = np.clip(energy + shift[index], energy[0], energy[-1])
        total += CubicSpline(energy, spectra[index])(position)
    return total / peaks.usable.sum()


def reflected_gain(measurement):
    """Gain side mirrored about the centre; zero where the axis has no gain side to mirror."""
    energy = measurement.energy
    peaks = peak_parameters(measurement.counts, energy)
    zlp = np.full(measurement.counts.shape, np.nan)
    for index in np.flatnonzero(peaks.usable):
        spectrum = measurement.counts[index].astype(float)
        mirrored = 2 * peaks.centre[index] - energy
        loss, known = mirrored < energy, mirrored >= energy[0]
        spectrum[loss] = np.where(
            known[loss], CubicSpline(energy, spectrum)(np.maximum(mirrored[loss], energy[0])), 0.0
        )
        zlp[index] = spectrum
    return zlp


def power_law(measurement, start=2.0, stop=4.0):
    """Power law of the energy from the peak, fitted on the flank and used from there on.

    Parameters
    ----------
    measurement : Measurement
    start, stop : float
        Window of the fit in FWHM from the peak; below ``start`` the ZLP is the data.

    Returns
    -------
    ndarray
        NaN for spectra that have too few channels in the window.
    """
    counts = measurement.counts.astype(float)
    peaks = peak_parameters(counts, measurement.energy)
    u = (measurement.energy - peaks.centre[:, None]) / peaks.fwhm[:, None]
    inside = (u >= start) & (u < stop)
    position = inside.argmax(-1)[:, None] + np.arange(max(inside.sum(-1).max(), 1))
    column = np.minimum(position, u.shape[-1] - 1)
    used = np.take_along_axis(inside, column, -1) & (position == column)
    window, logarithm = (
        np.where(used, np.take_along_axis(values, column, -1), 0.0)
        for values in (counts, np.log(np.where(inside, u, 1.0)))
    )
    level, exponent = _most_likely_power_law(window, logarithm, used)
    tail = level[:, None] * np.where(u >= start, u, 1.0) ** -exponent[:, None]
    zlp = np.where(u >= start, tail, counts)
    zlp[used.sum(-1) < _FEWEST_CHANNELS] = np.nan
    return zlp


def power_law_near(measurement):
    """Power law fitted closer to the peak, where fewer losses disturb it."""
    return power_law(measurement, 1.5, 2.5)


def _most_likely_power_law(counts, logarithm, used):
    """Most likely ``level * exp(-exponent * logarithm)`` of Poisson counts.

    At the maximum of the likelihood the counts and the model have the same sum and the same mean
    of the logarithm, which falls monotonically with the exponent: it is found by halving an
    interval. Single counts may be negative; where their sum is, the law is zero.
    """
    total = counts.sum(-1)
    positive = total > 0
    wanted = (counts * logarithm).sum(-1) / np.where(positive, total, 1.0)
    low, high = (np.full(len(counts), limit) for limit in _EXPONENTS)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        model = np.where(used, np.exp(-middle[:, None] * logarithm), 0.0)
        mean = (model * logarithm).sum(-1) / np.maximum(model.sum(-1), 1e-300)
        low, high = np.where(mean > wanted, middle, low), np.where(mean > wanted, high, middle)
    exponent = (low + high) / 2
    model = np.where(used, np.exp(-exponent[:, None] * logarithm), 0.0).sum(-1)
    return np.where(positive, total / np.maximum(model, 1e-300), 0.0), exponent


def pearson_vii(measurement):
    """Pearson VII function, fitted to the core of every peak."""
    return _fitted(measurement, _PEARSON_VII, ["form"])


def split_pearson_vii(measurement):
    """Pearson VII function with one exponent on the gain and one on the loss side."""
    return _fitted(measurement, _SPLIT_PEARSON_VII, ["form_gain", "form_loss"])


def pseudo_voigt(measurement):
    """Sum of a Gaussian and a Lorentzian of equal width, fitted to the core of every peak."""
    return _fitted(measurement, _PSEUDO_VOIGT, ["form"])


def _fitted(measurement, expression, forms):
    """A function fitted to the core of every peak by HyperSpy, on the whole axis.

    The cores are cut out about the nearest channel and brought to the same height, so that one
    model holds all of them; the fit of their mean gives the start values.
    """
    energy, counts = measurement.energy, measurement.counts.astype(float)
    zlp = np.full(counts.shape, np.nan)
    peaks = peak_parameters(counts, energy)
    usable = np.flatnonzero(peaks.usable)
    if not usable.size:
        return zlp
    peaks = peaks.select(usable)
    step, width = energy[1] - energy[0], np.median(peaks.fwhm)
    nearest = np.rint((peaks.centre - energy[0]) / step).astype(int)
    reach = int(np.ceil(_FIT_REACH * width / step))
    before = min(reach, nearest.min())
    after = min(reach, energy.size - 1 - nearest.max())
    offset = np.arange(-before, after + 1)
    cores = counts[usable[:, None], nearest[:, None] + offset]
    height = cores.max(-1)

    start = {"height": 1.0, "centre": 0.0, "fwhm": width, **dict.fromkeys(forms, -1.0)}
    component = hs.model.components1D.Expression(expression, name="ZLP", **start)
    _fit(component, cores, height, step * offset)
    fitted = {p.name: p.map["values"][1:] for p in component.parameters}
    fitted["centre"] = fitted["centre"] + energy[0] + step * nearest
    fitted["height"] = fitted["height"] * height
    zlp[usable] = component.function_nd(energy, parameters_values=list(fitted.values()))
    return zlp


def _fit(component, cores, height, distance):
    """Fit first the mean of the cores, then all, weighted by their Poisson variance.

    The mean is the first of the spectra, so the results of the others start at index 1.
    """
    cores, variance = cores / height[:, None], np.maximum(cores, 1.0) / height[:, None] ** 2
    signal, noise = (
        hs.signals.Signal1D(np.concatenate([values.mean(0)[None], values]))
        for values in (cores, variance)
    )
    axis = signal.axes_manager.signal_axes[0]
    axis.offset, axis.scale = distance[0], distance[1] - distance[0]
    signal.set_noise_variance(noise)
    model = signal.create_model()
    model.append(component)
    settings = {"optimizer": "lm", "grad": "analytical"}
    model.fit(**settings)
    model.assign_current_values_to_all()
    model.multifit(iterpath="serpentine", show_progressbar=False, **settings)


#: Everything but EELSFitter, which needs an image.
METHODS = {
    "scaled vacuum": scaled_vacuum,
    "reflected gain": reflected_gain,
    "power law": power_law,
    "power law near": power_law_near,
    "Pearson VII": pearson_vii,
    "split Pearson VII": split_pearson_vii,
    "pseudo-Voigt": pseudo_voigt,
}
#: Those that fit spectrum by spectrum, some milliseconds each: give them no more than needed.
SLOW = frozenset({"Pearson VII", "split Pearson VII", "pseudo-Voigt"})


@dataclass(frozen=True)
class EELSFitterResult:
    """ZLP of some spectra by EELSFitter.

    Attributes
    ----------
    zlp, lower, upper : ndarray of shape (n_pixels, n_energy)
        Median, 16th and 84th percentile of the matched ZLP over the replicas; NaN for a spectrum
        that EELSFitter cannot match, and for all if it kept no replica.
    n_kept : int
        Replicas that it kept. One whose loss is not a number, as where most spectra of a cluster
        have no count in a channel, makes it discard all.
    seconds_training : float
        For all replicas, clustering included.
    seconds_per_pixel : float
        For matching the ZLP of all replicas to one spectrum and summarising them.
    """

    zlp: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    n_kept: int
    seconds_training: float
    seconds_per_pixel: float


def eelsfitter(
    image_counts,
    energy,
    n_replicas,
    n_epochs=1000,
    n_clusters=5,
    pixels=None,
    random_state=0,
    n_threads=None,
    timeout=None,
):
    """ZLP by EELSFitter, trained on a whole image in a process of its own.

    Parameters
    ----------
    image_counts : ndarray of shape (ny, nx, n_energy)
    energy : ndarray of shape (n_energy,)
        Uniform axis in eV.
    n_replicas : int
        At least 2: EELSFitter cannot load a single one.
    n_epochs, n_clusters : int
        Epochs of every replica, without early stopping; clusters of the image.
    pixels : array of int, optional
        Flat indices of the spectra whose ZLP is wanted. Default is all.
    random_state : int
        Seed of its random numbers.
    n_threads : int, optional
        Threads of PyTorch. Default is PyTorch's own.
    timeout : float, optional
        Seconds after which ``subprocess.TimeoutExpired`` is raised.

    Returns
    -------
    EELSFitterResult or None
        None where ``make bench-peers`` was not run.
    """
    if not PEERS_PYTHON.exists():
        return None
    if n_replicas < 2:
        raise ValueError("EELSFitter needs at least 2 replicas")
    with tempfile.TemporaryDirectory() as folder:
        source, target = (os.path.join(folder, name) for name in ("in.npz", "out.npz"))
        np.savez(source, energy=energy, counts=image_counts)
        command = [PEERS_PYTHON, HERE / "eelsfitter_runner.py", source, target]
        options = {"replicas": n_replicas, "epochs": n_epochs, "clusters": n_clusters}
        options |= {"seed": random_state, "threads": n_threads}
        for name, value in options.items():
            command += [f"--{name}", value] if value is not None else []
        command += ["--pixels", *np.ravel(pixels)] if pixels is not None else []
        done = subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, timeout=timeout
        )
        if done.returncode:
            raise RuntimeError(f"EELSFitter failed:\n{done.stderr[-2000:]}")
        with np.load(target) as result:
            names = [field.name for field in fields(EELSFitterResult)]
            return EELSFitterResult(*(result[name][()] for name in names))
