# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about an image: which spectra are used, for what, and what is told about the rest."""

import numpy as np
import pytest
from images import COUNTS, ENERGY, N_VACUUM, STEP, THICKNESS, N, counts_of, described
from spoilt_images import random_image

from hyperspy_zlpml.image import samples as module
from hyperspy_zlpml.image.clusters import cluster_image
from hyperspy_zlpml.image.describe import describe_image, measure_and_describe
from hyperspy_zlpml.image.measure import measure
from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.image.peaks import peak_parameters
from hyperspy_zlpml.image.quality import (
    NoZeroLossPeakError,
    measurement_messages,
    unusable_message,
)
from hyperspy_zlpml.image.samples import VACUUM, choose_sample, draw_samples
from hyperspy_zlpml.image.spectra import Spectra

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
    assert (np.diff(one) > 0).all()
    assert not excluded[one].any()
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


def test_one_spike_in_the_dark_tells_nothing_of_the_detector_and_other_spectra():
    # A few thousand electrons in the peak, on a pedestal: the ray holds more than all before the peaks.
    one = random_image(np.random.default_rng(540_024), most_counts=7.0)
    spiked = one.counts.copy()
    spiked[9, 23:25] += 9e4, 4e4
    found = describe_image(
        peak_parameters(spiked, one.energy), one.energy, np.arange(len(spiked)), spiked
    )
    others = np.delete(np.arange(len(spiked)), 9)
    without = peak_parameters(one.counts, one.energy).excluding(np.arange(len(spiked)) == 9)
    right = describe_image(without, one.energy, others, one.counts[others])
    assert found.detector == right.detector
    np.testing.assert_array_equal(found.sample_index, right.sample_index)
    np.testing.assert_array_equal(found.sample_counts, right.sample_counts)
    np.testing.assert_array_equal(found.teaches, right.teaches)
    np.testing.assert_array_equal(np.flatnonzero(found.usable & ~right.usable), [9])
    np.testing.assert_array_equal(np.sort(found.spiked), np.union1d(right.spiked, [9]))


SPARSE = 0.1 * np.arange(-60, 400)


def flake(n_vacuum, n_specimen):
    """Spectra of vacuum, then of a specimen with a plasmon."""
    thickness = np.repeat([0.0, 1.0], [n_vacuum, n_specimen])[:, None]
    peak = np.exp(-4 * np.log(2) * SPARSE**2) + 0.003 / (1 + SPARSE**2)
    losses = 0.003 * thickness * np.exp(-(((SPARSE - 15) / 4) ** 2))
    counts = np.random.default_rng(0).poisson(1e5 * (np.exp(-thickness) * peak + losses))
    return counts.astype(float)


def image_of(counts):
    return describe_image(peak_parameters(counts, SPARSE), SPARSE, np.arange(len(counts)), counts)


@pytest.mark.parametrize("gain", [0.0, 2.0])
@pytest.mark.parametrize("n_vacuum", [36, 54])
def test_a_channel_that_stands_out_of_losses_alone_takes_no_spectrum(gain, n_vacuum):
    counts = flake(n_vacuum, 60 - n_vacuum)
    counts[:, 200] *= gain
    image = image_of(counts)
    assert not image.set_aside[n_vacuum:].any()
    np.testing.assert_array_equal(image.vacuum, np.arange(60) < n_vacuum)
    counts[58, 300] += 1e4  # a ray is one nevertheless
    np.testing.assert_array_equal(
        np.flatnonzero(image_of(counts).set_aside[n_vacuum:]), [58 - n_vacuum]
    )


def test_rays_in_all_vacuum_pixels_do_not_lose_the_vacuum():
    counts = flake(5, 35)
    counts[np.arange(5), [150, 180, 210, 240, 270]] += 5e5
    np.testing.assert_array_equal(image_of(counts).vacuum, np.arange(40) < 5)


def test_rays_in_what_shows_the_vacuum_do_not_lose_it():
    counts = flake(37, 3)
    counts[[37, 38, 39], [150, 210, 270]] += 5e5
    np.testing.assert_array_equal(image_of(counts).vacuum, np.arange(40) < 37)


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
    assert 3 not in image.sample_index
    assert 50 not in image.sample_index
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
    excluded = parameters.excluding(np.arange(N) < 10)
    np.testing.assert_array_equal(excluded.usable, np.arange(N) >= 10)
    assert unusable_message(excluded) is None
    assert parameters.usable.all()


def test_unusable_spectra_are_counted_by_reason():
    counts = COUNTS.copy()
    counts[:2], counts[5] = np.nan, 0.0
    message = unusable_message(peak_parameters(counts, ENERGY))
    assert "3 of 100 spectra" in message
    assert "2 with NaN" in message
    assert "1 without a zero-loss peak" in message


# --- warnings -------------------------------------------------------------------------------------


def test_saturated_peaks_are_told():
    assert measurement_messages(described()) == []
    (message,) = measurement_messages(described(np.minimum(COUNTS, 5e4)))
    assert "saturated" in message


def test_saturated_peaks_among_others_are_left_out():
    some = np.where(np.arange(N)[:, None] < 10, np.minimum(COUNTS, 2e4), COUNTS)
    image = described(some)
    assert "10 with a peak that is cut off flat" in unusable_message(image.parameters)
    np.testing.assert_array_equal(image.usable, np.arange(N) >= 10)


def test_saturation_is_seen_through_noise():
    rng = np.random.default_rng(0)
    cut = np.minimum(COUNTS, 0.3 * COUNTS.max()) * rng.normal(1, 0.003, COUNTS.shape)
    (message,) = measurement_messages(described(cut))
    assert "flatter at its top than electron sources make it" in message


def test_axes_far_from_zero_hold_no_zero_loss_peak():
    parameters = peak_parameters(COUNTS, ENERGY + 400)
    with pytest.raises(NoZeroLossPeakError, match="axis runs from .* does not hold zero"):
        describe_image(parameters, ENERGY + 400, np.arange(N), COUNTS)


def test_counts_below_zero_are_refused_where_they_are_a_part_of_the_peak():
    near = ENERGY[(ENERGY > -1.5) & (ENERGY < 3)]  # too near to see the level before the peak
    peak = 1e5 * np.exp(-4 * np.log(2) * (near / 0.45) ** 2)
    rng = np.random.default_rng(0)
    counts = rng.poisson(peak, (N, near.size)) + rng.normal(0, 5, (N, near.size))

    def describe(counts):
        return describe_image(peak_parameters(counts, near), near, np.arange(N), counts)

    with pytest.raises(ValueError, match="counts: .* per channel on average near .* Add it back"):
        describe(counts - 5e3)
    (message,) = measurement_messages(describe(counts - 50))
    assert "The tail of the ZLP is too low" in message
    assert not measurement_messages(describe(counts))


def test_a_negative_level_is_fitted_where_it_shows():
    detector = described(COUNTS - 0.05 * COUNTS.max()).detector
    assert detector.pedestal == pytest.approx(-0.05 * COUNTS.max(), rel=1e-3)


def test_peaks_of_few_channels_are_told():
    u = (ENERGY - np.linspace(-0.5, 0.5, 20)[:, None] * STEP) / (1.5 * STEP)
    counts = np.random.default_rng(0).poisson(1e5 * np.exp(-2.77 * u**2)) + np.zeros(u.shape)
    assert any("channels wide" in m for m in measurement_messages(described(counts)))


# --- clusters and training ------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["zlp", "log_ratio", "map"])
def test_clusters_are_ordered_by_thickness(by):
    image = described()
    clusters = cluster_image(image, THICKNESS if by == "map" else by, 4, 0)
    assert clusters.proxy == by
    means = [THICKNESS[clusters.labels == k].mean() for k in range(4)]
    assert (np.diff(means) > 0).all()


def test_unusable_spectra_belong_to_no_cluster():
    counts = COUNTS.copy()
    counts[7] = 0.0
    clusters = cluster_image(described(counts), "zlp", 3, 0)
    np.testing.assert_array_equal(np.flatnonzero(clusters.labels < 0), [7])


def test_training_samples_and_held_out_vacuum_share_no_spectrum():
    image = described()
    clusters = cluster_image(image, "zlp", 3, 0)
    samples = draw_samples(image, clusters.labels, None, np.random.default_rng(0))
    (sample,), held_out = samples.training, samples.held_out
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
    clusters = cluster_image(image, "zlp", 2, 0)
    samples = draw_samples(image, clusters.labels, None, np.random.default_rng(0))
    assert image.vacuum.any()
    assert samples.held_out is None


def test_large_clusters_are_thinned(monkeypatch):
    monkeypatch.setattr(module, "_PER_CLUSTER", 6)
    image = described()
    clusters = cluster_image(image, "zlp", 3, 0)
    (sample,) = draw_samples(image, clusters.labels, None, np.random.default_rng(0)).training
    assert (np.unique(sample.label, return_counts=True)[1] <= 6).all()


def test_a_vacuum_reference_is_a_sample_of_its_own():
    image = described(COUNTS[N_VACUUM:])
    reference = described(counts_of(np.zeros(12), seed=5))
    clusters = cluster_image(image, "zlp", 2, 0)
    rng = np.random.default_rng(0)
    samples = draw_samples(image, clusters.labels, reference, rng).training
    assert len(samples) == 2
    assert (samples[1].label == VACUUM).all()
    assert len(samples[1].label) == 12
    assert (samples[0].label >= 0).all()


def test_a_value_that_is_missing_is_no_negative_baseline():
    counts = counts_of(np.array([0.1, 0.3]), seed=3)
    near = ENERGY > -1.0  # too near to see the level before the peak
    counts[1, -40] = -(2.0**31)
    image = describe_image(
        peak_parameters(counts[:, near], ENERGY[near]), ENERGY[near], np.arange(2), counts[:, near]
    )
    np.testing.assert_array_equal(image.set_aside, [False, True])


@pytest.mark.parametrize("seed, row", [(561_234, 7), (564_086, None)])
def test_spectra_that_are_odd_do_not_make_channels_bad(seed, row):
    # In one of 30 spectra with peaks of two channels the beam jumped; one of four is too bright.
    rng = np.random.default_rng(seed)
    image = random_image(rng, most_counts=7.0)
    hit, n = image.counts.copy(), len(image.counts)
    if row is None:
        row = int(rng.integers(n))
        hit[row] *= 1e3
    else:
        hit[row] = (hit[row] + np.roll(hit[row], 30)) / 2
    others = np.arange(n) != row

    def looked_at(counts, excluded):
        def described(measured):
            return describe_image(measured.parameters, image.energy, index, measured.counts)

        index = np.flatnonzero(~excluded)
        return measure_and_describe(Spectra(counts, image.energy), index, described, excluded)

    measured, found = looked_at(hit, np.zeros(n, bool))
    right_measured, right = looked_at(image.counts, ~others)
    assert not found.usable[row]
    assert measured.channels.same_as(right_measured.channels)
    assert found.detector == right.detector
    np.testing.assert_array_equal(found.parameters.fwhm[others], right.parameters.fwhm[others])


def test_tops_that_a_ray_made_look_like_spikes_are_what_they_are():
    image = random_image(
        np.random.default_rng(720008), most_counts=7.0
    )  # peaks of 1.8 channels, few counts
    others = np.arange(len(image.counts)) != 67
    hit = image.counts.copy()
    hit[67, 41] += 3.6e4

    def looked_at(counts, excluded=None):
        measured = measure(Spectra(counts, image.energy), np.arange(len(counts)), excluded)
        return describe_image(measured.parameters, image.energy, measured.index, measured.counts)

    found, right = looked_at(hit), looked_at(image.counts, ~others)
    assert found.set_aside.sum() == 1
    assert found.detector == right.detector
    np.testing.assert_array_equal(found.parameters.fwhm[others], right.parameters.fwhm[others])


def test_spectra_that_are_odd_decide_on_no_spike_of_others():
    image = random_image(
        np.random.default_rng(550_012), most_counts=7.0
    )  # four spectra, few counts
    counts = image.counts.copy()
    counts[0] = (counts[0] + np.roll(counts[0], 30)) / 2

    def looked_at(counts, excluded=None):
        measured = measure(Spectra(counts, image.energy), np.arange(4), excluded)
        return describe_image(measured.parameters, image.energy, measured.index, measured.counts)

    found, right = looked_at(counts), looked_at(image.counts, np.arange(4) == 0)
    np.testing.assert_array_equal(found.sample_index, [1, 2, 3])
    assert found.detector == right.detector
    np.testing.assert_array_equal(found.sample_counts, right.sample_counts)


def test_spikes_that_only_show_without_another_are_set_aside_as_if_that_were_left_out():
    # Four spectra of few electrons: with the ray in the last one noise hides what stands out of the first.
    image = random_image(np.random.default_rng(8_400_072), most_counts=7.0)
    hit = image.counts.copy()
    hit[3, [242, 243]] += 600.0
    given = (image.energy, np.arange(4))

    def looked_at(counts, excluded=None):
        measured = measure(Spectra(counts, image.energy), np.arange(4), excluded)
        return describe_image(measured.parameters, *given, measured.counts)

    found, right = looked_at(hit), looked_at(image.counts, np.arange(4) == 3)
    np.testing.assert_array_equal(found.set_aside, [True, False, False, True])
    assert found.detector == right.detector
    np.testing.assert_array_equal(found.sample_counts, right.sample_counts)


def test_a_jump_is_found_although_the_noise_was_told_by_it():
    """A second peak over read-out noise is most of what scatters in an image of few spectra."""
    energy, found = 0.1 * np.arange(-27, 229), []
    shape = 250 * np.exp(-4 * np.log(2) * (energy / 0.4) ** 2)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        counts = rng.poisson(np.tile(shape, (25, 1))) + rng.normal(0, 3, (25, energy.size))
        counts[9] = (counts[9] + np.roll(counts[9], 28)) / 2
        image = describe_image(peak_parameters(counts, energy), energy, np.arange(25), counts)
        found.append((~image.usable).nonzero()[0].tolist())
    assert found == 20 * [[9]]
