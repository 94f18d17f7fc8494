# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps of all kinds are those of the spectra, whatever the axes, units and chunks of the image.

Temperatures, which need gains, are in a file of their own.
"""

import numpy as np
import pytest
from hyperspy.signals import BaseSignal

from hyperspy_zlpml.data import dielectric_phantom
from hyperspy_zlpml.physics import Plasmon, Reason
from hyperspy_zlpml.signals.maps.native import Measured
from hyperspy_zlpml.signals.maps.words import has_legend, units_of

QUIET = {"show_progressbar": False}
QUICK = {"n_clusters": 2, "random_state": 0, **QUIET}
N = 2.62
#: Some energies that are given in the units of the axis.
MEV = ("band_gap.gap.value", "fit_peaks.position.value", "retardation.energy")


@pytest.fixture(scope="module")
def signal():
    return dielectric_phantom((4, 3), random_state=7001, n_channels=512, scale=0.1).signal


@pytest.fixture(scope="module")
def removal(signal):
    return signal.deepcopy().remove_zlp_ml(n_replicas=4, **QUICK)


@pytest.fixture(scope="module")
def reuse(removal):
    """Remove from another form of the image, with the same ensemble."""
    return lambda other, **options: other.remove_zlp_ml(
        ensemble=removal.ensemble, **{**QUICK, **options}
    )


@pytest.fixture(scope="module")
def known(signal, reuse):
    return parts_of(all_maps(reuse(signal.deepcopy())))


def all_maps(removal, pool=None, ev=1.0):
    """Results of all methods, with energies in units of so many to the eV."""
    pooled = {"pool": pool}
    found = removal.maps(
        thickness={"n": N},
        dielectric_function={"n": N},
        band_gap={"left": 1.5 * ev, "right": 9.0 * ev, **pooled},
        fit_peaks={"peaks": Plasmon(24.0 * ev, 6.0 * ev), **pooled},
        **QUIET,
    )
    dielectric = found.dielectric_function
    return {
        **found,
        "retardation": removal.retardation(dielectric=dielectric, right=4.45 * ev, **QUIET),
        "single_scattering": removal.single_scattering(**QUIET),
    }


def parts_of(results):
    """List the signals of results by their names."""
    parts = {}
    for of, found in results.items():
        inner = found._parts() if hasattr(found, "_parts") else {"": found}
        for name, part in inner.items():
            kinds = ("value", *part.errors) if isinstance(part, Measured) else ()
            several = {kind: getattr(part, kind) for kind in kinds} or {"": part}
            parts |= {f"{of}.{name}.{kind}".strip("."): one for kind, one in several.items()}
    return {name: one for name, one in parts.items() if isinstance(one, BaseSignal)}


def assert_same(found, known, rtol):
    assert set(found) == set(known)
    for name, one in found.items():
        expected = np.asarray(known[name].data) * (1e3 if units_of(one) == "meV" else 1)
        numbers = np.asarray(one.data).reshape(expected.shape)
        # Spectra cross zero; errors that are none are rounding.
        size = max(np.nanmedian(np.abs(np.append(expected, np.nan))), 1e-9 / rtol)
        np.testing.assert_allclose(numbers, expected, rtol=rtol, atol=rtol * size, err_msg=name)


def test_all_kinds_have_numbers(known):
    """Without which the tests below would ask nothing."""
    names = ("band_gap.gap", "fit_peaks.position", "thickness.by_index", "retardation.excess")
    for name in (*(f"{one}.value" for one in names), "dielectric_function.epsilon", *MEV):
        assert np.isfinite(known[name].data).mean() > 0.4, name


@pytest.mark.parametrize("pool", [None, 2, "clusters"])
def test_lazy_maps_are_those_in_memory(signal, reuse, pool):
    lazy = signal.as_lazy()
    lazy.data = lazy.data.rechunk((2, 3, 256))
    found = parts_of(all_maps(reuse(lazy), pool))
    assert_same(found, parts_of(all_maps(reuse(signal.deepcopy()), pool)), rtol=1e-4)
    for name, one in found.items():
        assert one._lazy == bool(one.axes_manager.signal_dimension), name


@pytest.mark.parametrize("shape", [(12,), (2, 3, 2)])
def test_navigation_axes_do_not_count(signal, reuse, known, shape):
    other = type(signal)(
        signal.data.reshape(*shape[::-1], -1), metadata=signal.metadata.as_dictionary()
    )
    _copy_axis(signal, other)
    found = all_maps(reuse(other))
    assert_same(parts_of(found), known, rtol=1e-6)
    for name, one in parts_of(found).items():
        assert one.axes_manager.navigation_shape == shape, name
    found["dielectric_function"].plot()


def test_single_spectra_have_single_numbers(signal, reuse, known):
    results = all_maps(reuse(signal.inav[3, 2], n_clusters=1))
    parts = parts_of(results)
    for name, one in parts.items():
        assert one.axes_manager.navigation_shape in ((), (1,)), name
    for name in ("thickness.t_over_lambda", "fit_peaks.position"):
        value, error = (known[f"{name}.{kind}"].data[2, 3] for kind in ("value", "std"))
        # Its limits are its own.
        assert abs(float(np.ravel(parts[f"{name}.value"].data)[0]) - value) < 3 * error, name
    assert np.isfinite(parts["band_gap.gap.value"].data).all()
    assert np.ravel(parts["retardation.probability"].data)[0] > 0.9
    results["dielectric_function"].plot()


def test_units_of_the_axis_do_not_count(signal, reuse, known):
    other = signal.deepcopy()
    other.axes_manager.signal_axes[0].convert_to_units("meV")
    found = parts_of(all_maps(reuse(other), ev=1e3))
    assert_same(found, known, rtol=1e-4)
    for name in MEV:
        assert found[name].metadata.Signal.quantity == "Energy (meV)"


@pytest.mark.parametrize("pool", [None, 2, "clusters"])
def test_pixels_that_are_left_out_have_no_number(signal, reuse, pool):
    mask = np.zeros((3, 4), bool)
    mask[0, :2] = True
    for name, one in parts_of(
        all_maps(reuse(signal.deepcopy(), navigation_mask=mask), pool)
    ).items():
        if has_legend(one):
            np.testing.assert_array_equal(one.data == Reason.LEFT_OUT, mask, err_msg=name)
        else:
            assert np.isnan(one.data[mask]).all(), name


def _copy_axis(one, other):
    axis, copy = (each.axes_manager.signal_axes[0] for each in (one, other))
    copy.offset, copy.scale, copy.units = axis.offset, axis.scale, axis.units
