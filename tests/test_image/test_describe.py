# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about an image: which spectra are used, for what, and what is told about the rest."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from hyperspy_zlpml.departure import Seen, departure
from hyperspy_zlpml.ensemble.records import Origin
from hyperspy_zlpml.image import samples as module
from hyperspy_zlpml.image.clusters import clusters_of
from hyperspy_zlpml.image.describe import NoZeroLossPeakError, describe_image, excluded_parameters
from hyperspy_zlpml.image.detector import NoiseModel
from hyperspy_zlpml.image.peaks import peak_parameters
from hyperspy_zlpml.image.quality import measurement_messages, unusable_message
from hyperspy_zlpml.image.samples import VACUUM, choose_sample, training_samples
from hyperspy_zlpml.removal import channel_range, peaks_to_apply
from hyperspy_zlpml.statistics import Normal, Range
from hyperspy_zlpml.zlp.regions import Regions

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
    return describe_image(parameters, ENERGY, index, counts[index], **settings)


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
            limits = [REGIONS.gain_limit[labels[i]], REGIONS.E_I[labels[i]]]
            np.testing.assert_array_equal(peaks[i, 4:], limits)


def test_range_of_channels_holds_all_usable_peaks():
    counts = np.stack([np.roll(COUNTS[0], k) for k in (-20, 0, 33)] + [np.zeros(ENERGY.size)])
    low, high = channel_range(described(counts))
    channel = peak_parameters(counts, ENERGY).channel[:3]
    assert (low, high) == (channel.min(), channel.max())


def test_thickness_is_counted_at_the_dose_of_the_ensemble():
    # Twice the dose: ln N0 is larger by ln 2 in every spectrum, the specimen is the same.
    image, labels = described(), np.zeros(N, int)
    once = peaks_to_apply(image, labels, REGIONS)
    twice = peaks_to_apply(image, labels, REGIONS, log_dose=np.log(2))
    np.testing.assert_allclose(once[:, 3] - twice[:, 3], np.log(2))
    others = [0, 1, 2, 4, 5]
    np.testing.assert_array_equal(once[:, others], twice[:, others])


# --- data unlike those that an ensemble has seen --------------------------------------------------


def departed(
    width=1.0, dose=1.0, thicker=0.0, reach=1.0, setting=(), shape=(0.0, 0.0), vacuum=True,
    end=47.0, **microscope,
):  # fmt: skip
    """Departure of the image from an ensemble that was trained on it, but for what is given."""
    image = described()
    log_intensity, log_fwhm = image.log_intensity, np.log(np.median(image.parameters.fwhm))
    ensemble = SimpleNamespace(
        seen=SimpleNamespace(
            log_intensity_range=Range(log_intensity.min(), log_intensity.max()),
            log_beam=log_intensity.max(),
            log_fwhm=Normal(log_fwhm, 0.01),
            u_range=Range(-25.0, 50.0),
        ),
        origin=Origin({"beam_energy": 200.0, "collection_angle": 20.0}),
        setting=setting,
        conditions=SimpleNamespace(names=("beam_energy",), outside=lambda at: max(at[0] - 1, 0)),
    )  # fmt: skip
    return departure(ensemble, Seen(
        log_intensity - thicker, log_fwhm + np.log(width), np.log(dose),
        (-25.0 * reach, 50.0 * reach), shape, vacuum, end, {"beam_energy": 200.0, **microscope},
    ))  # fmt: skip


def test_data_like_those_trained_on_are_no_departure():
    same = departed()
    assert (same.distance, same.message) == (0.0, None)


# What is allowed (3 standard deviations and 10 % of the width, ten times the dose, 2 % of a
# setting), and what doubles the band, as the module says at its top.
@pytest.mark.parametrize("outside, distance, told", [
    (dict(width=np.exp(0.09)), 0.0, None),
    (dict(width=np.exp(0.3)), 1.0, r"the peaks are 1\.35 times as wide"),
    (dict(width=np.exp(-0.3)), 1.0, r"the peaks are 0\.74 times as wide"),
    (dict(dose=9.0), 0.0, None),
    (dict(dose=10.0**1.5), 1.0, r"the dose is 31\.6 times as high"),
    (dict(dose=10.0**-1.5), 1.0, r"the dose is 0\.0316 times as high"),
    (dict(beam_energy=201.0), 0.0, None),
    (dict(beam_energy=200 * np.exp(0.12)), 1.0, "beam energy is 225.* and was 200"),
    (dict(convergence_angle=99.0), 0.0, None),
    (dict(thicker=0.4), 0.0, None),
    (dict(reach=1.2), 0.0, None),
    (dict(setting=(0.5,)), 0.0, None),
])  # fmt: skip
def test_how_far_data_lie_outside(outside, distance, told):
    found = departed(**outside)
    assert found.distance == pytest.approx(distance, abs=1e-9)
    if told is None:
        assert found.message is None
    else:
        assert re.search(f"trained on other data: {told}.*band is 2 times as wide", found.message)


@pytest.mark.parametrize("outside, told", [
    (dict(thicker=3.0), r"t/lambda of 100% of the spectra is outside -?0\.00 to "),
    (dict(reach=1.5), r"behind the peak the axis reaches 75 FWHM, trained to 50"),
    (dict(setting=(1.5,)), r"the setting .beam energy .* lies outside those trained at"),
])  # fmt: skip
def test_what_the_band_knows_of_elsewhere_is_told_too(outside, told):
    # Thickness widens the band of the spectra it concerns, a setting that of the replicas; tails
    # beyond the axis have no data.
    found = departed(**outside)
    assert found.distance == 0.0
    assert re.search(told, found.message)
    assert "band" not in found.message


def test_departures_add_up_as_independent_ones():
    both = departed(width=np.exp(0.3), dose=10.0**1.5)
    assert both.distance == pytest.approx(np.sqrt(2))
    assert "; ".join(both.told) in both.message and len(both.told) == 2


@pytest.mark.parametrize("outside, distance, told", [
    # 2 % and two standard deviations of what was seen are allowed, 3 % more doubles the band.
    (dict(shape=(0.019, 0.0)), 0.0, None),
    (dict(shape=(0.05, 0.0)), 1.0, "the flanks differ by a factor of 1.05"),
    (dict(shape=(0.05, 0.016)), 0.0, None),
    (dict(shape=(np.nan, np.nan)), 0.0, "too faint for a look at their shape"),
    (dict(vacuum=False), 0.0, None),
    (dict(vacuum=False, end=12.0), 1.0, "the axis ends at 12 eV, before the losses do"),
    (dict(vacuum=True, end=12.0), 0.0, None),
])  # fmt: skip
def test_shapes_and_beams_that_are_not_known(outside, distance, told):
    found = departed(**outside)
    assert found.distance == pytest.approx(distance, abs=1e-6)
    assert found.message is None if told is None else told in found.message


def test_only_what_training_would_cure_asks_for_it():
    assert departed(width=1.4).message.endswith("Better train on this image.")
    assert "Better train" not in departed(reach=1.5).message
