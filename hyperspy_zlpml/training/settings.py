# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of a training: architecture of the networks, and the constants that matter most."""

from dataclasses import asdict, dataclass, fields

from hyperspy_zlpml import arguments
from hyperspy_zlpml.image.clusters import check_clustering
from hyperspy_zlpml.network.weights import ACTIVATIONS
from hyperspy_zlpml.registration.variation import MOST_MODES
from hyperspy_zlpml.training.replicas import DRAW

#: Most hidden layers, and most units of one.
MOST_LAYERS, MOST_UNITS = 5, 64
#: Smallest and largest inverse variance of the weights.
PRIORS = (1e-6, 1e6)
#: Most modes in which peaks vary.
MOST_MODES_OF_ANY = 12
#: ``E_I`` of a replica is lowered by less than this fraction.
LARGEST_SPREAD = 0.9
#: Where settings come from, in words.
WHERE_SETTINGS = " (found.settings of a search, or hyperspy_zlpml.TrainingSettings(...))"


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of a training, for ``remove_zlp_ml(settings=...)``; the defaults serve most images.

    Attributes
    ----------
    hidden_layers : tuple of int
        Units of each hidden layer of the networks; those of Roest et al., Ultramicroscopy 222,
        113202 (2021), by default.
    activation : "tanh", "logistic" or "softsign"
        Function of the hidden units.
    prior : float
        Inverse variance of the weights about zero: larger ones keep the networks closer to the
        reference.
    n_modes : int
        Most modes in which peaks are seen to vary from spectrum to spectrum, 0 to 12. What is expected of the tails of few
        spectra comes on top.
    limit_spread : float
        ``E_I`` of every replica is lowered by a random fraction up to this, 0 to 0.9.
    n_clusters : int or "auto"
        Clusters of equal thickness, in place of the argument of that name.
    replica_kind : "gaussian" or "spectra"
        Kind of pseudo-data, in place of the argument of that name.

    Raises
    ------
    ValueError
        If a setting is not what it must be.

    Examples
    --------
    >>> from hyperspy_zlpml import TrainingSettings
    >>> from hyperspy_zlpml.data import ws2_like
    >>> settings = TrainingSettings(hidden_layers=(8, 8), n_clusters=2)
    >>> s = ws2_like((4, 4), n_channels=512, random_state=0).signal
    >>> r = s.remove_zlp_ml(
    ...     settings=settings, n_replicas=4, random_state=0, show_progressbar=False
    ... )
    >>> r.ensemble.networks.layers
    (2, 8, 8, 1)
    """

    hidden_layers: tuple[int, ...] = (10, 15, 5)
    activation: str = "tanh"
    prior: float = 1.0
    n_modes: int = MOST_MODES
    limit_spread: float = 0.3
    n_clusters: int | str = 5
    replica_kind: str = "gaussian"

    def __post_init__(self):
        self._set("hidden_layers", _checked_layers(self.hidden_layers))
        arguments.choice(self.activation, "activation", ACTIVATIONS)
        self._set("prior", arguments.within(self.prior, "prior", *PRIORS))
        self._set("n_modes", arguments.count(self.n_modes, "n_modes", 0, MOST_MODES_OF_ANY))
        spread = arguments.within(self.limit_spread, "limit_spread", 0, LARGEST_SPREAD)
        self._set("limit_spread", spread)
        check_clustering(self.n_clusters, "zlp")
        kind = str if isinstance(self.n_clusters, str) else int
        self._set("n_clusters", kind(self.n_clusters))
        arguments.choice(self.replica_kind, "replica_kind", DRAW)

    def _set(self, name, value):
        """Keep a setting as a plain number or text, that code and files can be written with."""
        object.__setattr__(self, name, value)

    @property
    def differences(self):
        """Settings that are not the defaults, by their names (dict)."""
        return {name: value for name, value in asdict(self).items() if value != DEFAULTS[name]}

    def __str__(self):
        return ", ".join(f"{n} {_written(v)}" for n, v in self.differences.items()) or "defaults"


#: Default of every setting.
DEFAULTS = {one.name: one.default for one in fields(TrainingSettings)}


def _checked_layers(layers):
    """Take units of hidden layers as a tuple; raise ValueError unless they can be that."""
    units = arguments.integers(layers, "hidden_layers")
    if not 1 <= len(units) <= MOST_LAYERS or not all(1 <= n <= MOST_UNITS for n in units):
        arguments.refuse(
            layers,
            "hidden_layers",
            f"units of 1 to {MOST_LAYERS} hidden layers, 1 to {MOST_UNITS} each, as (10, 15, 5)",
        )
    return units


def _written(value):
    """Write a setting as text: layers as 10-15-5, numbers with three digits."""
    if isinstance(value, tuple):
        return "-".join(map(str, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)
