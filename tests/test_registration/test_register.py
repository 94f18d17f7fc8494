# SPDX-License-Identifier: GPL-3.0-or-later
"""Registration of drifting peaks to one shape, with or without vacuum, and what is ZLP of them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.integrate import trapezoid

from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.image.peaks import peak_parameters
from hyperspy_zlpml.image.quality import NoZeroLossPeakError
from hyperspy_zlpml.image.samples import VACUUM, Sample
from hyperspy_zlpml.registration import register
from hyperspy_zlpml.registration.find_regions import find_regions, late_limits
from hyperspy_zlpml.registration.register import register_peaks
from hyperspy_zlpml.registration.registered_peaks import mean_ratio, window_of
from hyperspy_zlpml.registration.spill import spilled_losses
from hyperspy_zlpml.statistics import Range
from hyperspy_zlpml.zlp.regions import NO_LIMIT, Hump, Regions

STEP = 0.025
FWHM = 0.45
ENERGY = STEP * np.arange(-160, 480)
NOISE = NoiseModel(1.0, 10.0)
#: A response with tails light enough to spill next to nothing below the losses at 2 eV.
ONSET = 2.0


def shape(u):
    return (1 + 4 * (2 ** (1 / 2.5) - 1) * u**2) ** -2.5


def gap(energy):
    """Losses that begin at 2 eV."""
    return 0.003 * np.clip(1 - np.exp(-(energy - ONSET)), 0, None)


def no_gap(energy):
    """Losses that begin at once, gently."""
    return 4e-5 * np.clip(energy, 0, None) ** 2


def sample(thickness, label, height=1e6, seed=0, losses=gap):
    """Drifting peaks on a Pearson VII shape, and losses."""
    rng = np.random.default_rng(seed)
    n = len(thickness)
    thickness = np.asarray(thickness, float)[:, None]
    centre, fwhm = rng.normal(0, 0.02, (n, 1)), FWHM * np.exp(rng.normal(0, 0.02, (n, 1)))
    scattered = thickness * losses(ENERGY)
    expected = height * np.exp(-thickness) * (shape((ENERGY - centre) / fwhm) + scattered)
    counts = rng.poisson(expected) + NOISE.readout * rng.standard_normal(expected.shape)
    parameters = peak_parameters(counts, ENERGY)
    return Sample(counts, ENERGY, parameters, np.array(label)), centre[:, 0], fwhm[:, 0]


@pytest.fixture(scope="module")
def with_vacuum():
    thickness = np.r_[np.zeros(30), np.full(30, 0.3), np.full(30, 1.0)]
    label = np.repeat([VACUUM, 0, 1], 30)
    one, centre, fwhm = sample(thickness, label)
    return register_peaks([one], NOISE), centre, fwhm


@pytest.fixture(scope="module")
def without_vacuum():
    thickness = np.r_[np.full(30, 0.3), np.full(30, 1.0)]
    one, centre, fwhm = sample(thickness, np.repeat([0, 1], 30))
    return register_peaks([one], NOISE), centre, fwhm


def test_selecting_spectra_of_a_sample():
    one, *_ = sample([0.0, 0.5, 1.0], [VACUUM, 0, 1])
    chosen = one.select([2, 0])
    np.testing.assert_array_equal(chosen.counts, one.counts[[2, 0]])
    np.testing.assert_array_equal(chosen.label, [1, VACUUM])
    np.testing.assert_array_equal(chosen.parameters.centre, one.parameters.centre[[2, 0]])


def test_drift_of_centre_and_width_is_followed(with_vacuum):
    # Common offsets belong to the reference; what differs between spectra is measured.
    peaks, centre, fwhm = with_vacuum
    shift = peaks.matched.centre - centre
    width = np.log(peaks.matched.fwhm / fwhm)
    assert shift.std() < 0.005 * FWHM
    assert abs(shift.mean()) < 0.01 * FWHM
    assert width.std() < 0.01
    assert abs(width.mean()) < 0.02


def test_reference_is_the_shape_of_the_vacuum(with_vacuum):
    peaks, *_ = with_vacuum
    u = np.linspace(-4, 4, 81)
    found = peaks.grid.interpolate(peaks.log_reference, u)
    # Its own width is a matter of the half-height crossings: one per cent.
    np.testing.assert_allclose(found, np.log(shape(u)), atol=0.06)
    assert peaks.has_vacuum
    assert peaks.extrapolated_from == NO_LIMIT


def test_ratios_of_pure_peaks_are_one_to_their_noise(with_vacuum):
    peaks, *_ = with_vacuum
    ratio, variance, _ = peaks.ratios
    vacuum = peaks.label == VACUUM
    flank = (np.abs(peaks.u) > 0.3) & (np.abs(peaks.u) < 6) & peaks.spectra.complete
    pulls = ((ratio - 1) / np.sqrt(variance))[flank & vacuum[:, None]]
    assert pulls.std() == pytest.approx(1.0, abs=0.1)
    assert abs(pulls.mean()) < 0.1


def test_mean_ratio_rises_at_the_onset_only_on_the_loss_side(with_vacuum):
    peaks, *_ = with_vacuum
    thick = peaks.label == 1
    u, mean, error = mean_ratio(peaks, thick)
    assert (np.diff(u) > 0).all()
    before, behind = (u > 0.5) & (u < 0.9 * ONSET / FWHM), u > 1.3 * ONSET / FWHM
    assert (np.abs(mean - 1)[before] < 0.02 + 5 * error[before]).all()
    assert (mean[behind] > 1.5).all()
    u, mean, error = mean_ratio(peaks, thick, side=-1)
    assert (np.abs(mean - 1) < 0.05 + 5 * error)[u < 8].all()


def test_spilled_losses_are_no_part_of_the_ratios(with_vacuum):
    peaks, *_ = with_vacuum
    spill = {0: np.linspace(0.0, 0.2, peaks.grid.n), 1: np.full(peaks.grid.n, 0.5)}
    peaks = replace(peaks, spill_tables=spill)
    seen = peaks.ratios_with_spill
    np.testing.assert_array_equal(peaks.without_spill().ratios.ratio, seen.ratio)
    np.testing.assert_allclose(seen.ratio - peaks.ratios.ratio, peaks.spill, atol=1e-9)
    assert peaks.spill[peaks.label == 1].min() == 0.5
    np.testing.assert_array_equal(peaks.ratios.variance, seen.variance)


def test_error_of_the_mean_ratio_is_that_of_a_loop(with_vacuum):
    peaks, *_ = with_vacuum
    chosen = peaks.label == 0
    ratio, variance, _ = peaks.ratios
    u, mean, error = mean_ratio(peaks, chosen)
    group_u = peaks.u[chosen].mean(0)
    for at in (0.5, 2.0, 5.0):
        g = np.abs(group_u - at).argmin()
        rows = np.flatnonzero(chosen & peaks.spectra.complete[:, g])
        weight = 1 / variance[rows, g]
        expected = (weight * ratio[rows, g]).sum() / weight.sum()
        i = np.abs(u - group_u[g]).argmin()
        assert mean[i] == pytest.approx(expected)
        spread = np.sqrt((weight * (ratio[rows, g] - expected) ** 2).sum() / weight.sum())
        own = max(weight.sum() ** -0.5, spread / np.sqrt(rows.size - 1))
        # The reference is not known for certain either.
        node = [np.interp(group_u[g], peaks.grid.u, mode) for mode in peaks.reference_modes]
        assert error[i] == pytest.approx(np.hypot(own, np.linalg.norm(node)), rel=1e-4)


# --- tails that vary ------------------------------------------------------------------------------

PURE = Range(-NO_LIMIT, 1.5)


def tails(peaks, size=1.0):
    """A variation of the flanks at the groups, and the peaks of the thick cluster that have it."""
    thick = peaks.label == 1
    mode = np.tanh(peaks.u[thick].mean(0) / 2) ** 2
    sums = np.where(thick[:, None], peaks.spectra.sums * (1 + size * mode), peaks.spectra.sums)
    return mode, replace(peaks, spectra=replace(peaks.spectra, sums=sums))


def test_variations_that_the_pure_part_shows_are_taken_off(with_vacuum):
    peaks, *_ = with_vacuum
    mode, raised = tails(peaks, 0.1)
    thick = peaks.label == 1
    modes = 0.1 * mode[None]
    u, plain, error = mean_ratio(peaks, thick)
    flank = (u > 1) & (u < 3.5)
    _, blind, _ = mean_ratio(raised, thick)
    assert (blind - plain)[flank].max() > 0.05
    # What the counts themselves show of the mode by chance goes too: compared with it taken off.
    _, own, _ = mean_ratio(peaks, thick, 1, modes, PURE)
    _, corrected, again = mean_ratio(raised, thick, 1, modes, PURE)
    np.testing.assert_allclose(corrected[flank], own[flank], atol=0.1 * 0.1)
    np.testing.assert_allclose(again, error, rtol=0.2)


def test_variations_that_the_pure_part_does_not_show_stay(with_vacuum):
    # Scores have unit variance beforehand: a mode that begins beyond the pure part is unknown
    # there, and no signal is taken for it.
    peaks, *_ = with_vacuum
    thick = peaks.label == 1
    mode = np.where(peaks.u[thick].mean(0) > 2, 0.3, 0.0)
    _, plain, _ = mean_ratio(peaks, thick)
    _, found, _ = mean_ratio(peaks, thick, 1, mode[None], PURE)
    np.testing.assert_array_equal(found, plain)
    _, found, _ = mean_ratio(peaks, thick, 1, mode[None][:0], PURE)
    np.testing.assert_array_equal(found, plain)


def test_error_of_the_reference_is_an_error_of_every_ratio(with_vacuum):
    peaks, *_ = with_vacuum
    thick = peaks.label == 1
    without = replace(peaks, reference_modes=None)
    wide = replace(peaks, reference_modes=np.full((1, peaks.grid.n), 0.3))
    u, mean, error = mean_ratio(without, thick)
    _, same, larger = mean_ratio(wide, thick)
    np.testing.assert_array_equal(same, mean)
    np.testing.assert_allclose(larger, np.hypot(error, 0.3))


def test_windows_follow_labels_and_widths():
    regions = Regions(np.array([-1.0, -np.inf]), np.array([1.5, 0.9]), np.full(2, 9.0))
    low, high = window_of(regions, np.array([VACUUM, 0, 1]), np.array([0.4, 0.5, 0.3]))
    np.testing.assert_allclose(low, [-np.inf, -2.0, -np.inf])
    np.testing.assert_allclose(high, [np.inf, 3.0, 3.0])


def test_ranges_of_thickness_and_width(with_vacuum):
    peaks, _, fwhm = with_vacuum
    low, high = peaks.log_intensity_range
    assert high - low == pytest.approx(1.0, abs=0.02)  # t/lambda of 0 and of 1
    mean, sigma = peaks.log_fwhm
    assert mean == pytest.approx(np.log(fwhm).mean(), abs=0.02)
    assert sigma == pytest.approx(0.02, rel=0.3)


def test_a_vacuum_reference_counts_as_the_thin_end():
    specimen, *_ = sample(np.r_[np.full(15, 0.3), np.full(15, 1.0)], np.repeat([0, 1], 15))
    vacuum, *_ = sample(np.zeros(20), np.full(20, VACUUM), height=2e7, seed=1)
    peaks = register_peaks([specimen, vacuum], NOISE)
    assert peaks.has_vacuum
    thin = np.median(np.log(specimen.parameters.intensity[:15]))
    np.testing.assert_allclose(peaks.log_intensity[30:], thin)


# --- without vacuum -------------------------------------------------------------------------------


def test_without_vacuum_the_reference_ends_at_the_losses(without_vacuum):
    peaks, *_ = without_vacuum
    assert not peaks.has_vacuum
    assert 1.0 < peaks.extrapolated_from < 1.3 * ONSET / FWHM
    # Beyond, it goes on like the gain side and does not rise with the losses.
    beyond = (peaks.grid.u > 1.5 * ONSET / FWHM) & (peaks.grid.u < 15)
    truth = np.log(shape(peaks.grid.u[beyond]))
    assert (peaks.log_reference[beyond] < truth + 1.0).all()
    sigma = np.sqrt((peaks.reference_modes**2).sum(0))
    assert sigma[beyond].min() > sigma[np.abs(peaks.grid.u) < 2].max()


def test_a_given_limit_is_where_the_extrapolation_begins():
    one, *_ = sample(np.r_[np.full(15, 0.3), np.full(15, 1.0)], np.repeat([0, 1], 15))
    peaks = register_peaks([one], NOISE, given_limit=1.2)
    assert peaks.extrapolated_from == pytest.approx(1.2 / np.median(peaks.matched.fwhm), rel=0.01)


@pytest.mark.parametrize("own, lost", [(0.0, 0.0), (0.4, 0.0), (0.0, 0.4)])
def test_a_hump_is_lost_energy_only_where_thick_spectra_hold_more_of_it(own, lost, without_vacuum):
    thickness = np.r_[np.full(30, 0.3), np.full(30, 1.0)]
    energy, centre = ENERGY, 1.3
    one, *_ = sample(thickness, np.repeat([0, 1], 30))
    line = np.exp(-(((energy - centre) / 0.15) ** 2)) * shape(energy / FWHM)
    height = one.counts.max(-1, keepdims=True)
    more = height * line * (own + lost * thickness[:, None] / 0.3)
    counts = one.counts + np.random.default_rng(1).poisson(more)
    found = register_peaks([replace(one, counts=counts)], NOISE).extrapolated_from * FWHM
    plain = without_vacuum[0].extrapolated_from * FWHM
    if lost:
        assert found < centre - 0.15
    else:
        assert found == pytest.approx(plain, rel=0.2)
        assert found > centre


@pytest.mark.parametrize("height", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("grows", [True, False])
def test_humps_of_any_height_are_told_by_whether_they_grow(height, grows, monkeypatch):
    """Two clusters of 0.3 and 0.9 mean free paths, and a reference that holds the hump of the thinner one."""
    u, is_hump = np.linspace(1.0, 15.0, 200), np.linspace(1.0, 15.0, 200) > 7
    thickness = np.array([0.3, 0.9])
    peaks = SimpleNamespace(labels=[0, 1], label=np.arange(2), log_intensity=-thickness)

    def mean_ratio(peaks, chosen, side):
        """Ratio of one cluster to the reference."""
        held = height * (thickness[chosen] / 0.3 if grows else 1.0)
        return u, np.where(is_hump, (1 + held) / (1 + height), 1.0), np.full(u.size, 1e-3)

    monkeypatch.setattr(register, "mean_ratio", mean_ratio)
    found = Hump(low=6.0, top=9.0, high=12.0, height=height)
    assert register._may_grow_with_thickness(peaks, found, side=-1) == grows


# --- separation -----------------------------------------------------------------------------------


def test_regions_end_at_the_onset(with_vacuum):
    peaks, *_ = with_vacuum
    regions = find_regions(peaks, 2, {})
    # Windows of a quarter look ahead; thick clusters show their losses as early as thin ones.
    assert ((0.7 * ONSET < regions.E_I) & (regions.E_I < 1.3 * ONSET)).all()
    assert (regions.gain_limit < -3 * FWHM).all()
    assert (regions.E_II > regions.E_I).all()


def test_tails_that_are_higher_are_no_onset(with_vacuum):
    peaks, *_ = with_vacuum
    mode, raised = tails(peaks, 0.15)
    blind = find_regions(raised, 2, {})
    informed = find_regions(raised, 2, {}, 0.15 * mode[None], np.full(2, -NO_LIMIT))
    assert blind.E_I[1] < 0.6 * ONSET
    assert 0.7 * ONSET < informed.E_I[1] < 1.3 * ONSET
    # Nor do modes hide an onset where there is one.
    same = find_regions(peaks, 2, {}, 0.15 * mode[None], np.full(2, -NO_LIMIT))
    np.testing.assert_allclose(same.E_I, find_regions(peaks, 2, {}).E_I, rtol=0.15)


def test_thin_spectra_of_differing_tails_end_where_thick_ones_show_losses():
    thickness = np.r_[np.zeros(30), np.full(6, 0.05), np.full(30, 1.0)]
    one, *_ = sample(thickness, np.repeat([VACUUM, 0, 1], [30, 6, 30]))
    higher = np.ones(thickness.size)
    higher[30:36] = 1 + 0.8 * np.array([-1.0, 1.0, -0.8, 0.8, -0.9, 0.9])
    flank = np.clip(ENERGY / FWHM - 1, 0, 1)
    tails_differ = replace(one, counts=one.counts * higher[:, None] ** flank)
    peaks = register_peaks([tails_differ], NOISE)
    alone = find_regions(peaks.select(peaks.label < 1), 1, {})
    both = find_regions(peaks, 2, {})
    assert alone.E_I[0] > 1.5 * ONSET
    assert 0.7 * ONSET < both.E_I[0] < 1.3 * ONSET


def test_thickest_spectra_that_show_nothing_behind_the_peak_end_no_region():
    thickness = np.r_[np.zeros(30), np.full(6, 0.05), np.full(3, 1.0)]
    one, *_ = sample(thickness, np.repeat([VACUUM, 0, 1], [30, 6, 3]))
    peaks = register_peaks([one], NOISE)
    complete = peaks.spectra.complete & (peaks.label != 1)[:, None]
    hidden = replace(peaks, spectra=replace(peaks.spectra, complete=complete))
    alone = find_regions(peaks.select(peaks.label < 1), 1, {})
    assert find_regions(hidden, 2, {}).E_I[0] == pytest.approx(alone.E_I[0])


def test_clusters_without_spectra_take_the_limits_of_the_next_thicker(with_vacuum):
    peaks, *_ = with_vacuum
    two = find_regions(peaks, 2, {})
    # Labels 0 and 1 become 1 and 3 of five clusters.
    five = find_regions(replace(peaks, label=np.choose(peaks.label + 1, [VACUUM, 1, 3])), 5, {})
    for name in ("gain_limit", "E_I", "E_II"):
        values = getattr(two, name)
        np.testing.assert_array_equal(getattr(five, name), values[[0, 0, 1, 1, 1]])


def test_given_regions_win(with_vacuum):
    peaks, *_ = with_vacuum
    regions = find_regions(peaks, 2, {"E_I": [1.0, 0.8]})
    np.testing.assert_array_equal(regions.E_I, [1.0, 0.8])


def test_matching_within_regions_does_not_see_the_losses(with_vacuum):
    peaks, centre, _ = with_vacuum
    regions = find_regions(peaks, 2, {})
    inside = peaks.within(regions)
    assert inside.matched.reduced_chi2.max() < 2
    np.testing.assert_allclose(inside.matched.centre, centre, atol=0.02 * FWHM)


def test_spilled_losses_are_the_convolution_with_the_tails(with_vacuum):
    # Every loss beyond E_I, in proportion to its counts, with the reference of unit area, at
    # more than one FWHM: a plain sum over the mean spectrum's channels.
    peaks, *_ = with_vacuum
    regions = find_regions(peaks, 2, {})
    tables = spilled_losses(peaks, regions)
    assert sorted(tables) == [0, 1]
    grid = peaks.grid
    area = trapezoid(np.exp(peaks.log_reference), grid.u)
    rows = peaks.label == 1
    counts = peaks.spectra.sums[rows].sum(0) / peaks.spectra.n_channels
    height = np.exp(peaks.matched.log_height[rows]).sum()
    u = peaks.u[rows].mean(0)
    limit = regions.E_I[1] / np.median(peaks.matched.fwhm[rows])
    for at in (-5.0, 0.0, 2.0):
        node = np.abs(grid.u - at).argmin()
        total = 0.0
        for g in range(u.size):
            if u[g] <= limit or not peaks.spectra.complete[rows][:, g].any():
                continue
            distance = grid.u[node] - u[g]
            if abs(distance) <= 1:
                continue
            loss = (
                counts[g] / height - np.exp(grid.interpolate(peaks.log_reference, u[g : g + 1]))[0]
            )
            width = (u[g + 1] - u[g - 1]) / 2 if 0 < g < u.size - 1 else u[-1] - u[-2]
            # The axis begins at -8.9 FWHM: beyond, tails are taken to be those of the loss side.
            place = np.array([distance if distance > -8.8 else -distance])
            tail = np.exp(grid.interpolate(peaks.log_reference, place))[0] / area
            total += loss * width * tail
        expected = total / np.exp(peaks.log_reference[node])
        assert tables[1][node] == pytest.approx(expected, rel=0.05)
    assert not tables[1][grid.u > limit].any()


def test_vacuum_spills_nothing(with_vacuum):
    peaks, *_ = with_vacuum
    thin = replace(peaks, label=np.where(peaks.label == 1, VACUUM, peaks.label))
    regions = find_regions(thin, 1, {"E_I": np.inf})
    (table,) = spilled_losses(thin, regions).values()
    assert not table.any()


# --- spectra that are unlike the others ---------------------------------------------------------------


def test_what_one_spectrum_of_a_small_cluster_alone_shows_is_not_used():
    few, _, _ = sample(np.full(5, 0.3), [0] * 5)
    more, _, _ = sample(np.full(20, 0.1), [1] * 20, seed=1)
    label = np.concatenate([few.label, more.label])
    counts = np.concatenate([few.counts, more.counts])
    counts[2, 200:210] = 0.0
    one = Sample(counts, ENERGY, peak_parameters(counts, ENERGY), label)
    complete = register_peaks([one], NOISE).spectra.complete
    lost = complete[[0, 1, 3, 4]].all(0) & ~complete[2]
    assert 1 <= lost.sum() <= 12


def test_a_vacuum_of_its_own_is_not_compared_with_the_image():
    image, _, _ = sample(np.full(40, 0.3), [0] * 40)
    wide, _, _ = sample(np.zeros(4), [VACUUM] * 4, seed=1)
    counts = np.repeat(wide.counts, 2, -1)[:, 160:800]
    vacuum = Sample(counts, ENERGY, peak_parameters(counts, ENERGY), wide.label)
    peaks = register_peaks([image, vacuum], NOISE)
    within = np.abs(peaks.u) < 3
    assert (peaks.spectra.complete | ~within)[-4:].mean() > 0.99


def test_a_given_limit_behind_the_losses_is_told(with_vacuum):
    # They begin at 2 eV: a limit there is no reason to warn, one three FWHM behind is.
    peaks, *_ = with_vacuum
    right, late = (
        late_limits(peaks, 2, {"E_I": np.float64(limit)}) for limit in (ONSET, ONSET + 3 * FWHM)
    )
    assert right == ""
    assert "given up to 3.35 eV, but losses are seen from" in late
    assert late_limits(peaks, 2, {}) == ""


@pytest.mark.parametrize("widths", [(33.0, 40.0), (40.0, 33.0)])
def test_of_several_samples_the_widest_flat_peaks_tell_the_blur(widths):
    # In a string 9.9 comes after 12.
    samples, energy = [], 100 * ENERGY
    for width in widths:
        counts = 1e6 * np.exp(-np.log(2) * np.abs(2 * np.tile(energy, (3, 1)) / width) ** 16)
        samples.append(Sample(counts, energy, peak_parameters(counts, energy), np.full(3, VACUUM)))
    with pytest.raises(NoZeroLossPeakError, match="by 12 eV"):
        register._check_common_shape(np.zeros((3, 5), dtype=bool), samples)
