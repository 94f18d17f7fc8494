# SPDX-License-Identifier: GPL-3.0-or-later
"""The stability scan: level where the peak is pure, falling where losses are taken for peak."""

import re
from dataclasses import replace

import matplotlib
import numpy as np
import pytest

from hyperspy_zlpml import data
from hyperspy_zlpml.removal.checks import RegionScan, ScannedSpectra, at_least
from hyperspy_zlpml.removal.shared_errors import SharedErrors
from hyperspy_zlpml.workflow import Options, Spectra, look, remove_zlp
from hyperspy_zlpml.zlp.matching import KnownPeaks

matplotlib.use("agg")
FEW = {"n_replicas": 20, "n_clusters": 3, "random_state": 0, "show_progressbar": False}
#: Where errors of the networks do not count.
FEWEST = {**FEW, "n_replicas": 4}


@pytest.fixture(scope="module")
def sample():
    return data.ws2_like((14, 14), n_channels=1024, random_state=3)


@pytest.fixture(scope="module")
def result(sample):
    return sample.signal.remove_zlp_ml(**FEW)


@pytest.fixture(scope="module")
def again(result):
    """A removal by the same ensemble."""
    return lambda signal: signal.remove_zlp_ml(
        ensemble=result.ensemble, n_clusters=3, random_state=0, show_progressbar=False
    )


@pytest.fixture(scope="module")
def in_mev(sample, again):
    """The same image on an axis in meV."""
    signal = sample.signal.deepcopy()
    axis = signal.axes_manager.signal_axes[0]
    axis.scale, axis.offset, axis.units = 1e3 * axis.scale, 1e3 * axis.offset, "meV"
    return again(signal)


@pytest.fixture(scope="module")
def in_ev(sample, again):
    return again(sample.signal)


def scan(integral, error=0.1, factors=(0.6, 0.8, 1.0, 1.2, 1.4)):
    integral = np.atleast_2d(integral).astype(float)
    n = len(integral)
    return RegionScan(
        clusters=tuple(range(n)),
        E_I=np.full(n, 2.0),
        factors=np.array(factors),
        windows=np.tile([2.0, 3.0], (n, 1)),
        integral=integral,
        error=np.full(integral.shape, error),
    )


@pytest.mark.parametrize(
    "integral, up_to, stable",
    [
        ([1, 1, 1, 1, 1], 2.8, True),
        ([1, 1, 1, 0.5, 0], 2.0, True),
        # E_I is too high: what is level above it is the peak that has eaten the losses.
        ([1, 0.5, 0, 0, 0], 1.2, False),
        # What comes back further out does not count.
        ([1, 0, 1, 0, 1], 1.2, False),
    ],
)
def test_signal_is_level_from_the_lowest_limit_on(integral, up_to, stable):
    found = scan(integral)
    np.testing.assert_allclose(found.level_up_to, [up_to])
    assert found.stable.tolist() == [stable]


def test_a_signal_far_above_the_peak_is_as_level(result):
    # Its error is that of the ZLP, however large the signal is.
    assert (result._scan(10.0, 15.0).integral > 10).all()
    assert result._scan(10.0, 15.0).stable.all()


def test_signal_is_level_below_the_onset_and_falls_beyond(result, sample):
    found = result.report.scan
    assert found is not None
    below = found.factors < 0.95
    # In region I nothing may depend on the limit by more than the error that is claimed.
    here = np.abs(found.factors - 1).argmin()
    change = np.abs(found.integral - found.integral[:, [here]])
    assert (change[:, below] < 2 * found.error[:, below]).all()
    # The thickest cluster is matched up to 1.5 times its limit, beyond the gap: losses are eaten.
    assert found.E_I[-1] * found.factors[-1] > np.median(sample.band_gap.data)
    assert found.integral[-1, -1] < found.integral[-1, here]
    assert "E_I scan" in str(result.report)


def test_a_window_of_ones_own_is_in_the_units_of_the_axis(in_ev, in_mev):
    assert "meV" in in_mev.plot_regions(1500, 3000)[0].get_xlabel()
    expected = in_ev._scan(1.5, 3.0).integral
    np.testing.assert_allclose(in_mev._scan(1500, 3000).integral, expected, rtol=1e-3)


def test_scan_of_a_lazy_result_is_that_of_the_eager_one(sample, again, in_ev):
    lazy = again(sample.signal.as_lazy())
    assert lazy.subtracted._lazy
    np.testing.assert_allclose(
        lazy._scan(1.5, 3.0).integral, in_ev._scan(1.5, 3.0).integral, rtol=1e-4
    )
    assert lazy.subtracted._lazy


def test_picture_has_a_curve_and_a_mark_for_every_cluster(result):
    axes = result.plot_regions()[0]
    n_clusters = len(result.report.scan.clusters)
    assert len(axes.figure.legends[0].get_texts()) == n_clusters
    assert sum(line.get_marker() == "o" for line in axes.lines) == n_clusters


@pytest.mark.parametrize("window", [(1.0, None), (None, 2.0), (3.0, 2.0)])
def test_half_a_window_is_refused(result, window):
    with pytest.raises(
        ValueError, match="left, right: expected both or neither|left: expected less than right"
    ):
        result.plot_regions(*window)


@pytest.mark.parametrize("window", [(100.0, 200.0), (40.0, 60.0), (-200.0, -100.0)])
def test_a_window_off_the_axis_is_refused(result, window):
    with pytest.raises(ValueError, match="left, right: expected energies on the axis"):
        result.plot_regions(*window)


def test_few_spectra_are_spread_over_all():
    labels = np.repeat([0, 1], [47, 5])
    peaks = KnownPeaks(*np.zeros((6, 52)))
    use = np.ones(52, bool)
    chosen = ScannedSpectra.choose(np.arange(52.0)[:, None], peaks, labels, use)
    first = chosen.counts[chosen.labels == 0, 0]
    assert (first.size, first[0], first[-1]) == (24, 0, 46)
    assert (chosen.labels == 1).sum() == 5


def test_check_on_vacuum_is_made_or_it_is_said_why(sample):
    held = data.ws2_like(
        (14, 14), n_channels=1024, vacuum_fraction=0.5, random_state=3
    ).signal.remove_zlp_ml(**FEWEST)
    assert re.search("check (passed|doubtful|FAILED)", str(held.report))
    few = data.ws2_like((8, 8), n_channels=1024, random_state=3).signal.remove_zlp_ml(**FEWEST)
    assert "check not made: fewer than 20 vacuum pixels" in str(few.report)


def test_check_is_made_where_the_losses_begin_far_out():
    # E_I is beyond 8 FWHM at this resolution: the check follows it.
    far = data.monochromated((14, 14), vacuum_fraction=0.5, random_state=1)
    check = far.signal.remove_zlp_ml(**FEWEST).report.vacuum
    assert check is not None
    assert check.window.high > 1.4 * check.window.low


def test_clusters_of_few_spectra_are_not_scanned_beside_larger_ones():
    # One spectrum of the specimen is left beside the vacuum in the first cluster of this image.
    drifting = data.strong_drift((8, 8), random_state=7001).signal
    report = drifting.remove_zlp_ml(random_state=7001, n_replicas=20).report
    assert 0 not in report.scan.clusters
    assert report.scan.stable.all()
    alone = data.single_spectrum(random_state=1).signal
    assert alone.remove_zlp_ml(**{**FEW, "n_clusters": 1}).report.scan.clusters == (0,)


def test_pure_vacuum_has_nothing_to_scan():
    vacuum = data.ws2_like((8, 8), n_channels=1024, vacuum_fraction=1.0, random_state=0).signal
    result = vacuum.remove_zlp_ml(vacuum=True, **FEWEST)
    assert result.report.scan is None
    with pytest.raises(ValueError, match="plot_regions: expected a cluster with a finite E_I"):
        result.plot_regions()


def test_unstable_signal_is_a_complaint(result):
    from dataclasses import replace

    unsure = replace(result.report, scan=scan([[1, 1, 1, 1, 1], [1, 0.5, 0, 0, 0]]))
    assert any("E_I of cluster(s) 1 lies" in told for told in unsure.complaints())
    steady = replace(result.report, scan=scan([1, 1, 1, 1, 1]))
    assert not any("E_I of cluster" in told for told in steady.complaints())


def test_report_says_how_the_tail_was_found(result):
    assert result.report.tail == ""
    no_vacuum = data.no_vacuum((12, 12), random_state=1).signal
    found = no_vacuum.remove_zlp_ml(**FEWEST)
    assert "extrapolated to zero thickness from 144 spectra" in found.report.tail
    again = no_vacuum.remove_zlp_ml(ensemble=found.ensemble, show_progressbar=False)
    assert again.report.tail == found.report.tail


@pytest.mark.filterwarnings("ignore")
def test_nothing_is_extrapolated_to_zero_thickness_where_only_tails_differ():
    # The loss side of the peak's tail is ten times its gain side, and differs by a fifth between pixels.
    rng, energy = np.random.default_rng(0), -4 + 0.05 * np.arange(480)
    u = (energy - rng.normal(0, 0.02, (100, 1))) / 0.45
    tail = 0.01 * np.exp(0.2 * rng.standard_normal((100, 1))) / (1 + (u / 0.7) ** 2)
    peak = np.exp(-4 * np.log(2) * u**2) + tail * np.where(u > 0, 1, 0.1)
    dose = 1e6 * rng.uniform(0.9, 1, (100, 1))
    vacuum = rng.poisson(dose * peak)
    found = remove_zlp(vacuum, energy, n_replicas=4, random_state=0)
    assert re.search("a guess, for behind the peak all spectra only fall", found.report.tail)
    # What differs in the same way, under losses that rise, is thickness.
    plasmon = 5 * tail * (u / 0.7) ** 2 * np.exp(-(((energy - 15) / 4) ** 2))
    specimen = remove_zlp(
        rng.poisson(dose * (peak + plasmon)), energy, n_replicas=4, random_state=0
    )
    assert "extrapolated to zero thickness from 100 spectra" in specimen.report.tail


def test_a_guessed_tail_is_a_warning():
    alone = data.single_spectrum(random_state=1).signal
    with pytest.warns(UserWarning, match="the spectra do not tell the tail"):
        alone.remove_zlp_ml(**{**FEWEST, "n_clusters": 1})


def test_report_counts_a_separate_vacuum():
    alone = data.single_spectrum(random_state=1).signal
    vacuum = data.vacuum_reference(random_state=2).signal
    report = alone.remove_zlp_ml(vacuum=vacuum, **{**FEWEST, "n_clusters": 1}).report
    assert "1 spectrum measured separately" in str(report)


def test_equal_channels_by_chance_are_no_saturation(recwarn):
    # One of these 2304 spectra of counted electrons has three equal channels at its top.
    counted = data.very_low_dose((48, 48), random_state=501).signal
    look(Spectra(counted.data, counted.axes_manager.signal_axes[0].axis), Options(random_state=0))
    assert not any("saturated" in str(warning.message) for warning in recwarn)


# --- errors that spectra share ---------------------------------------------------------------------


def errors(residual, noise, claimed):
    n = len(residual)
    return SharedErrors(
        np.arange(float(n)), residual, *np.broadcast_arrays(noise, claimed, residual)
    )


@pytest.mark.parametrize("noise", [0.0001, 0.003, 0.01])
@pytest.mark.parametrize("times", [1.0, 3.0])
def test_errors_found_are_a_multiple_of_those_claimed(noise, times):
    rng = np.random.default_rng(0)
    shared = times * 0.003 * rng.standard_normal(4000)
    found = errors(shared + noise * rng.standard_normal(4000), noise, 0.003).ratio
    assert abs(found.mean - times**2) < 4 * np.hypot(found.sigma, times**2 * np.sqrt(2 / 4000))


def test_noise_alone_fails_no_check():
    rng = np.random.default_rng(1)
    found = [at_least(errors(rng.standard_normal(300), 1.0, 0.1).ratio) for _ in range(200)]
    # A ratio must exceed 1.5 after its standard error is taken off; most of these are of 1 or less.
    assert np.mean(np.array(found) > 15) == 0
    assert np.median(found) < 10


def test_few_counts_are_no_shared_error():
    # Were spectra weighted by the noise of their own counts, those that happen to be low would count
    # more: means came out low by an electron in every channel, and this chi2 was 4.
    few = data.very_low_dose((16, 16), random_state=1).signal.remove_zlp_ml(**FEW)
    pure = few.report.pure
    expected = np.hypot(pure.noise, pure.claimed)
    tails = np.abs(pure.distance) > 1.0
    assert tails.sum() > 20
    assert np.mean((pure.residual / expected)[tails] ** 2) < 1.5
    assert few.report.verdicts.get("check on region I", "passed") == "passed"


@pytest.mark.parametrize("level", [0.0, 5e4])
def test_a_level_of_all_channels_changes_no_check(sample, level):
    # What the detector adds to each channel is no electrons, and has no noise.
    dark = np.full(sample.signal.data.shape[:2] + (200,), 0.0)
    counts = np.concatenate([dark, sample.signal.data], axis=-1) + level
    axis = sample.signal.axes_manager.signal_axes[0]
    energy = axis.offset + axis.scale * np.arange(-200, axis.size)
    report = remove_zlp(counts, energy, **FEWEST).report
    assert np.median(report.pure.noise) < 0.02


def test_figure_has_a_column_for_every_check(result):
    axes_of = result.plot_checks()
    titles = [axes.get_title() for axes in axes_of]
    assert titles[:2] == list(result.report.shared_errors)
    top = axes_of[0]
    assert "%" in top.get_ylabel()
    assert axes_of[2].get_xlabel().endswith("(eV)")


def test_points_of_the_figure_are_in_the_units_of_the_axis(in_mev):
    axes = in_mev.plot_checks()[2]
    assert "meV" in axes.get_xlabel()
    assert 1e3 < axes.get_xlim()[1] < 2e4


def test_no_check_no_figure(result):
    none = replace(result.report, vacuum=None, pure=SharedErrors.none(), check_note="no vacuum")
    with pytest.raises(
        ValueError, match="plot_checks: expected spectra that are pure ZLP .* no vacuum"
    ):
        replace(result, removed=replace(result.removed, report=none)).plot_checks()
