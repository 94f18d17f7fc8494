# SPDX-License-Identifier: GPL-3.0-or-later
"""Component of a model that is the zero-loss peak of a trained ensemble.

For spectra whose zero-loss peak, plasmon and excitons are fitted together; to subtract the peak
with its error, use ``remove_zlp_ml``.
"""

import json
from functools import lru_cache

import numpy as np
from hyperspy.component import Component

from hyperspy_zlpml import arguments
from hyperspy_zlpml.components.shapes import MODE_LIMITS, Shapes, check_mode
from hyperspy_zlpml.compute import as_blocks
from hyperspy_zlpml.compute.user_warnings import warn_user
from hyperspy_zlpml.ensemble.ensemble import Ensemble
from hyperspy_zlpml.ensemble.file import LARGEST_FILE, LONGEST_HEADER
from hyperspy_zlpml.ensemble.parts import FORMAT_VERSION, to_parts
from hyperspy_zlpml.ensemble.reading import from_parts
from hyperspy_zlpml.ensemble.validation import is_integer
from hyperspy_zlpml.image.peaks import STATUS_TEXT, measure_peaks, peak_parameters

#: Key under which what is not an array is stored, as JSON.
_FACTS = "facts"
#: A width below this, in units of the mean FWHM, counts as this: an optimiser may try zero.
_NARROWEST = 1e-3
#: Numbers worked on at once in whole images.
_NUMBERS_AT_ONCE = 2**17
#: Fewer channels than this do not show a peak.
_FEWEST_CHANNELS = 16


def ensemble_to_dictionary(ensemble):
    """Write an ensemble as what HyperSpy can store: arrays, and one string of JSON.

    Parameters
    ----------
    ensemble : Ensemble

    Returns
    -------
    dict of str to ndarray or str
    """
    arrays, facts = to_parts(ensemble)
    return {**arrays, _FACTS: json.dumps({"format_version": FORMAT_VERSION, "ensemble": facts})}


def ensemble_from_dictionary(stored):
    """Read an ensemble from what a file makes of :func:`ensemble_to_dictionary`.

    Parameters
    ----------
    stored : dict
        Arrays may be lazy, the string may be bytes or an array of no dimension.

    Returns
    -------
    Ensemble

    Raises
    ------
    ValueError
        If it is no such dictionary, or one of a newer version of this package.
    """
    try:
        _check_sizes(stored)
        facts = json.loads(np.asarray(stored[_FACTS]).item())
        version = facts["format_version"]
        if not is_integer(version) or version < 1:
            raise ValueError("no format version")
        if version <= FORMAT_VERSION:
            arrays = {name: np.asarray(value) for name, value in stored.items() if name != _FACTS}
            return from_parts(arrays, facts["ensemble"])
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(
            "ensemble: expected the dictionary that a stored model holds, got one that is not "
            f"({type(error).__name__}: {error}); give the Ensemble itself."
        ) from error
    raise ValueError(
        f"ensemble: expected a dictionary of format {FORMAT_VERSION} or older, got {version}: it "
        "is from a newer version of hyperspy_zlpml, update it."
    )


def _check_sizes(stored):
    """Raise ValueError where arrays claim more than an ensemble can hold, before they are read."""
    sizes = {
        name: len(v) if isinstance(v, (str, bytes)) else v.nbytes for name, v in stored.items()
    }
    largest = max(sizes, key=sizes.get)
    if not sum(sizes.values()) <= LARGEST_FILE:
        raise ValueError(f"{largest} claims {sizes[largest]} bytes")
    text = sizes[_FACTS] / (4 if hasattr(stored[_FACTS], "nbytes") else 1)  # letters of four bytes
    if text > LONGEST_HEADER:
        raise ValueError(f"{_FACTS} claims {text:.0f} letters")


def _checked_ensemble(ensemble):
    if isinstance(ensemble, Ensemble):
        return ensemble
    if isinstance(ensemble, dict):
        return ensemble_from_dictionary(ensemble)
    raise ValueError(
        "ensemble: expected an Ensemble (from train_zlp_ml, hyperspy_zlpml.load or the .ensemble "
        f"of a removal), got {type(ensemble).__name__}."
    )


def _checked_thickness(thickness):
    value = arguments.array(thickness, "thickness")
    return arguments.number(
        value.item() if value.size == 1 else thickness,  # files make an array of it
        "thickness",
        "t/lambda of the spectra, a number of at least 0",
        lambda one: one >= 0,
    )


# The signals bring scikit-learn, which models that are only looked at can do without.
@lru_cache
def _ev_per_unit(units):
    from hyperspy_zlpml.signals.arrays import ev_per_unit

    return ev_per_unit(units, "model")


def _energies(signal):
    from hyperspy_zlpml.signals.arrays import energy_axis

    return energy_axis(signal)


class ZLPNet(Component):
    r"""Zero-loss peak of a trained ensemble, for models beside a plasmon and excitons.

    .. math::

       f(E) = \frac{I}{w F A_{0.5}} \exp s_m\left(\frac{E - E_0}{w F}\right)

    with :math:`s_m` the logarithm of the shape that ``mode`` chooses, :math:`A_{0.5}` the area of
    the median shape and :math:`F` the mean FWHM of the spectra trained on.

    ============== =========== ===================================================================
    Variable       Parameter   Meaning
    ============== =========== ===================================================================
    :math:`I`      intensity   Counts under the peak: under the median shape, over the grid of the
                               ensemble. Linear.
    :math:`E_0`    centre      Position of the peak, in the units of the axis.
    :math:`w`      width       FWHM in units of :math:`F`.
    :math:`m`      mode        Which shape. Between 0 and 1: that quantile of the logarithms of the
                               replicas, energy by energy; 0.5, the default, is the median. 1, 2,
                               ...: that replica. Not free unless you free it, and then a quantile.
    ============== =========== ===================================================================

    Parameters
    ----------
    ensemble : Ensemble
        From ``train_zlp_ml``, :func:`hyperspy_zlpml.load`, or the ``ensemble`` of a removal. Also
        the dictionary that a stored model holds.
    thickness : float
        t/lambda of the spectra, where the shape depends on it; kept within the range trained on.

    Attributes
    ----------
    ensemble : Ensemble
    thickness : float

    Raises
    ------
    ValueError
        If an argument is of another kind; later, from what is computed, if ``mode`` is none of
        the above or the axis of the model is not one of energies.

    Notes
    -----
    A component of a model has the units of the axis of the model. Alone, it has those of the
    signal its parameters were estimated on, and eV before.

    A free ``mode`` outside 0.001 to 0.999 counts as the nearer of these, so that no fit stops
    because of it; use ``bounded=True`` to end inside. A ``width`` below 0.001 counts as 0.001.

    Copies (``copy.deepcopy``, ``pickle``) belong to no model, and are twins of no other parameter.

    Examples
    --------
    >>> from hyperspy_zlpml.components import ZLPNet
    >>> from hyperspy_zlpml.data import ws2_like
    >>> s = ws2_like((4, 4), random_state=0, n_channels=512).signal
    >>> ensemble = s.train_zlp_ml(
    ...     n_clusters=1, n_replicas=4, random_state=0, show_progressbar=False
    ... )
    >>> m = s.create_model(auto_background=False)
    >>> zlp = ZLPNet(ensemble)
    >>> m.append(zlp)
    >>> zlp.estimate_parameters(s)
    True
    >>> bool(0.9 < zlp.width.value < 1.1)  # in units of the mean FWHM
    True
    """

    def __init__(self, ensemble, thickness=0.0):
        self._ensemble = _checked_ensemble(ensemble)
        self._thickness = _checked_thickness(thickness)
        self._shapes = Shapes(self._ensemble, self._thickness)
        self._fwhm = float(np.exp(self._ensemble.seen.log_fwhm.mean))
        self._own_ev_per_unit = 1.0
        super().__init__(["intensity", "centre", "width", "mode"], ["intensity"])
        self.intensity.value = 1.0
        self.centre.value = 0.0
        self.width.value = 1.0
        self.mode.value = 0.5
        self.intensity.bmin = 0.0
        self.width.bmin = _NARROWEST
        self.mode.bmin, self.mode.bmax = MODE_LIMITS
        self.mode.free = False
        self._position = self.centre
        self.convolved = False
        self._whitelist.update(self._init_arguments())

    @property
    def ensemble(self):
        """Trained ensemble."""
        return self._ensemble

    @property
    def thickness(self):
        """Thickness, t/lambda, for which the shapes are taken."""
        return self._thickness

    @property
    def fwhm(self):
        """Full width at half maximum at the present ``width``, in the units of the axis."""
        return self._reduced(0.0)[1]

    def _init_arguments(self):
        stored = ensemble_to_dictionary(self._ensemble)
        return {"ensemble": ("init", stored), "thickness": ("init", self._thickness)}

    def _load_dictionary(self, dic):
        twins = super()._load_dictionary(dic)
        # What the file held may be lazy, and the file may be replaced by the next one saved.
        self._whitelist.update(self._init_arguments())
        return twins

    # Those that HasTraits has know nothing of parameters and models.
    def __deepcopy__(self, memo):
        return _rebuild(*self._parts())

    def __copy__(self):
        return _rebuild(*self._parts())

    def __reduce_ex__(self, protocol):
        return _rebuild, self._parts()

    def _parts(self):
        state = self.as_dictionary(fullcopy=True)
        state.update(active=self.active, active_is_multidimensional=False, _active_array=None)
        return type(self), state, self._ev_per_unit()

    def _ev_per_unit(self):
        if self.model is None:
            return self._own_ev_per_unit
        return _ev_per_unit(self.model.axes_manager.signal_axes[0].units)

    def _reduced(self, x, centre=None, width=None):
        """Compute energies from the centre in FWHM, and the FWHM in the units of the axis."""
        x = arguments.finite_array(x, "x")
        centre = self.centre.value if centre is None else centre
        width = self.width.value if width is None else width
        fwhm = np.maximum(width, _NARROWEST) * (self._fwhm / self._ev_per_unit())
        return (x - centre) / fwhm, fwhm

    def _shape(self):
        return self._shapes.at(self._mode(self.mode.value))

    def _mode(self, mode):
        free = self.mode.free or self.mode.twin is not None
        return check_mode(mode, self._shapes.n_replicas, free)

    def function(self, x):
        """Compute the peak at the present values of the parameters.

        Parameters
        ----------
        x : ndarray of shape (n_energy,)
            Energies in the units of the axis.

        Returns
        -------
        ndarray of shape (n_energy,)
            Counts per unit of the axis.
        """
        return self.intensity.value * self.grad_intensity(x)

    def grad_intensity(self, x):
        """Compute the derivative of :meth:`function` to ``intensity``.

        Parameters
        ----------
        x : ndarray of shape (n_energy,)
            Energies in the units of the axis.

        Returns
        -------
        ndarray of shape (n_energy,)
        """
        u, fwhm = self._reduced(x)
        return self._shape().density(u) / fwhm

    def grad_centre(self, x):
        """Compute the derivative of :meth:`function` to ``centre``.

        Parameters
        ----------
        x : ndarray of shape (n_energy,)
            Energies in the units of the axis.

        Returns
        -------
        ndarray of shape (n_energy,)
        """
        u, fwhm = self._reduced(x)
        density, slope = self._shape().density_and_slope(u)
        return (self.intensity.value / -(fwhm**2)) * density * slope

    def grad_width(self, x):
        """Compute the derivative of :meth:`function` to ``width``.

        Parameters
        ----------
        x : ndarray of shape (n_energy,)
            Energies in the units of the axis.

        Returns
        -------
        ndarray of shape (n_energy,)
        """
        u, fwhm = self._reduced(x)
        width = self.width.value
        if width < _NARROWEST:
            return np.zeros_like(u)
        density, slope = self._shape().density_and_slope(u)
        return (self.intensity.value / -(fwhm * width)) * density * (1 + u * slope)

    def grad_mode(self, x):
        """Compute the derivative of :meth:`function` to ``mode``, for quantiles; 0 for replicas.

        Parameters
        ----------
        x : ndarray of shape (n_energy,)
            Energies in the units of the axis.

        Returns
        -------
        ndarray of shape (n_energy,)
        """
        u, _ = self._reduced(x)
        if self._mode(self.mode.value) != self.mode.value:
            return np.zeros_like(u)
        return self.function(x) * self._shape().mode_slope(u)

    def function_nd(self, axis, parameters_values=None):
        """Compute the peaks at all positions of the navigation space.

        Parameters
        ----------
        axis : ndarray of shape (n_energy,)
            Energies in the units of the axis.
        parameters_values : list of ndarray of shape (...), optional
            Values of the parameters in the order of ``parameters``; default their maps, and their present
            value where these hold none.

        Returns
        -------
        ndarray of shape (..., n_energy)
            Counts per unit of the axis; of shape (n_energy,) where there is no navigation space.
        """
        axis = arguments.finite_array(axis, "axis")
        if axis.ndim != 1 or not axis.size:
            arguments.refuse(axis, "axis", "energies in one dimension")
        if parameters_values is not None:
            parameters_values = _checked_values(parameters_values, len(self.parameters))
        if not self._is_navigation_multidimensional:
            return self.function(axis)
        if parameters_values is None:
            parameters_values = [
                np.where(one.map["is_set"], one.map["values"], one.value) for one in self.parameters
            ]
        values = np.broadcast_arrays(*(np.asarray(value, float) for value in parameters_values))
        shape = values[0].shape
        result = np.empty((values[0].size, axis.size))
        intensity, centre, width, mode = (value.ravel() for value in values)
        for one in np.unique(mode):
            density = self._shapes.at(self._mode(one)).density
            rows = np.flatnonzero(mode == one)
            step = max(_NUMBERS_AT_ONCE // axis.size, 1)
            for start in range(0, rows.size, step):
                block = rows[start : start + step]
                u, fwhm = self._reduced(axis, centre[block, None], width[block, None])
                result[block] = density(u) * (intensity[block, None] / fwhm)
        return result.reshape(shape + (axis.size,))

    def estimate_parameters(self, signal, x1=None, x2=None, only_current=False):
        """Estimate intensity, centre and width from the peaks themselves; ``mode`` is kept.

        Spectra without a usable peak get the median of the others; a warning says so.

        Parameters
        ----------
        signal : Signal1D
            Its energy axis must be uniform, increasing and in units of energy; lazy or not, of
            any navigation dimension.
        x1, x2 : float, optional
            Range in which to look, in the units of the axis.
        only_current : bool
            Estimate at the present position only.

        Returns
        -------
        bool
            Whether any spectrum has a usable peak; if none has, nothing is changed.

        Raises
        ------
        ValueError
            If the axis is not one of energies, or the range holds too few channels.
        """
        arguments.flag(only_current, "only_current")
        energy, unit = _energies(signal)
        axis = signal.axes_manager.signal_axes[0]
        channels = _channels(axis, x1, x2)
        if only_current:
            data = signal._get_current_data(as_numpy=True)
            peaks = peak_parameters(data[channels], energy[channels])
        else:
            peaks = _peaks_of(signal, energy, channels)
        found = _estimates(peaks)
        if found is None:
            return False
        super()._estimate_parameters(signal)
        if self.model is None:
            self._own_ev_per_unit = unit
        intensity, centre, fwhm = found
        counts = 1.0 if axis.is_binned else axis.scale
        core = self._shapes.core(self._mode(self.mode.value))
        values = {
            self.intensity: intensity * counts / core,
            self.centre: centre / self._ev_per_unit(),
            self.width: fwhm / self._fwhm,
        }
        if only_current:
            _set_values(values)
            return True
        _set_maps(values)
        unset = ~self.mode.map["is_set"]
        self.mode.map["values"][unset] = self.mode.value
        self.mode.map["is_set"][:] = True
        self.fetch_stored_values()
        return True


def _rebuild(cls, state, ev_per_unit):
    """Make a component from what :meth:`ZLPNet.as_dictionary` holds, outside any model."""
    component = cls(state["ensemble"], state["thickness"])
    component._load_dictionary(state)
    component._own_ev_per_unit = ev_per_unit
    return component


def _checked_values(values, n_parameters):
    """Take values of all parameters as arrays; raise ValueError unless they are of one shape."""
    if not arguments.is_sequence(values) or len(values) != n_parameters:
        arguments.refuse(values, "parameters_values", f"{n_parameters} arrays, one per parameter")
    names = [f"parameters_values[{number}]" for number in range(n_parameters)]
    arrays = [arguments.real_array(value, name) for value, name in zip(values, names, strict=True)]
    return arguments.broadcast(dict(zip(names, arrays, strict=True)))


def _channels(axis, x1, x2):
    """Find the slice of the channels within limits, which are of the axis and may be None."""
    for name, value in (("x1", x1), ("x2", x2)):
        if value is not None:
            arguments.number(value, name)
    first, last = axis.value_range_to_indices(x1, x2)
    if last + 1 - first < _FEWEST_CHANNELS:
        raise ValueError(
            f"x1, x2: expected a range of at least {_FEWEST_CHANNELS} channels about the "
            f"zero-loss peak, got {x1!r} to {x2!r}, which holds {last + 1 - first}."
        )
    return slice(first, last + 1)


def _peaks_of(signal, energy, channels):
    """Measure the peaks of all spectra, flattened."""
    data = signal.data[..., channels]
    if signal._lazy:
        data = as_blocks(data)
    return measure_peaks(data, energy[channels])[0]


def _estimates(peaks):
    """Take intensity, centre and FWHM with gaps filled, or None where there is no peak at all."""
    usable = peaks.usable
    if not usable.all():
        reasons = ", ".join(
            f"{(peaks.status == code).sum()} {text}"
            for code, text in STATUS_TEXT.items()
            if (peaks.status == code).any()
        )
        fate = "they get the median of the others" if usable.any() else "nothing is estimated"
        warn_user(
            f"{(~usable).sum()} of {usable.size} spectra without a usable zero-loss peak "
            f"({reasons}): {fate}."
        )
    if not usable.any():
        return None
    values = (peaks.intensity, peaks.centre, peaks.fwhm)
    return [np.where(usable, value, np.median(value[usable])) for value in values]


def _set_values(values):
    for parameter, value in values.items():
        parameter.value = float(value)


def _set_maps(values):
    for parameter, value in values.items():
        parameter.map["values"][:] = value.reshape(parameter.map.shape)
        parameter.map["is_set"][:] = True
