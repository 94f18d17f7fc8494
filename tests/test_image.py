# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about an image: which spectra are used, for what, and what is told about the rest."""

from dataclasses import replace

import numpy as np
import pytest

from hyperspy_zlpml import image as module
from hyperspy_zlpml.ensemble import Ensemble
from hyperspy_zlpml.image import (
    NoZeroLossPeakError,
    channel_range,
    choose_sample,
    clusters_of,
    describe,
    excluded_parameters,
    measurement_messages,
    nearest_labels,
    outside_message,
    peaks_to_apply,
    training_samples,
    unusable_message,
)
from hyperspy_zlpml.zlp.noise import NoiseModel
from hyperspy_zlpml.zlp.peaks import peak_parameters
from hyperspy_zlpml.zlp.regions import Regions
from hyperspy_zlpml.zlp.registration import VACUUM

STEP, FWHM = 0.05, 0.45
ENERGY = STEP * np.arange(-250, 500)
N_VACUUM, N = 40, 100


def counts_of(thickness, pedestal=0.0, height=1e5, seed=0):
    """Peaks over a pedestal, and losses from 1.6 eV in proportion to thickness."""
    rng = np.random.default_rng(seed)
    thickness = np.asarray(thickness)[:, None]
    peak = (1 + 1.66 * (ENERGY / FWHM) ** 2) ** -2.5
    loss = np.clip(1 - np.exp(-(ENERGY - 1.6)), 0, None)
    expected = height * np.exp(-thickness) * (peak + thickness * loss * peak.sum() / loss.sum())
    return rng.poisson(expected) + 5.0 * rng.standard_normal(expected.shape) + pedestal


THICKNESS = np.r_[np.zeros(N_VACUUM), np.linspace(0.1, 1.2, N - N_VACUUM)]
COUNTS = counts_of(THICKNESS)


def described(counts=COUNTS, index=None, **settings):
    parameters = peak_parameters(counts, ENERGY)
    index = np.arange(len(counts)) if index is None else index
    return describe(parameters, ENERGY, index, counts[index], **settings)


# --- samples --------------------------------------------------------------------------------------


def test_small_images_are_read_whole():
    excluded = np.arange(50) % 7 == 0
    index = choose_sample(50, excluded, None, np.random.default_rng(0))
    np.testing.assert_array_equal(index, np.flatnonzero(~excluded))


def test_large_images_are_sampled_without_the_excluded(monkeypatch):
    monkeypatch.setattr(module, "LARGEST_SAMPLE", 100)
    excluded = np.random.default_rng(1).random(2000) < 0.3
    one, same, other = (
        choose_sample(2000, excluded, None, np.random.default_rng(s)) for s in (0, 0, 1)
    )
    assert one.size == np.unique(one).size == 100
    assert (np.diff(one) > 0).all() and not excluded[one].any()
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_marked_vacuum_is_read_whatever_the_sample(monkeypatch):
    monkeypatch.setattr(module, "LARGEST_SAMPLE", 100)
    excluded, vacuum = np.zeros(2000, bool), np.zeros(2000, bool)
    vacuum[500:540], excluded[500:510] = True, True
    index = choose_sample(2000, excluded, vacuum, np.random.default_rng(0))
    assert np.isin(np.arange(510, 540), index).all()
    assert not np.isin(np.arange(500, 510), index).any()


# --- description ----------------------------------------------------------------------------------


def test_vacuum_and_detector_are_found():
    image = described()
    assert image.vacuum[:N_VACUUM].mean() > 0.9
    assert not image.vacuum[N_VACUUM:].any()
    assert image.detector.noise.gain == pytest.approx(1, rel=0.1)
    assert image.usable.all()


def test_pedestal_is_taken_off_everything():
    one, raised = described(), described(COUNTS + 500.0)
    pedestal = raised.detector.pedestal
    assert pedestal == pytest.approx(500, abs=2)
    np.testing.assert_allclose(raised.sample_counts, COUNTS + 500 - pedestal)
    np.testing.assert_allclose(raised.parameters.total, one.parameters.total, rtol=0.01)
    np.testing.assert_allclose(raised.log_intensity, one.log_intensity, atol=0.01)


def test_what_the_user_gives_is_taken():
    vacuum, noise = np.arange(N) < 5, NoiseModel(2.0, 1.0, "the signal")
    image = described(vacuum=vacuum, noise=noise)
    np.testing.assert_array_equal(image.vacuum, vacuum)
    assert image.detector.noise is noise


def test_unusable_spectra_leave_the_sample():
    counts = COUNTS.copy()
    counts[3], counts[50, 7] = 0.0, np.nan
    image = described(counts, np.arange(0, 60))
    assert 3 not in image.sample_index and 50 not in image.sample_index
    assert len(image.sample_counts) == image.sample_index.size == 58
    assert np.isnan(image.log_intensity[[3, 50]]).all()
    assert not image.vacuum[3]


@pytest.mark.parametrize(
    "value, told", [(np.nan, "3 with NaN or infinite counts"), (0.0, "3 without a zero-loss peak")]
)
def test_an_image_without_a_peak_is_an_error_that_tells_why(value, told):
    with pytest.raises(NoZeroLossPeakError, match=f"any of 3 spectra .{told}"):
        described(np.full((3, ENERGY.size), value))


def test_excluded_spectra_are_unusable_but_no_complaint():
    parameters = peak_parameters(COUNTS, ENERGY)
    excluded = excluded_parameters(parameters, np.arange(N) < 10)
    np.testing.assert_array_equal(excluded.usable, np.arange(N) >= 10)
    assert unusable_message(excluded) is None
    assert parameters.usable.all()


def test_unusable_spectra_are_counted_by_reason():
    counts = COUNTS.copy()
    counts[:2], counts[5] = np.nan, 0.0
    message = unusable_message(peak_parameters(counts, ENERGY))
    assert "3 of 100 spectra" in message
    assert "2 with NaN" in message and "1 without a zero-loss peak" in message


# --- warnings -------------------------------------------------------------------------------------


def test_saturated_peaks_are_told():
    assert measurement_messages(described()) == []
    (message,) = measurement_messages(described(np.minimum(COUNTS, 5e4)))
    assert "saturated" in message
    half = np.where(np.arange(N)[:, None] < 10, np.minimum(COUNTS, 2e4), COUNTS)
    assert "10 of 100" in measurement_messages(described(half))[0]


def test_peaks_of_few_channels_are_told():
    u = (ENERGY - np.linspace(-0.5, 0.5, 20)[:, None] * STEP) / (1.5 * STEP)
    counts = np.random.default_rng(0).poisson(1e5 * np.exp(-2.77 * u**2)) + np.zeros(u.shape)
    assert any("channels wide" in m for m in measurement_messages(described(counts)))


# --- clusters and training ------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["zlp", "log_ratio", "map"])
def test_clusters_are_ordered_by_thickness(by):
    image = described()
    clusters, name = clusters_of(image, THICKNESS if by == "map" else by, 4, 0)
    assert name == by
    means = [THICKNESS[clusters.labels == k].mean() for k in range(4)]
    assert (np.diff(means) > 0).all()


def test_unusable_spectra_belong_to_no_cluster():
    counts = COUNTS.copy()
    counts[7] = 0.0
    clusters, _ = clusters_of(described(counts), "zlp", 3, 0)
    np.testing.assert_array_equal(np.flatnonzero(clusters.labels < 0), [7])


def test_training_samples_and_held_out_vacuum_share_no_spectrum():
    image = described()
    clusters, _ = clusters_of(image, "zlp", 3, 0)
    (sample,), held_out = training_samples(image, clusters.labels, None, np.random.default_rng(0))
    n_vacuum = image.vacuum.sum()
    assert len(held_out.label) == int(0.2 * n_vacuum)
    assert (held_out.label == VACUUM).all()
    assert (sample.label == VACUUM).sum() == n_vacuum - len(held_out.label)
    assert len(sample.label) + len(held_out.label) == N
    rows = {row.tobytes() for row in sample.counts}
    assert not any(row.tobytes() in rows for row in held_out.counts)
    assert image.detector.pedestal == 0
    where = [np.flatnonzero((COUNTS == row).all(-1))[0] for row in sample.counts]
    expected = np.where(image.vacuum, VACUUM, clusters.labels)[where]
    np.testing.assert_array_equal(sample.label, expected)
    np.testing.assert_array_equal(sample.parameters.centre, image.parameters.centre[where])


def test_few_vacuum_spectra_are_all_trained_on():
    image = described(COUNTS[N_VACUUM - 10 :])
    clusters, _ = clusters_of(image, "zlp", 2, 0)
    _, held_out = training_samples(image, clusters.labels, None, np.random.default_rng(0))
    assert image.vacuum.any() and held_out is None


def test_large_clusters_are_thinned(monkeypatch):
    monkeypatch.setattr(module, "_PER_CLUSTER", 6)
    image = described()
    clusters, _ = clusters_of(image, "zlp", 3, 0)
    (sample,), _ = training_samples(image, clusters.labels, None, np.random.default_rng(0))
    assert (np.unique(sample.label, return_counts=True)[1] <= 6).all()


def test_a_vacuum_reference_is_a_sample_of_its_own():
    image = described(COUNTS[N_VACUUM:])
    reference = described(counts_of(np.zeros(12), seed=5))
    clusters, _ = clusters_of(image, "zlp", 2, 0)
    rng = np.random.default_rng(0)
    samples, _ = training_samples(image, clusters.labels, reference, rng)
    assert len(samples) == 2
    assert (samples[1].label == VACUUM).all() and len(samples[1].label) == 12
    assert (samples[0].label >= 0).all()


# --- application ----------------------------------------------------------------------------------

REGIONS = Regions(np.array([-np.inf, -1.0, -0.5]), np.array([3.0, 2.0, 1.0]), np.full(3, 9.0))


def test_peaks_to_apply_hold_the_limits_of_each_cluster():
    counts = COUNTS.copy()
    counts[60] = 0.0
    image = described(counts)
    labels = np.clip((THICKNESS * 2.5).astype(int), 0, 2)
    labels[61] = -1
    peaks = peaks_to_apply(image, labels, REGIONS)
    assert np.isnan(peaks[[60, 61]]).all()
    for i in (0, 50, 80, 99):
        assert peaks[i, 0] == image.parameters.channel[i]
        assert peaks[i, 3] == pytest.approx(np.log(image.parameters.intensity[i]))
        if image.vacuum[i]:
            np.testing.assert_array_equal(peaks[i, 4:], [-np.inf, np.inf])
        else:
            limits = [REGIONS.gain[labels[i]], REGIONS.E_I[labels[i]]]
            np.testing.assert_array_equal(peaks[i, 4:], limits)


def test_range_of_channels_holds_all_usable_peaks():
    counts = np.stack([np.roll(COUNTS[0], k) for k in (-20, 0, 33)] + [np.zeros(ENERGY.size)])
    low, high = channel_range(described(counts))
    channel = peak_parameters(counts, ENERGY).channel[:3]
    assert (low, high) == (channel.min(), channel.max())


def stand_in(**values):
    """An ensemble of which only what it was trained on is asked."""
    one = object.__new__(Ensemble)
    for name, value in values.items():
        object.__setattr__(one, name, value)
    return one


def test_labels_of_another_image_are_the_nearest_centres():
    image = described()
    clusters, _ = clusters_of(image, "zlp", 3, 0)
    ensemble = stand_in(cluster_centres=clusters.centres)
    np.testing.assert_array_equal(nearest_labels(image, ensemble, "zlp"), clusters.labels)
    unusable = replace(image, parameters=excluded_parameters(image.parameters, np.arange(N) == 4))
    assert nearest_labels(unusable, ensemble, "zlp")[4] == -1


@pytest.mark.parametrize("shift, width, told", [
    (0.0, 1.0, None), (5.0, 1.0, "ln N0 of 100%"), (0.0, 1.5, "times as wide"),
])  # fmt: skip
def test_data_unlike_those_trained_on_are_told(shift, width, told):
    image = described()
    low, high = np.quantile(image.log_intensity, [0.0, 1.0]) + shift
    fwhm = np.log(width * np.median(image.parameters.fwhm))
    message = outside_message(
        image, stand_in(log_intensity_range=(low, high), log_fwhm=(fwhm, 0.01))
    )
    assert message is None if told is None else told in message
