# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps beside their errors, whatever the number of navigation axes."""

import numpy as np
import pytest
from hyperspy.signals import BaseSignal

from hyperspy_zlpml.signals.maps.figure import plot_maps
from hyperspy_zlpml.signals.maps.native import Measured


def map_of(shape, value=2.0):
    signal = BaseSignal(np.full(shape or (1,), value)).transpose(signal_axes=[])
    signal.metadata.set_item("Signal.quantity", "Energy (eV)")
    return signal if shape else signal.inav[0]


def measured(shape, value=2.0, error=1.0):
    """Quantity whose two errors make up this one."""
    return Measured(map_of(shape, value), map_of(shape, 0.6 * error), map_of(shape, 0.8 * error))


def test_an_image_has_its_relative_error_beside():
    gap = measured((3, 4), error=0.1)
    gap.value.data[0, 0] = np.nan
    axes = plot_maps({"gap": gap})
    values, errors = (one.images[0].get_array() for one in axes[:2])
    assert values.mask[0, 0]
    assert errors.mask[0, 0]
    np.testing.assert_allclose(errors.compressed(), 5.0)


def test_every_map_has_a_row():
    axes = plot_maps({"gap": measured((3, 4)), "exponent": measured((3, 4))})
    assert len([one for one in axes if one.images]) == 4


@pytest.mark.parametrize("shape", [(5,), ()])
def test_a_line_and_a_single_number_have_error_bars(shape):
    axes = plot_maps({"gap": measured(shape)})
    assert len(axes) == 1
    assert axes[0].containers[0].has_yerr
    assert axes[0].get_ylabel() == "Energy (eV)"


def test_a_map_without_numbers_is_grey():
    (values, *_) = plot_maps({"gap": measured((3, 4), np.nan, np.nan)})
    assert values.images[0].get_array().mask.all()


def test_more_than_an_image_is_refused():
    with pytest.raises(ValueError, match="plot: expected maps of at most two dimensions, got 3"):
        plot_maps({"gap": measured((2, 3, 4))})
