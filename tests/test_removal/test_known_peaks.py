# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of the peaks of an image before they are matched."""

import numpy as np
import pytest
from images import COUNTS, ENERGY, THICKNESS, N, described

from hyperspy_zlpml.image.peaks import peak_parameters
from hyperspy_zlpml.removal.application import channel_range, known_peaks
from hyperspy_zlpml.zlp.regions import Regions

REGIONS = Regions(np.array([-np.inf, -1.0, -0.5]), np.array([3.0, 2.0, 1.0]), np.full(3, 9.0))


def test_peaks_to_apply_hold_the_limits_of_each_cluster():
    counts = COUNTS.copy()
    counts[60] = 0.0
    image = described(counts)
    labels = np.clip((THICKNESS * 2.5).astype(int), 0, 2)
    labels[61] = -1
    peaks = known_peaks(image, labels, REGIONS)
    assert np.isnan(peaks.stack()[[60, 61]]).all()
    assert not peaks.usable[[60, 61]].any()
    assert peaks.usable.sum() == N - 2
    for i in (0, 50, 80, 99):
        assert peaks.channel[i] == image.parameters.channel[i]
        assert peaks.log_intensity[i] == pytest.approx(np.log(image.parameters.intensity[i]))
        limits = (REGIONS.gain_limit[labels[i]], REGIONS.E_I[labels[i]])
        if image.vacuum[i]:
            limits = (-np.inf, np.inf)
        assert (peaks.gain_limit[i], peaks.loss_limit[i]) == limits


@pytest.mark.parametrize("given", [("E_I",), ("gain_limit",), ("E_I", "gain_limit", "E_II")])
def test_limits_of_the_user_bind_vacuum_too(given):
    image, labels = described(), np.clip((THICKNESS * 2.5).astype(int), 0, 2)
    peaks = known_peaks(image, labels, REGIONS, given_limits=given)
    vacuum = image.vacuum
    assert vacuum.any()
    for name, limit, none in (
        ("E_I", peaks.loss_limit, np.inf),
        ("gain_limit", peaks.gain_limit, -np.inf),
    ):
        expected = getattr(REGIONS, name)[labels]
        np.testing.assert_array_equal(limit[~vacuum], expected[~vacuum])
        np.testing.assert_array_equal(limit[vacuum], expected[vacuum] if name in given else none)


def test_range_of_channels_holds_all_usable_peaks():
    counts = np.stack([np.roll(COUNTS[0], k) for k in (-20, 0, 33)] + [np.zeros(ENERGY.size)])
    low, high = channel_range(described(counts))
    channel = peak_parameters(counts, ENERGY).channel[:3]
    assert (low, high) == (channel.min(), channel.max())


def test_thickness_is_counted_at_the_dose_of_the_ensemble():
    # Twice the dose: ln N0 is larger by ln 2 in every spectrum, the specimen is the same.
    image, labels = described(), np.zeros(N, int)
    once = known_peaks(image, labels, REGIONS)
    twice = known_peaks(image, labels, REGIONS, log_dose=np.log(2))
    np.testing.assert_allclose(once.log_intensity - twice.log_intensity, np.log(2))
    for name in ("channel", "centre", "fwhm", "gain_limit", "loss_limit"):
        np.testing.assert_array_equal(getattr(once, name), getattr(twice, name))
