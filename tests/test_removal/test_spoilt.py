# SPDX-License-Identifier: GPL-3.0-or-later
"""Data that are not right: a result that holds, or an error that says why; never a wrong number.

``benchmarks/fuzz_images.py`` (``make fuzz``) tries a thousand random images of the same kinds.
"""

import contextlib
import sys
import warnings

import dask.array as da
import numpy as np
import pytest
from conftest import ROOT

from hyperspy_zlpml import NoZeroLossPeakError, workflow
from hyperspy_zlpml.image import samples
from hyperspy_zlpml.workflow import Options, Spectra, look, remove_zlp, train_zlp

sys.path.insert(0, str(ROOT / "benchmarks"))
import fuzz_images  # noqa: E402

ENERGY = -2 + 0.025 * np.arange(512)
PEAK = 1e6 * (np.exp(-4 * np.log(2) * (ENERGY / 0.4) ** 2) + 0.01 / (1 + (ENERGY / 0.3) ** 2))
THICKNESS = np.linspace(0, 0.5, 30)[:, None]
LOSSES = 2e4 * THICKNESS * np.clip(ENERGY - 1.8, 0, None) ** 0.5
COUNTS = np.random.default_rng(0).poisson(np.exp(-THICKNESS) * PEAK + LOSSES).astype(float)
OTHERS = np.arange(30) != 13


def removed(counts, n_replicas=4, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return remove_zlp(counts, ENERGY, n_replicas=n_replicas, random_state=0, **arguments)


@pytest.fixture(scope="module")
def clean():
    return removed(COUNTS)


@pytest.fixture(scope="module")
def without_one():
    return removed(COUNTS, navigation_mask=~OTHERS)


def with_values(where, value):
    counts = COUNTS.copy()
    counts[where] = value
    return counts


def change(result, right, rows=OTHERS):
    """Largest change of the ZLP of some spectra, in standard deviations."""
    return np.abs((result.zlp - right.zlp)[rows] / right.std[rows]).max()


def error(result, row=13):
    """Mean square error of the ZLP of a spectrum, in standard deviations."""
    pull = (result.zlp - np.exp(-THICKNESS) * PEAK)[row] / result.std[row]
    return np.sqrt((pull**2).mean())


# --- one spectrum --------------------------------------------------------------------------------------


@pytest.mark.parametrize("channel, value", [(300, 5e6), (300, -(2.0**31)), (84, 5e6), (511, 2e6)])
def test_a_spike_moves_no_other_spectrum(clean, without_one, channel, value):
    result = removed(with_values((13, channel), value))
    assert (result.clusters >= 0).all()
    # Nothing is learnt from that spectrum: the others are as if it were left out.
    np.testing.assert_array_equal(result.zlp[OTHERS], without_one.zlp[OTHERS])
    np.testing.assert_array_equal(result.std[OTHERS], without_one.std[OTHERS])
    assert error(result) < 1.3 * error(clean)
    assert result.report.n_set_aside == 1
    assert "set aside   1 spectrum with spikes" in str(result.report)


def test_a_spike_moves_nothing_with_an_ensemble(clean):
    right = removed(COUNTS, ensemble=clean.ensemble)
    without = removed(COUNTS, ensemble=clean.ensemble, navigation_mask=~OTHERS)
    for channel in (300, 84):
        spiked = removed(with_values((13, channel), 5e6), ensemble=clean.ensemble)
        np.testing.assert_array_equal(spiked.zlp[OTHERS], without.zlp[OTHERS])
        assert error(spiked) < 1.3 * error(right)


def test_a_spike_in_a_separate_vacuum_moves_nothing():
    specimen, vacuum = COUNTS[5:], COUNTS[:5] * np.exp(THICKNESS[:5])
    spiked = vacuum.copy()
    spiked[2, [90, 300]] = 5e6
    right = removed(specimen, vacuum=Spectra(np.delete(vacuum, 2, axis=0), ENERGY), n_replicas=4)
    result = removed(specimen, vacuum=Spectra(spiked, ENERGY), n_replicas=4)
    np.testing.assert_array_equal(result.zlp, right.zlp)


def test_where_most_spectra_hold_spikes_all_are_learnt_from(clean):
    counts = COUNTS.copy()
    counts[np.arange(30), np.linspace(200, 500, 30).astype(int)] += 1e6
    result = removed(counts)
    assert (result.clusters >= 0).all()
    assert np.median(result.std / clean.std) < 1.5


def test_spikes_do_not_lead_to_a_second_training(monkeypatch):
    looks = []
    monkeypatch.setattr(workflow, "look", lambda *a, **k: looks.append(1) or look(*a, **k))
    counts = COUNTS.copy()
    counts[3, 84], counts[13, 300], counts[20, 95:97] = 5e7, 5e8, 1e7
    assert (removed(counts).clusters >= 0).all()
    assert len(looks) == 1


def test_a_jump_among_few_spectra_is_as_if_it_were_not_there():
    # Half of the counts in a second peak.
    few = COUNTS[:8].copy()
    few[3] = (few[3] + np.roll(few[3], 40)) / 2
    mask = np.arange(8) == 3
    result, right = removed(few), removed(COUNTS[:8], navigation_mask=mask)
    assert result.clusters[3] == -1
    np.testing.assert_array_equal(result.zlp[~mask], right.zlp[~mask])


@pytest.mark.parametrize("value", [2e6, 5e6, 5e7])
def test_a_spike_in_the_core_is_seen_through(clean, value):
    result = removed(with_values((13, 84), value), ensemble=clean.ensemble)
    assert error(result) < 1.3 * error(clean)


@pytest.mark.parametrize("shift", [6, 60, -40])
def test_a_spectrum_whose_beam_jumped_is_as_if_it_were_not_there(without_one, shift):
    jumped = COUNTS.copy()
    jumped[13] = (COUNTS[13] + np.roll(COUNTS[13], shift)) / 2
    with pytest.warns(UserWarning, match="1 of 30 spectra are left out .* unlike those of other"):
        result = remove_zlp(jumped, ENERGY, n_replicas=4, random_state=0)
    assert result.clusters[13] == -1
    assert np.isnan(result.zlp[13]).all()
    np.testing.assert_array_equal(result.zlp[OTHERS], without_one.zlp[OTHERS])


def test_many_jumps_each_of_its_own_distance_are_all_left_out():
    # A quarter of the spectra: more than may differ in shape, but each has a second peak that no other has.
    rows = np.arange(3, 27, 3)
    jumped = COUNTS.copy()
    for row, shift in zip(rows, 40 + 30 * np.arange(rows.size), strict=True):
        jumped[row] = (COUNTS[row] + np.roll(COUNTS[row], shift)) / 2
    with pytest.warns(UserWarning, match="8 of 30 spectra are left out"):
        result = remove_zlp(jumped, ENERGY, n_replicas=4, random_state=0)
    np.testing.assert_array_equal(np.flatnonzero(result.clusters < 0), rows)


def test_lazy_and_eager_lose_the_same_spectra_however_many():
    # Channels of the flank that count nothing: their peaks look right, and no shape fits them.
    rng, energy = np.random.default_rng(0), ENERGY[:256]
    thickness = np.linspace(0, 0.5, 560)[:, None]
    losses = 2e3 * thickness * np.clip(energy - 1.8, 0, None) ** 0.5
    counts = rng.poisson(np.exp(-thickness) * 0.1 * PEAK[:256] + losses).astype(float)
    lost = np.r_[3, 515:560:4]
    counts[lost, 96:100] = 0
    results = []
    for image in (counts, da.from_array(counts, chunks=(100, 256))):
        with pytest.warns(UserWarning, match=f"{lost.size} of 560 spectra are left out"):
            results.append(remove_zlp(image, energy, n_replicas=4, n_clusters=2, random_state=0))
    eager, lazy = results
    np.testing.assert_array_equal(np.flatnonzero(eager.clusters < 0), lost)
    np.testing.assert_array_equal(lazy.clusters, eager.clusters)
    assert str(lazy.report) == str(eager.report)
    np.testing.assert_allclose(lazy.zlp.compute(), eager.zlp, rtol=1e-6)


def test_spectra_that_nobody_read_do_not_become_nan_in_silence(monkeypatch):
    monkeypatch.setattr(samples, "LARGEST_SAMPLE", 60)
    counts = np.tile(COUNTS[:, :256], (4, 1)).reshape(2, 60, 256)
    known = choose_sample_of(counts)
    lost = [number for number in (23, 51, 87, 104) if number not in known]
    assert lost
    counts.reshape(120, 256)[lost, 96:100] = 0
    removal = remove_zlp(
        da.from_array(counts, chunks=(1, 60, 256)),
        ENERGY[:256],
        n_clusters=2,
        n_replicas=4,
        random_state=0,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        zlp = removal.zlp.compute()
    told = [str(one.message) for one in caught]
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(zlp[..., 0])), lost)
    named = [f"data[{number // 60}, {number % 60}]" for number in lost]
    assert sum(name in message for message in told for name in named) == len(lost)


def choose_sample_of(counts):
    """Spectra that are read of an image, by the seed of a removal."""
    rng = np.random.default_rng(Options(random_state=0).seed)
    return samples.choose_sample(counts[..., 0].size, np.zeros(120, bool), None, rng)


def test_a_dark_spectrum_with_a_ray_is_left_out(without_one):
    dark = COUNTS.copy()
    dark[13] = 0
    dark[13, 400] = 1e6
    result = removed(dark)
    np.testing.assert_array_equal(result.zlp[OTHERS], without_one.zlp[OTHERS])


def with_exciton(height, rows):
    """Add a loss at 3 eV, so many times as high as the peak of vacuum, to some spectra."""
    counts = COUNTS.copy()
    counts[rows] += height * 1e6 * np.exp(-4 * np.log(2) * ((ENERGY - 3) / 0.4) ** 2)
    return counts


def test_a_loss_by_far_higher_than_the_peak_is_no_peak_where_others_show_that():
    others = np.arange(30) < 20
    with pytest.warns(UserWarning, match="10 of 30 spectra are left out"):
        result = remove_zlp(with_exciton(15, ~others), ENERGY, n_replicas=4, random_state=0)
    np.testing.assert_array_equal(result.clusters >= 0, others)
    right = removed(COUNTS, navigation_mask=~others)
    np.testing.assert_array_equal(result.zlp[others], right.zlp[others])


def test_a_beam_that_moved_is_no_loss():
    counts = COUNTS.copy()
    counts[::3] = np.roll(counts[::3], 150, axis=-1)
    assert (removed(counts).clusters >= 0).all()


@pytest.mark.parametrize(
    "counts, crop",
    [
        (with_exciton(15, slice(None)), ENERGY < 1.5),
        # A peak before zero, with more than a tenth of the height of that at zero.
        (COUNTS + 0.15 * np.roll(COUNTS, -48, axis=-1), ENERGY > -0.6),
    ],
)
def test_another_peak_at_the_zero_of_the_axis_is_told_with_the_crop_that_helps(counts, crop):
    end = "[:1.5" if ENERGY[crop][0] < -0.6 else "[-0.6"
    with pytest.warns(UserWarning, match=rf"another peak nearer to its zero.*s\.isig\{end}"):
        remove_zlp(counts, ENERGY, n_replicas=4, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = remove_zlp(counts[:, crop], ENERGY[crop], n_replicas=4, random_state=0)
    assert not any("nearer to its zero" in str(one.message) for one in caught)
    peak = np.exp(-THICKNESS) * PEAK[crop]
    assert np.abs(result.zlp - peak).max() < 0.01 * peak.max()


# --- channels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channel, add", [(90, None), (400, 1e4), (300, -(2.0**31)), (0, 1e5)])
def test_bad_channels_are_named_and_bridged(channel, add):
    counts = with_values((slice(None), channel), 0)
    if add is not None:
        counts[:, channel] = COUNTS[:, channel] + add
    with pytest.warns(UserWarning, match=rf"dead or hot in all or most spectra: {channel} \("):
        result = remove_zlp(counts, ENERGY, n_replicas=4, random_state=0)
    assert "dead or hot" in str(result.report)
    pull = (result.zlp - np.exp(-THICKNESS) * PEAK) / result.std
    pure = ENERGY < 1.5
    assert np.abs(pull[:, pure]).mean() < 1.5
    for name in ("subtracted", "zlp", "std", "variance"):
        assert np.isfinite(getattr(result, name)).all()


def test_padding_is_told_and_results_have_all_channels():
    counts = COUNTS.copy()
    counts[:, :20], counts[:, -40:] = 0, 0
    with pytest.warns(UserWarning, match="20 channels before -1.5 eV and 40 channels behind"):
        result = remove_zlp(counts, ENERGY, n_replicas=4, random_state=0)
    assert result.zlp.shape == COUNTS.shape
    assert np.isfinite(result.zlp).all()
    whole = result.integrate(2.0, 4.0)
    crop = slice(20, -40)
    part = remove_zlp(counts[:, crop], ENERGY[crop], n_replicas=4, random_state=0)
    np.testing.assert_allclose(whole.integral, part.integrate(2.0, 4.0).integral)
    np.testing.assert_array_equal(result.zlp[:, crop], part.zlp)


# --- all of it -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [2e4, 3e5, COUNTS.mean(-1, keepdims=True)])
def test_negative_baselines_are_refused(shift):
    with pytest.raises(ValueError, match="counts: .* of the peak: what was subtracted .* Add it"):
        removed(COUNTS - shift)


def test_integers_that_overflowed_are_refused():
    with pytest.raises(NoZeroLossPeakError, match="overflowed the integers"):
        removed(COUNTS.astype(int) % 2**16)


def test_where_integers_overflow_in_many_spectra_no_channel_is_called_bad_for_it():
    counts = (COUNTS // 10).astype(int)
    over = counts.max(-1) >= 2**16
    with pytest.warns(UserWarning, match=f"{over.sum()} with a peak that overflowed"):
        result = remove_zlp(counts % 2**16, ENERGY, n_replicas=4, random_state=0)
    np.testing.assert_array_equal(result.clusters < 0, over)
    assert "dead or hot" not in str(result.report)


@pytest.mark.parametrize("factor", [1e-15, 1e-6, 3.0, 7.0, 1e12])
def test_the_scale_of_the_counts_does_not_matter(clean, factor):
    result = removed(COUNTS * factor)
    # The most that any channel of any spectrum moves after other last bits.
    assert np.abs((result.zlp / factor - clean.zlp) / clean.std).max() < 1e-6


def with_vacuum_times(factor):
    """A removal from the specimen with vacuum measured beside it, on another scale."""
    vacuum = COUNTS[:5] * np.exp(THICKNESS[:5])
    return removed(COUNTS[5:], vacuum=Spectra(vacuum * factor, ENERGY), n_replicas=40)


@pytest.fixture(scope="module")
def with_vacuum():
    return with_vacuum_times(1.0)


@pytest.mark.parametrize("factor", [1e-6, 1e3])
def test_vacuum_may_be_on_another_scale(with_vacuum, factor):
    scaled = with_vacuum_times(factor)
    pull = (scaled.zlp - with_vacuum.zlp) / np.hypot(scaled.std, with_vacuum.std)
    # The noise of five spectra tells the scale to some per cent. Of 8 replicas, by whose draw errors differ by a
    # factor, the difference were noise.
    assert np.sqrt((pull**2).mean()) < 1


def test_training_alone_says_the_same():
    with pytest.warns(UserWarning, match="dead or hot in all or most spectra: 90"):
        train_zlp(with_values((slice(None), 90), 0), ENERGY, n_replicas=4, random_state=0)


# --- random images -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [
    *range(20_000, 20_008),
    *(pytest.param(seed, marks=pytest.mark.closure) for seed in range(20_008, 20_016)),
])  # fmt: skip
def test_random_images_give_results_or_errors_of_ours(seed):
    kind, words = fuzz_images.outcome(seed)
    assert kind in ("result", "refused"), words


def test_a_spike_in_a_dark_spectrum_is_no_peak():
    # All others are dark or of the wrong sign: what is left has no height that a peak could be matched to.
    kind, words = fuzz_images.outcome(551_008)
    assert kind == "refused", words


@pytest.mark.parametrize(
    "seed, kind", [(30_000, "subtracted, nothing learnt from it"), (30_003, "left out")]
)
def test_a_spectrum_that_nothing_is_learnt_from_changes_no_other(seed, kind):
    found = fuzz_images.changed(seed)
    assert found.kind == kind
    assert found.size < 0.1


# --- few electrons, few spectra ------------------------------------------------------------------------


def few_electrons(seed):
    """A flake of 48 spectra, 8 of them vacuum, with 350 electrons in the highest channel or so."""
    rng = np.random.default_rng(seed)
    energy = -2.4 + 0.03 * np.arange(400)
    distance = energy - 0.05 * rng.standard_normal((48, 1))
    thickness = np.r_[np.zeros(8), np.linspace(0.1, 0.8, 40)][:, None]
    peak = np.exp(-4 * np.log(2) * (distance / 0.35) ** 2) + 0.008 / (1 + (distance / 0.25) ** 2)
    zlp = 1e3 * np.exp(-thickness) * peak
    losses = 20 * thickness * np.exp(-thickness) * np.clip(distance - 2, 0, None) ** 0.5
    return energy, zlp, rng.poisson(zlp + losses).astype(float)


def test_tails_that_few_electrons_show_are_right_within_their_errors():
    pulls = []
    for seed in range(11, 15):
        energy, zlp, counts = few_electrons(seed)
        result = remove_zlp(counts, energy, n_replicas=8, random_state=0)
        window = (energy > 1.3) & (energy < 4)
        pulls.append(((result.zlp - zlp) / result.std)[:, window].ravel())
    # Errors are shared by the spectra of an image: four images show no more than a factor of two.
    assert 0.3 < np.sqrt(np.mean(np.concatenate(pulls) ** 2)) < 2
    assert np.mean(np.abs(np.concatenate(pulls)) < 1) > 0.5


def test_a_channel_that_holds_no_number_is_bridged(clean):
    with pytest.warns(UserWarning, match=r"dead or hot in all or most spectra: 300 \(5.5 eV\)"):
        result = remove_zlp(
            with_values((slice(None), 300), np.nan), ENERGY, n_replicas=4, random_state=0
        )
    assert (result.clusters >= 0).all()
    assert change(result, clean) < 3


@pytest.mark.parametrize("scale", [1e30, 1e200, 1e-60])
def test_counts_of_no_scale_are_refused(scale):
    with pytest.raises(
        ValueError, match="counts: expected spectra whose highest counts lie between"
    ):
        removed(COUNTS * scale)


def test_a_hole_in_one_spectrum_leaves_it_out(without_one):
    result = removed(with_values((13, slice(200, 210)), 0.0))
    assert (result.clusters < 0).sum() == 1
    assert change(result, without_one) == 0


@pytest.mark.parametrize("level", [-100.0, -1000.0])
def test_a_level_below_zero_that_tails_hide_is_added_back(clean, level):
    with pytest.warns(UserWarning, match="counts: -1.* do not grow with the peak: .* added back"):
        result = remove_zlp(COUNTS + level, ENERGY, n_replicas=4, random_state=0)
    # To the error of the level, some electrons: losses may lie there. Level and peaks together are what is taken off.
    moved = result.zlp + result.report.pedestal - (clean.zlp + clean.report.pedestal + level)
    assert np.abs(moved / result.std).max() < 2
    assert result.report.pedestal - clean.report.pedestal == pytest.approx(level, abs=15)


def test_a_vacuum_of_other_settings_is_told():
    peak = 1e6 * np.exp(-4 * np.log(2) * (ENERGY / 0.68) ** 2) + 1e4 / (1 + (ENERGY / 0.51) ** 2)
    wide = np.random.default_rng(1).poisson(np.tile(peak, (4, 1))).astype(float)
    with pytest.warns(UserWarning, match="vacuum: its peaks are 1.7 times as wide"):
        remove_zlp(COUNTS, ENERGY, n_replicas=4, random_state=0, vacuum=Spectra(wide, ENERGY))


def test_a_vacuum_that_is_too_low_is_told_as_the_vacuum():
    vacuum = Spectra(COUNTS[:3] - 500, ENERGY)
    # A peak without the tail that was subtracted may fit no spectrum, which is an error then.
    with (
        pytest.warns(UserWarning, match="vacuum: counts: .* per channel on average"),
        contextlib.suppress(NoZeroLossPeakError),
    ):
        remove_zlp(COUNTS[3:], ENERGY, n_replicas=4, random_state=0, vacuum=vacuum)
    with pytest.raises(ValueError, match="vacuum: counts: .* Add it back"):
        remove_zlp(
            COUNTS[3:],
            ENERGY,
            n_replicas=4,
            random_state=0,
            vacuum=Spectra(COUNTS[:3] - 5e4, ENERGY),
        )


def test_a_vacuum_that_saturated_the_detector_is_told_by_name():
    counts = np.random.default_rng(5).poisson(np.tile(PEAK, (5, 1))).astype(float)
    vacuum = Spectra(np.minimum(counts, 3e5), ENERGY)
    with (
        pytest.warns(UserWarning, match="vacuum: 5 of 5 spectra .* cut off flat"),
        pytest.warns(UserWarning, match="the vacuum has another peak than the specimen"),
    ):
        remove_zlp(COUNTS, ENERGY, n_replicas=4, random_state=0, vacuum=vacuum)
