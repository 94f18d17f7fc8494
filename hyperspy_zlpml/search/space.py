# SPDX-License-Identifier: GPL-3.0-or-later
"""Space of the settings that are searched, as parameters of Optuna."""

from hyperspy_zlpml.training.settings import TrainingSettings

#: Most hidden layers.
_MOST_LAYERS = 3
#: Most units of a hidden layer; none is no such layer.
_MOST_UNITS = 16
#: Names and values of the parameters that are one of some.
_CHOICES = {
    "activation": ("tanh", "logistic", "softsign"),
    "replica_kind": ("gaussian", "spectra"),
}
#: Names and limits of the parameters that are integers.
_INTEGERS = {
    "units_1": (2, _MOST_UNITS),
    "units_2": (0, _MOST_UNITS),
    "units_3": (0, _MOST_UNITS),
    "n_modes": (0, 8),
    "n_clusters": (1, 10),
}
#: Name and limits of the parameters that are numbers, and whether their logarithm counts.
_NUMBERS = {"prior": (0.01, 100.0, True), "limit_spread": (0.0, 0.6, False)}


def distributions():
    """Describe the parameters for Optuna.

    Returns
    -------
    dict of str to optuna.distributions.BaseDistribution
    """
    from optuna import distributions as of

    return {
        **{name: of.IntDistribution(*ends) for name, ends in _INTEGERS.items()},
        **{
            name: of.FloatDistribution(low, high, log)
            for name, (low, high, log) in _NUMBERS.items()
        },
        **{name: of.CategoricalDistribution(values) for name, values in _CHOICES.items()},
    }


def settings_of(parameters):
    """Make settings from the values of all parameters.

    Parameters
    ----------
    parameters : dict of str to int, float or str

    Returns
    -------
    TrainingSettings

    Examples
    --------
    A layer without units is none:

    >>> from hyperspy_zlpml.search.space import parameters_of, settings_of
    >>> from hyperspy_zlpml.training.settings import TrainingSettings
    >>> parameters = parameters_of(TrainingSettings())
    >>> settings_of({**parameters, "units_2": 0}).hidden_layers
    (10, 5)
    """
    others = {name: value for name, value in parameters.items() if not name.startswith("units_")}
    units = (parameters[f"units_{number + 1}"] for number in range(_MOST_LAYERS))
    return TrainingSettings(hidden_layers=tuple(n for n in units if n), **others)


def parameters_of(settings):
    """Take the values of all parameters from settings that a search starts with.

    Raises
    ------
    ValueError
        If they lie outside of what is searched.

    Examples
    --------
    >>> from hyperspy_zlpml.search.space import parameters_of
    >>> from hyperspy_zlpml.training.settings import TrainingSettings
    >>> parameters_of(TrainingSettings(hidden_layers=(3,), n_clusters=1))["units_1"]
    3
    >>> parameters_of(TrainingSettings(n_clusters=30))
    Traceback (most recent call last):
    ValueError: start: expected n_clusters from 1 to 10, got 30.
    """
    units = settings.hidden_layers
    if len(units) > _MOST_LAYERS:
        raise ValueError(f"start: expected at most {_MOST_LAYERS} hidden layers, got {len(units)}.")
    padded = (*units, *(_MOST_LAYERS - len(units)) * (0,))
    parameters = {f"units_{number + 1}": n for number, n in enumerate(padded)}
    others = ("n_modes", "n_clusters", *_NUMBERS, *_CHOICES)
    parameters |= {one: getattr(settings, one) for one in others}
    for one, (low, high, *_) in {**_INTEGERS, **_NUMBERS}.items():
        value = parameters[one]
        if isinstance(value, str) or not low <= value <= high:
            raise ValueError(f"start: expected {one} from {low} to {high}, got {value!r}.")
    return parameters
