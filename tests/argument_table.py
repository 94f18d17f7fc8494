# SPDX-License-Identifier: GPL-3.0-or-later
"""Which values are right for each argument of each public function, and values of all kinds to try.

:func:`values` makes what is given, :data:`KINDS` says which of it is right for a kind of argument,
and :func:`cases` lists every public function with the kind of each of its arguments.
:func:`outcome_of` calls a function and says in one word what came of it:

- ``clear``: refused by an error of ours that names the argument
- ``accepted``: taken, and it is right
- ``from inside``: an error that does not name the argument, or was raised by somebody else
- ``silent and wrong``: taken, though it cannot mean anything
- ``hang``: not done after some seconds
"""

import copy
import datetime
import inspect
import io
import math
import numbers
import os
import re
import signal
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import dask.array as da
import hyperspy.api as hs
import numpy as np

import hyperspy_zlpml
from hyperspy_zlpml import data, workflow
from hyperspy_zlpml.components import ZLPNet
from hyperspy_zlpml.ensemble import Ensemble, EnsembleFileError
from hyperspy_zlpml.physics import Beam, Exciton, Plasmon
from hyperspy_zlpml.physics.dielectric_models import OscillatorModel
from hyperspy_zlpml.search.comparison import Comparison
from hyperspy_zlpml.search.search import search_zlp_settings

PACKAGE = Path(hyperspy_zlpml.__file__).resolve().parent
#: Longest time of a call, seconds.
MOST_SECONDS = 15
OUTCOMES = ("clear", "accepted", "from inside", "silent and wrong", "hang")


# --- values ---------------------------------------------------------------------------------------


def values(rng):
    """Values of all kinds by a name for each; those that are random are new for every seed."""
    positive = float(np.exp(rng.uniform(-2, 2)))
    whole = int(rng.integers(2, 6))
    wrong_shape = tuple(int(n) for n in rng.integers(5, 9, 2))
    word = "".join(rng.choice(list("abcdefgh"), 5))
    return {**_numbers(rng, positive, whole), **_texts(word), **_arrays(rng, wrong_shape),
            **_objects(whole, wrong_shape, word)}  # fmt: skip


def _numbers(rng, positive, whole):
    return {
        "None": None, "True": True, "False": False, "np.True_": np.True_,
        "0": 0, "0.0": 0.0, "-0.0": -0.0, "1": 1, "-1": -1, "0.5": 0.5,
        "whole": whole, "float of a whole": float(whole), "positive": positive,
        "negative": -positive, "negative int": -whole, "tiny": 1e-300, "huge": 1e300,
        "huge int": 10 ** int(rng.integers(25, 40)), "2**31": 2**31, "1e9 int": 10**9,
        "nan": math.nan, "inf": math.inf, "-inf": -math.inf, "complex": complex(1, positive),
        "np int": np.int64(whole), "np float": np.float64(positive), "np nan": np.float32(np.nan),
        "datetime": datetime.datetime(2020, 1, 1), "np datetime": np.datetime64("2020-01-01"),
    }  # fmt: skip


def _texts(word):
    return {
        "text": word, "empty text": "", "number as text": "1", "no": "no", "nan text": "nan",
        "null character": "a\0b", "bytes": word.encode(), "long text": word * 2000,
        "unicode": "\u03bc\u2603", "np text": np.str_(word), "zlp": "zlp", "gaussian": "gaussian",
        "cpu": "cpu", "mps": "mps", "no such GPU": "cuda:99", "meta": "meta", "auto": "auto",
    }  # fmt: skip


def _arrays(rng, wrong_shape):
    return {
        "0-d array": np.array(0.5), "1 number in a list": [0.5], "2 numbers": [1.0, 2.0],
        "2 numbers down": [2.0, 1.0], "2 whole": (3, 2), "pair of nan": [np.nan, np.nan],
        "list of text": ["a", "b"], "numbers as text": ["1", "2"], "ragged": [[1], [1, 2]],
        "list of bool": [True, False], "list of None": [None, None], "empty list": [],
        "empty tuple": (), "empty array": np.zeros(0), "wrong shape": np.zeros(wrong_shape),
        "wrong bool map": np.ones(wrong_shape, bool), "object array": np.array([None, 1], object),
        "complex array": np.zeros(wrong_shape, complex), "text array": np.array(["a", "b"]),
        "nan array": np.full(wrong_shape, np.nan), "random array": rng.normal(size=wrong_shape),
        "masked array": np.ma.masked_all(wrong_shape), "dask array": da.zeros(wrong_shape),
        "3-d array": np.zeros((2, 3, 4)), "structured": np.zeros(2, [("a", float)]),
        "huge sizes": (10**6, 10**6), "four sizes": (2, 2, 2, 2), "negative sizes": (-1, 2),
    }  # fmt: skip


def _objects(whole, wrong_shape, word):
    return {
        "dict": {}, "dict of other": {word: 1.0}, "dict of text": {"E_I": "1"},
        "dict of bool": {"E_I": True}, "dict of nan": {"E_I": math.nan},
        "dict of negative": {"E_I": -1.0}, "dict of None": {"E_I": None},
        "dict by number": {3: 1.0}, "dict of lists": {"E_I": [1.0, 2.0], "E_II": [3.0, 4.0, 5.0]},
        "dict of beam": {"beam_energy": 0}, "dict of angle": {"convergence_angle": "10"},
        "set": {1.0, 2.0}, "object": object(), "class": int, "function": abs,
        "iterator": iter([1.0]), "path": Path(word), "seeded": np.random.default_rng(whole),
        "old generator": np.random.RandomState(whole), "slice": slice(2), "ellipsis": ...,
        "spectrum image": hs.signals.Signal1D(np.zeros((*wrong_shape, 80))),
        "image": hs.signals.Signal2D(np.zeros(wrong_shape)),
        "signal without axes": hs.signals.BaseSignal(np.zeros(wrong_shape)).T,
        "spectra": workflow.Spectra(np.ones((3, 80)), np.arange(80.0)),
        "options": workflow.Options(n_clusters=1, n_replicas=2), "response": data.Response(), "material": data.Material(),
        "training settings": hyperspy_zlpml.TrainingSettings((3,), n_clusters=1),
        "oscillators": data.GLASS, "beam": Beam(200.0, 15.0),
    }  # fmt: skip


# --- kinds ----------------------------------------------------------------------------------------


def is_real(value):
    """A finite real number that is no flag."""
    if isinstance(value, np.ndarray) and not value.ndim:
        value = value.item()
    is_number = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
    return is_number and abs(value) <= 1e12


def is_count(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_numbers(value):
    """A sequence or array of finite real numbers."""
    arrays = (list, tuple, np.ndarray, da.Array, hs.signals.BaseSignal)
    if not isinstance(value, arrays) or np.ma.isMaskedArray(value):
        return False
    try:
        array = np.asarray(value)
    except ValueError:
        return False
    return array.ndim > 0 and array.dtype.kind in "fiu" and bool((abs(array) <= 1e12).all())


def number(low=-1e12, high=1e12):
    return lambda value: is_real(value) and low <= value <= high


def count(least, most):
    return lambda value: is_count(value) and least <= value <= most


def optional(kind):
    return lambda value: value is None or kind(value)


def either(*kinds):
    return lambda value: any(kind(value) for kind in kinds)


def one_of(*names):
    return lambda value: isinstance(value, str) and value in names


def instance(*classes):
    return lambda value: isinstance(value, classes)


def never(value):
    return False


def is_limits(value):
    """Limits of regions; of the values here only the dict without any."""
    return isinstance(value, dict) and not value


def shaped(*shape):
    return lambda value: is_numbers(value) and np.shape(value) == shape


def is_shape(value):
    """Up to three sizes of an image that is not too large."""
    is_sequence = isinstance(value, (list, tuple)) or (
        isinstance(value, np.ndarray)
        and value.ndim == 1
        and (value.dtype.kind == "i" or not value.size)
    )
    return is_sequence and len(value) <= 3 and all(count(1, 1000)(n) for n in value)


def increasing(value):
    return is_numbers(value) and np.ndim(value) == 1 and len(value) > 1 and value[0] < value[1]


def is_empty(value):
    """Without any peaks; of the values here none holds triples."""
    is_row = isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim)
    return bool(is_row) and len(value) == 0


def are_layers(value):
    """Units of some hidden layers, or of one."""
    units = count(1, 64)
    if isinstance(value, (list, tuple)):
        return 1 <= len(value) <= 5 and all(map(units, value))
    return units(value)


def is_thicknesses(value):
    return shaped(2)(value) and 0 <= value[0] <= value[1] <= 30


def is_index(value):
    """A refractive index, infinite for a metal; one number in an array or a list, too."""
    if isinstance(value, hs.signals.BaseSignal | list | tuple | np.ndarray):
        return is_numbers(value) and np.size(value) == 1 and np.ravel(value)[0] >= 1
    is_infinite = isinstance(value, float) and value == math.inf
    return is_infinite or (is_real(value) and value >= 1)


def is_index_above_1(value):
    return is_index(value) and np.ravel(getattr(value, "data", value))[0] > 1


def of_pixels(low, high=1e12):
    """A number for all pixels; in an array or a list, too."""

    def is_one(value):
        if isinstance(value, hs.signals.BaseSignal | list | tuple | np.ndarray):
            if not (is_numbers(value) or is_real(value)) or np.size(value) != 1:
                return False
            value = np.ravel(getattr(value, "data", value))[0]
        return is_real(value) and low <= value <= high

    return is_one


def is_nanometres(value):
    return shaped(2)(value) and 0 <= value[0] <= value[1] <= 3000


def settings_within(low, high):
    return lambda value: (
        is_numbers(value) and np.ndim(value) == 1 and len(value) > 0
        and all(low <= one <= high for one in value)
    )  # fmt: skip


def is_path(value):
    is_text = isinstance(value, (str, os.PathLike)) and not isinstance(value, bytes)
    return is_text and bool(os.fspath(value).strip()) and "\0" not in os.fspath(value)


flag = instance(bool, np.bool_)
seed = either(count(0, 2**63 - 1), instance(np.random.Generator, type(None)))
text = instance(str)


def probability(value):
    return is_real(value) and 0 < value < 1


positive = number(1e-12)
#: Arrays of an array function: numbers of any shape, one alone too.
an_array = either(is_real, is_numbers)
#: Kind of argument -> which values are right.
KINDS = {
    "a flag": flag,
    "a flag or None": optional(flag),
    "a seed": seed,
    "a number": number(),
    "a number or None": optional(number()),
    "a positive number": positive,
    "a positive number or None": optional(positive),
    "a probability": probability,
    "variance or None": optional(
        lambda value: (
            value == [0.5] if isinstance(value, list) else is_real(value) and value >= 1e-24
        )
    ),
    "a fraction": number(0, 1),
    "not negative": number(0),
    "an array": an_array,
    "numbers in a row": lambda value: is_numbers(value) and np.ndim(value) == 1,
    "channels in a row": lambda value: is_numbers(value) and np.ndim(value) == 1 and len(value) > 0,
    "gaps": lambda value: an_array(value) and (np.ndim(value) == 0 or np.shape(value)[-1] == 1),
    "text": text,
    "text or None": optional(text),
    "a path": is_path,
    "none of these": never,
    "None": lambda value: value is None,
    "values of parameters": optional(
        lambda value: (
            isinstance(value, tuple)
            and len(value) == 4
            and all(map(is_real, value))
            and min(value) > 0
        )
    ),
    "no arguments": is_limits,
    "limits or None": optional(is_limits),
    "settings or None": instance(hyperspy_zlpml.TrainingSettings, type(None)),
    "hidden layers": are_layers,
    "activation": one_of("tanh", "logistic", "softsign"),
    "prior": number(1e-6, 1e6),
    "modes": count(0, 12),
    "spread of limits": number(0, 0.9),
    "evaluations": count(1, 100_000),
    "trainings": count(2, 1000),
    "workers": optional(count(1, 10_000)),
    "a path or None": optional(is_path),
    "clusters": either(count(1, 50), one_of("auto")),
    "replicas": count(2, 10_000),
    "a few": count(1, 10_000),
    "results": lambda value: (
        isinstance(value, (list, tuple))
        and not value
        or (isinstance(value, np.ndarray) and value.ndim > 0 and not value.size)
    ),
    "proxy": one_of("zlp", "total", "log_ratio"),
    "replica kind": one_of("gaussian", "spectra"),
    "device": one_of("auto", "cpu"),
    "film": one_of("clusters", "pixels"),
    "bool or None": instance(bool, np.bool_, type(None)),
    "a shape": is_shape,
    "increasing": increasing,
    "thicknesses": is_thicknesses,
    "width drift": number(0, 0.2),
    "centre drift": number(0, 100),
    "specimen broadening": number(0, 10),
    "channels": count(2, 2**16),
    "step of the axis": number(1e-6, 1e3),
    "counts": number(1e-6),
    "gain": number(1e-6, 1e6),
    "beam energy": number(1, 1e4),
    "exposure": number(1e-9, 1e5),
    "beam energies": settings_within(1, 1e4),
    "exposures": settings_within(1e-9, 1e5),
    "exponent": number(0.51, 1e4),
    "onset": number(0, 10),
    "energy of losses": number(0, 500),
    "temperature": number(1, 1e5),
    "ln N0": optional(number(-100, 100)),
    "response or None": instance(data.Response, type(None)),
    "material or None": instance(data.Material, type(None)),
    "index above 1": is_index_above_1,
    "index above 1 or None": optional(is_index_above_1),
    "an index or None": optional(is_index),
    "energy on the axis or None": optional(number(1e-12, 10.77)),
    "no": lambda value: isinstance(value, (bool, np.bool_)) and not value,
    "no error": lambda value: is_real(value) and value == 0,
    "error of a path": of_pixels(0, 100),
    "exponent or None": optional(number(0.1, 5)),
    "density or None": optional(number(0.05, 25)),
    "mean free path or None": optional(of_pixels(0.1, 1e5)),
    "fall or None": optional(number(2, 10)),
    "error of a fall": number(0, 0.9),
    "an index": is_index,
    "an error": of_pixels(0),
    "oscillators": instance(OscillatorModel),
    "a beam": instance(Beam),
    "retardation": optional(one_of("bulk", "slab")),
    "nanometres or None": optional(is_nanometres),
    "energy of a beam": number(1, 3000),
    "collection angle": number(1e-6, 1000),
    "peaks of losses": is_empty,
    "spectra": instance(workflow.Spectra),
    "options": instance(workflow.Options),
    "ensemble or None": instance(Ensemble, type(None)),
    "microscope or None": optional(is_limits),
    "indices": optional(lambda value: isinstance(value, tuple) and value in ((3, 2), (-1, 2))),
    "counts of spectra": never,
    "window or None": optional(shaped(2)),
    "pool or None": optional(count(2, 64)),
    "a threshold": number(0, 1e3),
    "a side": one_of("loss", "gain"),
    "shape of a peak": one_of("gaussian", "lorentzian"),
    "order": count(0, 4),
    "angle": number(0, 1000),
    "indices of a pixel or None": lambda value: (
        value is None or isinstance(value, tuple) and value in ((3, 2), (-1, 2))
    ),
    "a row or None": optional(count(-3, 2)),
    "two": count(2, 2),
    "a function": callable,
}


# --- what is called -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Called:
    """A public function, what it is called with, and the kind of each argument.

    ``names`` are names beside that of the argument that an error may use for it.
    """

    name: str
    function: object
    kinds: dict[str, str]
    given: dict = field(default_factory=dict)
    names: tuple[str, ...] = ()
    is_slow: bool = False


@dataclass(frozen=True)
class Scene:
    """What the public functions are tried on."""

    image: hs.signals.Signal1D
    removal: object
    ensemble: Ensemble
    with_conditions: Ensemble
    removed: object
    folder: Path

    @classmethod
    def make(cls, folder):
        """Make a small image and all that comes of it."""
        options = {"n_replicas": 4, "random_state": 0, "show_progressbar": False}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = data.ws2_like((4, 3), n_channels=512, offset=-2.0, random_state=2).signal
            removal = image.remove_zlp_ml(n_clusters=2, **options)
            vacuum = data.vacuum_at_settings((60, 200), (0.1,), (3, 3), n_channels=512,
                                             random_state=0)  # fmt: skip
            with_conditions = hyperspy_zlpml.train_zlp_ml(
                [one.signal for one in vacuum], ["beam_energy"], n_clusters=1, **options
            )
            removed = workflow.remove_zlp(image.data, energy_of(image), n_clusters=2,
                                          ensemble=removal.ensemble, random_state=0)  # fmt: skip
        removal.save(Path(folder) / "kept", signals=[])
        removal.temperature(show_progressbar=False).save(Path(folder) / "maps")
        return cls(image, removal, removal.ensemble, with_conditions, removed, Path(folder))


def energy_of(image):
    return image.axes_manager.signal_axes[0].axis


TRAINING = {
    "n_clusters": "clusters", "cluster_by": "proxy", "n_replicas": "replicas",
    "regions": "limits or None", "replica_kind": "replica kind", "random_state": "a seed",
    "device": "device", "settings": "settings or None",
}  # fmt: skip
SEARCH = {
    "n_evaluations": "evaluations", "n_trainings": "trainings", "start": "settings or None",
    "storage": "a path or None", "timeout": "a positive number or None", "n_workers": "workers",
    **{name: TRAINING[name] for name in ("n_replicas", "cluster_by", "regions", "random_state",
                                         "device")},
}  # fmt: skip
MAPS = {"vacuum": "bool or None", "navigation_mask": "None"}
SAMPLE = {
    "navigation_shape": "a shape", "n_channels": "channels", "offset": "a number",
    "scale": "step of the axis", "fwhm": "a positive number", "peak_counts": "counts",
    "thickness_range": "thicknesses", "vacuum_fraction": "a fraction",
    "centre_drift": "centre drift", "width_drift": "width drift", "tail_drift": "a fraction",
    "specimen_broadening": "specimen broadening", "gain": "gain", "readout": "not negative",
    "integer": "a flag", "response": "response or None", "material": "material or None",
    "random_state": "a seed", "title": "text",
}  # fmt: skip
#: Names that errors about the signal itself may use.
SIGNAL = ("signal", "signals", "vacuum")


def cases(scene):
    """All public functions, with the kind of every argument."""
    return [
        *_signal_methods(scene), *_array_functions(scene), *_result_methods(scene),
        *_map_methods(scene),
        *_ensemble_methods(scene), *_sample_functions(), *_component_methods(scene),
        *_searches(),
    ]  # fmt: skip


def _signal_methods(scene):
    image = scene.image
    quick = {"n_clusters": 1, "n_replicas": 2, "random_state": 0, "show_progressbar": False}
    applied = {**quick, "ensemble": scene.ensemble}
    bar = {"show_progressbar": "a flag or None"}
    return [
        Called("remove_zlp_ml", image.remove_zlp_ml, {
            **TRAINING, **MAPS, **bar, "confidence": "a probability",
            "lazy_output": "a flag or None", "device": "text",
        }, applied, is_slow=True),
        Called("remove_zlp_ml (training)", image.remove_zlp_ml,
               {"ensemble": "ensemble or None", "device": "device"}, quick, is_slow=True),
        Called("hyperspy_zlpml.remove_zlp_ml", hyperspy_zlpml.remove_zlp_ml,
               {"signal": "none of these"}, {"signal": image, **applied}),
        Called("train_zlp_ml", image.train_zlp_ml, {**TRAINING, **MAPS, **bar}, quick,
               is_slow=True),
        Called("estimate_zlp_parameters", image.estimate_zlp_parameters, bar),
        Called("hyperspy_zlpml.train_zlp_ml", hyperspy_zlpml.train_zlp_ml,
               {"signals": "none of these", **TRAINING, **bar, "conditions": "None"},
               {"signals": image, **quick}, names=SIGNAL, is_slow=True),
    ]  # fmt: skip


def _array_functions(scene):
    counts, energy = scene.image.data, energy_of(scene.image)
    quick = {"n_clusters": 1, "n_replicas": 2, "random_state": 0, "counts": counts,
             "energy": energy}  # fmt: skip
    applied = {**quick, "ensemble": scene.ensemble}
    arrays = {
        "counts": "none of these", "energy": "none of these",
        "variance": "variance or None", "microscope": "microscope or None",
    }  # fmt: skip
    spectra = workflow.Spectra(counts, energy)
    options = workflow.Options(n_clusters=1, n_replicas=2, random_state=0)
    first = workflow.look(spectra, options)
    choice = workflow.choose(first, options)
    fitted = workflow.train_on(first, choice, options)
    removed = workflow.remove(spectra, options)
    settings = {"images": [spectra, spectra], "conditions": {"beam_energy": [60, 200]}}
    steps = {"first": "none of these", "choice": "none of these", "options": "options"}
    given = {"first": first, "choice": choice, "options": options}
    return [
        Called("Spectra", workflow.Spectra, {**arrays, "title": "text"},
               {"counts": counts, "energy": energy}, names=("energy",)),
        Called("remove_zlp", workflow.remove_zlp, {
            **arrays, **TRAINING, **MAPS, "show_progressbar": "a flag", "device": "text",
            "confidence": "a probability", "lazy_output": "a flag or None",
        }, applied, names=("energy",), is_slow=True),
        Called("remove_zlp (training)", workflow.remove_zlp, {"ensemble": "ensemble or None"},
               quick, is_slow=True),
        Called("train_zlp", workflow.train_zlp,
               {**arrays, **TRAINING, **MAPS, "show_progressbar": "a flag"}, quick,
               names=("energy",), is_slow=True),
        Called("train_zlp_at_settings", workflow.train_zlp_at_settings, {
            "images": "none of these", "conditions": "none of these", **TRAINING,
            "show_progressbar": "a flag",
        }, {**settings, "n_clusters": 1, "n_replicas": 2, "random_state": 0},
               names=("conditions",), is_slow=True),
        Called("workflow.remove", workflow.remove, {
            "spectra": "none of these", "options": "options", "ensemble": "ensemble or None",
            "lazy_output": "a flag or None",
        }, {"spectra": spectra, "options": options, "ensemble": scene.ensemble}, is_slow=True),
        Called("workflow.train", workflow.train,
               {"spectra": "none of these", "options": "options"},
               {"spectra": spectra, "options": options}, is_slow=True),
        Called("workflow.train_at_settings", workflow.train_at_settings,
               {"images": "none of these", "conditions": "none of these", "options": "options"},
               {**settings, "options": options}, names=("conditions",), is_slow=True),
        Called("look", workflow.look, {"spectra": "none of these", "options": "options",
                                       "name": "text", "alike_is_vacuum": "a flag", "lost": "None"},
               {"spectra": spectra, "options": options}, is_slow=True),
        Called("fit_and_subtract", workflow.fit_and_subtract, {
            "first": "none of these", "options": "options", "ensemble": "ensemble or None",
            "lazy": "a flag",
        }, {"first": first, "options": options, "ensemble": scene.ensemble}),
        Called("choose", workflow.choose, {"first": "none of these", "options": "options"},
               {"first": first, "options": options}),
        Called("train_on", workflow.train_on, steps, given, is_slow=True),
        Called("adapt_to", workflow.adapt_to, {**steps, "ensemble": "none of these"},
               {**given, "ensemble": scene.ensemble}),
        Called("check_and_report", workflow.check_and_report, {
            "application": "none of these", "first": "none of these", "choice": "none of these",
            "fitted": "none of these", "confidence": "a probability",
        }, {"application": removed.application, "first": first, "choice": choice,
            "fitted": fitted, "confidence": 0.68}),
        Called("check_ensemble", workflow.check_ensemble, {"ensemble": "none of these"}),
    ]  # fmt: skip


def _result_methods(scene):
    removal = scene.removal
    window = {"left": "a number", "right": "a number"}
    return [
        Called("integrate", removal.integrate, {**window, "counting_noise": "a flag"},
               {"left": 2.0, "right": 3.0}, names=("left", "right")),
        Called("RemovedZLP.integrate", scene.removed.integrate, window,
               {"left": 2.0, "right": 3.0}, names=("left", "right")),
        Called("retardation", removal.retardation, {
            "dielectric": "None", "n": "an index", "n_error": "an error", "right": "None",
            "confidence": "a probability", "show_progressbar": "a flag or None",
        }, {"n": 3.0}),
        Called("r.single_scattering", removal.single_scattering, {
            "normalised": "a flag", "counting_noise": "a flag",
            "show_progressbar": "a flag or None",
        }),
        Called("r.band_gap", removal.band_gap, {
            "exponent": "exponent or None", "own_response": "a flag", "pool": "None",
            "n": "an index or None", "left": "energy on the axis or None",
            "right": "energy on the axis or None", "n_error": "no error",
            "show_progressbar": "a flag or None",
        }),
        Called("r.thickness", removal.thickness, {
            "density": "density or None", "n_error": "an error",
            "mean_free_path": "mean free path or None", "tail_exponent": "fall or None",
            "tail_exponent_error": "error of a fall", "show_progressbar": "a flag or None",
            "n": "index above 1 or None", "right": "a positive number or None",
        }, {"n": 3.0}),
        Called("r.maps", removal.maps, {
            "thickness": "no arguments", "show_progressbar": "a flag or None",
        }, {"thickness": {}}),
        Called("r.thickness by a path", removal.thickness, {
            "mean_free_path_error": "error of a path",
        }, {"mean_free_path": 100.0}),
        Called("r.dielectric_function", removal.dielectric_function, {
            "n_error": "an error", "surface": "a flag",
            "relativistic": "a flag", "show_progressbar": "a flag or None",
            "n": "index above 1", "thickness": "None", "thickness_error": "no error",
            "metal": "no", "film": "film",
        }, {"n": 3.0}),
        Called("plot", removal.plot, {"indices": "indices"}),
        Called("plot_regions", removal.plot_regions,
               {"left": "a number", "right": "a number"}, {"left": 2.0, "right": 3.0},
               names=("left", "right")),
        Called("compute", removal.compute, {"show_progressbar": "a flag or None"}),
        Called("draw", removal.draw, {"n_draws": "a few", "random_state": "a seed"},
               {"n_draws": 2}),
        Called("RemovedZLP.draw", scene.removed.draw, {"n_draws": "a few", "random_state": "a seed"},
               {"n_draws": 2}),
        Called("save", removal.save, {
            "directory": "a path", "signals": "results", "overwrite": "a flag or None", "show_progressbar": "a flag or None",
        }, {"directory": "result", "overwrite": True, "show_progressbar": False}),
    ]  # fmt: skip


def _map_methods(scene):
    """Methods of physics that look for something, and those of what they return."""
    removal, removed, energy = scene.removal, scene.removed, energy_of(scene.image)
    bar = {"show_progressbar": "a flag or None"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gap = removal.band_gap(show_progressbar=False)
        dielectric = removal.dielectric_function(n=3.0, show_progressbar=False)
        fit = removal.fit_peaks(Exciton(2.0, 0.1), show_progressbar=False)
    KINDS["energy of gains"] = optional(
        number(1e-12, float(np.nanmedian(removed.centre) - energy[0]))
    )
    KINDS["an end below 2 eV or None"] = optional(number(-1e300, 1.9999999))
    KINDS["an end above 2 eV or None"] = optional(number(2.0000001, 1e300))
    peak = {
        "energy": "a positive number",
        "width": "a positive number",
        "left": "an end below 2 eV or None",
        "right": "an end above 2 eV or None",
    }
    at_2_ev = {"energy": 2.0, "width": 0.1}
    return [
        Called("r.temperature", removal.temperature,
               {"left": "energy of gains", "right": "a positive number or None", "pool": "pool or None",
                **bar}),
        Called("r.fit_peaks", removal.fit_peaks, {
            "peaks": "none of these", "pool": "pool or None", "threshold": "a threshold",
            "single_scattering": "a flag", "side": "a side", **bar,
        }, {"peaks": Exciton(2.0, 0.1)}),
        Called("Plasmon", Plasmon, peak, at_2_ev, names=("left", "right", "energy", "width")),
        Called("Exciton", Exciton, {**peak, "shape": "shape of a peak", "background": "order"},
               at_2_ev, names=("left", "right", "energy", "width")),
        Called("Beam", Beam, {
            "energy": "energy of a beam", "collection_angle": "collection angle",
            "convergence_angle": "angle",
        }, {"energy": 200.0, "collection_angle": 15.0}, names=("beam_energy",)),
        Called("PeakFit.append_to", fit.append_to, {"model": "none of these"}),
        Called("PeakFit.plot_fit", fit.plot_fit, {"indices": "indices of a pixel or None"}),
        Called("BandGap.curve", gap.curve, {"indices": "indices of a pixel or None"}),
        Called("BandGap.plot_fit", gap.plot_fit, {"indices": "indices of a pixel or None"}),
        Called("BandGap.plot_line", gap.plot_line, {"row": "a row or None", "column": "a row or None"}),
        Called("MapResult.plot", gap.plot, {"ax": "None", "title": "text or None"}),
        Called("Dielectric.plot", dielectric.plot,
               {"indices": "indices", "ax": "None", "title": "text or None"}),
        Called("Measured.plot", dielectric.eps1.plot,
               {"indices": "indices", "ax": "None", "title": "text or None"}),
        Called("RemovedZLP.compute", removed.compute, {"show_progressbar": "a flag"}),
        Called("RemovedZLP.map_losses", removed.map_losses,
               {"function": "a function", "width": "two", "lazy": "a flag or None",
                "show_progressbar": "a flag", "title": "text"},
               {"function": lambda losses: losses.subtracted[:, :2], "width": 2}),
    ]  # fmt: skip


def _ensemble_methods(scene):
    one, several = scene.ensemble, scene.with_conditions
    energy = np.linspace(-1, 5, 50)
    grid = one.grid.n
    return [
        Called("predict", one.predict, {
            "energy": "increasing", "centre": "a number", "fwhm": "a positive number or None",
            "log_intensity": "ln N0", "height": "a positive number or None",
            "beam_energy": "none of these",
        }, {"energy": energy}, names=("at", "conditions")),
        Called("predict at a setting", several.predict, {
            "beam_energy": "beam energy", "fwhm": "a positive number or None",
            "log_intensity": "ln N0", "height": "a positive number or None",
            "exposure": "none of these",
        }, {"energy": energy, "beam_energy": 100.0}, names=("conditions",)),
        Called("at", several.at, {"beam_energy": "beam energy", "spot": "none of these"},
               {"beam_energy": 100.0}, names=("conditions",)),
        Called("log_ratio", one.log_ratio, {"u": "an array", "log_intensity": "an array"},
               {"u": 0.0, "log_intensity": 15.0}),
        Called("log_shapes", one.log_shapes, {"log_intensities": "numbers in a row"}),
        Called("tabulate", one.tabulate, {"confidence": "a probability"}),
        Called("with_scatter", one.with_scatter, {
            "scatter": "none of these", "residual": "None", "beside": "None",
        }, {"scatter": np.zeros(grid)}),
        Called("with_origin", one.with_origin, {"origin": "none of these"}, {"origin": one.origin}),
        Called("plot_conditions", several.plot_conditions, {"confidence": "a probability"}),
        Called("Ensemble.save", one.save, {"path": "a path"}),
        Called("load", hyperspy_zlpml.load, {"path": "a path"}),
        Called("load_maps", hyperspy_zlpml.load_maps,
               {"directory": "a path", "removal": "None", "lazy": "a flag"},
               {"directory": str(scene.folder / "maps")}),
        Called("load_removal", hyperspy_zlpml.load_removal,
               {"directory": "a path", "signal": "None"}, {"directory": str(scene.folder / "kept")}),
    ]  # fmt: skip


def _sample_functions():
    small = {"navigation_shape": (2, 2), "n_channels": 128, "random_state": 0}
    kinds = [
        Called(name, function, {"navigation_shape": "a shape", "random_state": "a seed",
                                "spot": "none of these"},
               {"navigation_shape": (3,), "n_channels": 1000}, names=("offset",))
        for name, function in data.SAMPLE_KINDS.items()
    ]  # fmt: skip
    response = {"exponent_gain": "exponent", "exponent_loss": "exponent", "halo": "a fraction",
                "halo_width": "a positive number"}  # fmt: skip
    material = {
        "band_gap": "energy of losses", "onset_exponent": "onset",
        "plasmon_energy": "energy of losses", "plasmon_width": "energy of losses",
        "interband": "a fraction", "excitons": "peaks of losses", "gains": "peaks of losses",
        "phonons": "peaks of losses", "temperature": "temperature",
    }  # fmt: skip
    steps = np.arange(5.0)
    return [
        Called("make_sample", data.make_sample, SAMPLE, small, names=("offset", "fwhm")),
        *kinds,
        Called("vacuum_reference", data.vacuum_reference,
               {"navigation_shape": "a shape", "random_state": "a seed"}, {"n_channels": 1000}),
        Called("phonons", data.phonons, {
            "navigation_shape": "a shape", "temperature": "temperature", "strength": "a fraction",
            "random_state": "a seed",
        }, {"navigation_shape": (3,), "n_channels": 1000}),
        Called("setting_laws", data.setting_laws,
               {"beam_energy": "beam energy", "exposure": "exposure"},
               {"beam_energy": 100.0, "exposure": 0.1}),
        Called("vacuum_at_settings", data.vacuum_at_settings, {
            "beam_energies": "beam energies", "exposures": "exposures",
            "navigation_shape": "a shape", "reproducibility": "a fraction",
            "random_state": "a seed", **{k: SAMPLE[k] for k in ("gain", "readout", "scale")},
        }, {"beam_energies": [100.0], "exposures": [0.1], **small}, names=("offset", "fwhm",
            "peak_counts")),
        Called("dielectric_phantom", data.dielectric_phantom, {
            "navigation_shape": "a shape", "random_state": "a seed", "material": "oscillators",
            "retarded": "retardation", "surfaces": "a flag", "thickness_nm": "nanometres or None",
            "beam_energy": "energy of a beam", "collection_angle": "collection angle",
        }, {**small, "n_channels": 512}),
        Called("DielectricMaterial", data.DielectricMaterial, {
            "models": "oscillators", "beam": "a beam", "retarded": "retardation",
            "surfaces": "a flag", "nm_per_thickness": "a positive number or None",
        }, {"models": data.GLASS, "beam": Beam(200.0, 15.0)}, names=("material",)),
        Called("Response", data.Response, response),
        Called("Response()", data.Response(), {"u": "an array", "tail": "an array"},
               {"u": steps}, names=("u",)),
        Called("Material", data.Material, material),
        Called("single_scattering", data.Material().single_scattering,
               {"energy": "an array", "band_gap": "gaps"},
               {"energy": steps, "band_gap": np.array([[1.0]])}, names=("energy",)),
        Called("energy_gain", data.Material().energy_gain, {"energy": "an array"}),
        Called("phonon_scattering", data.Material().phonon_scattering, {"energy": "an array"}),
    ]  # fmt: skip


def _searches():
    larger = data.ws2_like((6, 5), n_channels=512, offset=-2.0, random_state=2).signal
    quick = {"n_evaluations": 1, "n_trainings": 2, "n_replicas": 2, "random_state": 0}
    arrays = {"counts": larger.data, "energy": energy_of(larger)}
    comparison = Comparison(
        0.1, 0.2, n_trainings=2, n_spectra=8, n_free=1, score=-1.5, default_score=-1.6
    )
    found = hyperspy_zlpml.SettingsSearch(hyperspy_zlpml.TrainingSettings(), comparison, ())
    return [
        Called("search_zlp_ml", larger.search_zlp_ml,
               {**SEARCH, **MAPS, "show_progressbar": "a flag or None"},
               {**quick, "show_progressbar": False}, is_slow=True),
        Called("search_zlp_settings", search_zlp_settings, {
            **SEARCH, **MAPS, "show_progressbar": "a flag", "counts": "none of these",
            "energy": "none of these", "variance": "variance or None",
            "microscope": "microscope or None",
        }, {**quick, **arrays}, names=("energy",), is_slow=True),
        Called("TrainingSettings", hyperspy_zlpml.TrainingSettings, {
            "hidden_layers": "hidden layers", "activation": "activation", "prior": "prior",
            "n_modes": "modes", "limit_spread": "spread of limits", "n_clusters": "clusters",
            "replica_kind": "replica kind",
        }),
        Called("to_csv", found.to_csv, {"path": "a path"}),
    ]  # fmt: skip


def _component_methods(scene):
    component = ZLPNet(scene.ensemble)
    model = scene.image.create_model(auto_background=False)
    model.append(component)
    loose = ZLPNet(scene.ensemble)
    x = energy_of(scene.image)
    curves = [
        Called(name, getattr(loose, name), {"x": "an array"}, {"x": x})
        for name in ("function", "grad_intensity", "grad_centre", "grad_width", "grad_mode")
    ]
    return [
        Called("ZLPNet", ZLPNet, {"ensemble": "none of these", "thickness": "thickness"},
               {"ensemble": scene.ensemble}),
        Called("estimate_parameters", component.estimate_parameters, {
            "signal": "none of these", "x1": "a number or None", "x2": "a number or None",
            "only_current": "a flag",
        }, {"signal": scene.image}, names=("x1", "x2")),
        Called("function_nd", component.function_nd,
               {"axis": "channels in a row", "parameters_values": "values of parameters"}, {"axis": x}),
        *curves,
    ]  # fmt: skip


KINDS["thickness"] = lambda value: is_real(value) and value >= 0 or (
    isinstance(value, list) and value == [0.5]
)  # fmt: skip


# --- outcomes -------------------------------------------------------------------------------------


class TooLong(BaseException):
    """A call that does not come back."""


def calls(every, rng):
    """Every argument of all cases with every value: function, argument, name of the value, value."""
    given = values(rng)
    return [
        (called, argument, name, value)
        for called in every
        for argument in called.kinds
        for name, value in given.items()
    ]


def outcome_of(called, argument, value):
    """Call a function: the outcome, and what was raised in one line."""
    value = copy.copy(value) if isinstance(value, Iterator) else value  # it is used up
    is_right = bool(KINDS[called.kinds[argument]](value))
    folder = os.getcwd()
    try:
        with tempfile.TemporaryDirectory() as empty, _Alarm(), _Quiet():
            os.chdir(empty)
            try:
                called.function(**{**called.given, argument: value})
            finally:
                os.chdir(folder)
    except TooLong:
        return "hang", ""
    except Exception as error:
        told = f"{type(error).__name__}: {str(error)[:200]}"
        if is_right and called.kinds[argument] == "a function":
            return "accepted", told  # its own error, which the user is to see
        return ("clear" if _is_clear(error, called, argument) else "from inside"), told
    return ("accepted" if is_right else "silent and wrong"), ""


def _is_clear(error, called, argument):
    """Whether an error is one of ours, or of a file, and names the argument."""
    if called.kinds[argument] == "a path" and isinstance(error, OSError | EnsembleFileError):
        return True
    message = str(error)
    if isinstance(error, TypeError) and "unexpected keyword argument" in message:
        return argument in message
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    is_ours = PACKAGE in Path(last).resolve().parents
    named = any(re.search(rf"\b{name}\b", message) for name in (argument, *called.names))
    return isinstance(error, ValueError | TypeError) and is_ours and named


class _Alarm:
    """Interrupts what takes too long."""

    def __enter__(self):
        signal.signal(signal.SIGALRM, self._ring)
        signal.alarm(MOST_SECONDS)

    def __exit__(self, *_):
        signal.alarm(0)

    def _ring(self, *_):
        raise TooLong


class _Quiet:
    """No warnings, no figures, nothing on the screen."""

    def __enter__(self):
        self.warnings = warnings.catch_warnings()
        self.warnings.__enter__()
        warnings.simplefilter("ignore")
        self.output = redirect_stdout(io.StringIO())
        self.output.__enter__()

    def __exit__(self, *what):
        import matplotlib.pyplot as plt

        plt.close("all")
        self.output.__exit__(*what)
        self.warnings.__exit__(*what)


#: Arguments that open windows, which are tried where the windows are.
OF_WINDOWS = {"interactive", "display", "toolkit"}


def arguments_of(function):
    """Names of the arguments of a function that can be given by name."""
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = inspect.signature(function).parameters.values()
    return {one.name for one in parameters if one.kind not in kinds} - {"self"} - OF_WINDOWS
