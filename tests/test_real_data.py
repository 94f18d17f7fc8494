# SPDX-License-Identifier: GPL-3.0-or-later
"""Measured spectra: what must hold for them; skipped where they are not at hand."""

import warnings

import hyperspy.api as hs
import numpy as np
import pytest
from conftest import SPECTRA, assert_same_results

from hyperspy_zlpml import EELSZLPSpectrum, NoZeroLossPeakError

OPTIONS = {"n_replicas": 30, "random_state": 0}


def load(data_dir, name, **options):
    file = data_dir / name
    if not file.exists():
        pytest.skip(f"../shared/data/{name} is not there")
    return hs.load(file, signal_type="EELS_ZLPML", **options)


def remove(signal, **options):
    """A removal; what it warns of is the business of other tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return signal.remove_zlp_ml(**{**OPTIONS, **options})


def assert_sane(result, signal, most=1.05):
    """Finite, adding up, with a peak of the height, place and width of the measured one."""
    for name in SPECTRA:
        assert np.isfinite(getattr(result, name).data).all(), name
    assert np.isfinite(result.subtracted.get_noise_variance().data).all()
    assert (result.zlp.data >= 0).all()
    assert (result.std.data >= 0).all()
    data = signal.data.astype(float)
    whole = result.subtracted.data.astype(float) + result.zlp.data + result.dark_level.data
    np.testing.assert_allclose(whole, data, rtol=1e-5, atol=1e-5 * data.max())
    # The predicted peak is the measured one in its core ...
    height = data.max(-1) - result.report.pedestal
    np.testing.assert_allclose(result.zlp.data.max(-1), height, rtol=0.1)
    # ... dies out: at the end of the axis hardly any of it is left, within its error.
    assert (result.zlp.data[..., -1] < 1e-3 * height + result.std.data[..., -1]).all()
    assert (result.zlp.data[..., -1] < 1e-3 * height).mean() > 0.99
    energy = signal.axes_manager.signal_axes[0].axis
    centre, fwhm = (np.reshape(m.data, (-1, 1)) for m in (result.centre, result.fwhm))
    # ... takes no more than there is ...
    near = (np.abs(energy - centre) < 6 * fwhm).reshape(data.shape)
    total = np.where(near, data - result.report.pedestal, 0).sum(-1)
    assert (np.where(near, result.zlp.data, 0).sum(-1) < most * total).all()
    # ... and falls on its flank, or rises by no more than a third of its error where it has fine structure.
    flank = (energy > centre + fwhm) & (energy < centre + 6 * fwhm)
    spectra = (values.data.reshape(-1, energy.size) for values in (result.zlp, result.std))
    for spectrum, error, use in zip(*spectra, flank, strict=True):
        level = 1e-4 * spectrum[use] + error[use] / 3
        assert (np.diff(spectrum[use]) <= level[:-1]).mean() > 0.9


# --- WS2 -----------------------------------------------------------------------------------------

VACUUM = slice(0, 2)
SPECIMEN = slice(2, 5)


@pytest.fixture(scope="module")
def specimen4(data_dir):
    """Positions 1 and 2 are vacuum, 3 to 5 the flake."""
    return remove(load(data_dir, "ws2_specimen4.hspy"))


def integral_of_the_zlp(result, left, right):
    energy = result.zlp.axes_manager.signal_axes[0].axis
    distance = energy - np.reshape(result.centre.data, (-1, 1))
    return np.where((distance >= left) & (distance < right), result.zlp.data, 0).sum(-1)


def test_ws2_specimen4_is_sane(specimen4, data_dir):
    assert_sane(specimen4, load(data_dir, "ws2_specimen4.hspy"))


def test_ws2_specimen4_vacuum_is_found(specimen4):
    np.testing.assert_array_equal(specimen4.vacuum.data, [True, True, False, False, False])


def test_ws2_specimen4_vacuum_vanishes(specimen4):
    fwhm = specimen4.fwhm.data[VACUUM].mean()
    integral, error = (m.data[VACUUM] for m in specimen4.integrate(2 * fwhm, 8 * fwhm))
    zlp = integral_of_the_zlp(specimen4, 2 * fwhm, 8 * fwhm)[VACUUM]
    assert (np.abs(integral) < 2 * error).all(), integral / error
    assert (np.abs(integral) < 0.02 * zlp).all(), integral / zlp


def test_ws2_specimen4_gap_is_empty(specimen4):
    integral, error = (m.data[SPECIMEN] for m in specimen4.integrate(1.0, 1.4))
    zlp = integral_of_the_zlp(specimen4, 1.0, 1.4)[SPECIMEN]
    fits = (np.abs(integral) < 3 * error) | (np.abs(integral) < 0.03 * zlp)
    assert fits.all(), (integral / error, integral / zlp)


def test_ws2_specimen4_losses_show(specimen4):
    integral, error = (m.data[SPECIMEN] for m in specimen4.integrate(2.5, 4.0))
    assert (integral > 5 * error).all(), integral / error


def test_ws2_specimen4_peak_widths(specimen4):
    """0.45 eV in vacuum, 5 % more on the specimen (../shared/data/README.md)."""
    fwhm = specimen4.fwhm.data
    np.testing.assert_allclose(fwhm[VACUUM], 0.45, atol=0.01)
    np.testing.assert_allclose(fwhm[SPECIMEN], 0.47, atol=0.01)


def test_ws2_specimen4_vacuum_by_hand_is_the_same(specimen4, data_dir):
    signal = load(data_dir, "ws2_specimen4.hspy")
    result = remove(signal, vacuum=np.array([True, True, False, False, False]))
    assert_same_results(result, specimen4)


def test_ws2_specimen4_with_its_vacuum_as_a_signal(data_dir):
    signal = load(data_dir, "ws2_specimen4.hspy")
    result = remove(signal.inav[2:], vacuum=signal.inav[:2])
    integral, error = (m.data for m in result.integrate(2.5, 4.0))
    assert (integral > 5 * error).all()


def test_ws2_specimen3_monochromated(data_dir):
    signal = load(data_dir, "ws2_specimen3_mono.hspy")
    result = remove(signal)
    # The gain side of the specimen is no ZLP from 1.3 FWHM on: nothing tells how its ZLP goes on.
    assert_sane(result, signal, most=1.25)
    fwhm = result.fwhm.data
    np.testing.assert_allclose(fwhm[:2], 0.080, atol=0.003)
    assert ((fwhm[2:] > 0.080) & (fwhm[2:] < 0.097)).all()
    integral, error = (m.data[2:] for m in result.integrate(2.5, 4.0))
    assert (integral > 3 * error).all()


# --- silicon -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def silicon(data_dir):
    """Straight from the vendor's file, nothing aligned."""
    return remove(load(data_dir, "si_16x16_200kV.dm3"))


def plasmon_above_the_peak(result):
    """Vertex of a parabola through the highest channels of the plasmon, eV from the peak."""
    energy = result.subtracted.axes_manager.signal_axes[0].axis
    centre = result.centre.data.ravel()
    positions = []
    for spectrum, own in zip(result.subtracted.data.reshape(centre.size, -1), centre, strict=True):
        distance = energy - own
        near = np.flatnonzero((distance > 12) & (distance < 22))
        top = near[spectrum[near].argmax()]
        use = np.abs(distance - distance[top]) <= 1.5
        square, slope, _ = np.polyfit(distance[use], spectrum[use], 2)
        positions.append(-slope / (2 * square))
    return np.array(positions)


def test_silicon_is_sane(silicon, data_dir):
    assert_sane(silicon, load(data_dir, "si_16x16_200kV.dm3"))
    assert ((silicon.centre.data > 7) & (silicon.centre.data < 10.5)).all()
    np.testing.assert_allclose(np.median(silicon.fwhm.data), 1.36, rtol=0.1)


def test_silicon_plasmon(silicon):
    position = plasmon_above_the_peak(silicon)
    assert np.median(position) == pytest.approx(16.7, abs=0.2)
    assert (np.abs(position - 16.7) < 0.6).mean() >= 0.95


def test_silicon_has_no_gap_that_holds(silicon):
    """It lies below E_I: what is found above is a later rise, and the band of the peak may hide losses below."""
    found = silicon.band_gap(show_progressbar=False)
    assert (found.reason.data == 0).mean() < 0.02


def test_silicon_lazy_equals_eager(silicon, data_dir):
    lazy = load(data_dir, "si_16x16_200kV.dm3", lazy=True)
    result = remove(lazy)
    assert result.subtracted._lazy
    result.compute()
    assert_same_results(result, silicon, rtol=1e-6)


def test_silicon_in_other_chunks(silicon, data_dir):
    signal = load(data_dir, "si_16x16_200kV.dm3")
    eager = remove(signal, ensemble=silicon.ensemble)
    result = remove(signal.as_lazy(chunks=(5, 7, 300)), ensemble=silicon.ensemble)
    result.compute()
    assert_same_results(result, eager, rtol=1e-6)


def test_silicon_with_its_own_ensemble_given(silicon, data_dir):
    """What is found anew is found the same: within the error, nothing to be told of."""
    result = remove(load(data_dir, "si_16x16_200kV.dm3"), ensemble=silicon.ensemble)
    assert not [told for told in result.report.messages if "other data" in told]
    pull = (result.zlp.data - silicon.zlp.data) / silicon.std.data
    # Not the same: its own means are learnt anew, as if the ensemble came from other spectra.
    assert np.sqrt((pull**2).mean()) < 1.8


# --- others --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, fwhm",
    [
        ("lsmo_linescan_80kV.hspy", 1.04),
        ("fecr_linescan_300kV_lowdose.dm3", 1.1),
        ("cr_lowloss_200kV.hspy", 1.45),
        ("ice_pedestal.msa", 0.96),
    ],
)
def test_runs_without_special_arguments(data_dir, name, fwhm):
    signal = load(data_dir, name)
    result = remove(signal)
    assert_sane(result, signal)
    assert np.median(result.fwhm.data) == pytest.approx(fwhm, rel=0.2)


def test_narrow_peak_is_told_of(data_dir):
    signal = load(data_dir, "lsmo_linescan_80kV.hspy")
    with pytest.warns(UserWarning, match="channels wide"):
        signal.remove_zlp_ml(n_replicas=8, random_state=0)


def half_of_a_line(data_dir, half):
    signal = load(data_dir, "lsmo_linescan_80kV.hspy")
    signal.data = signal.data[half]
    signal.axes_manager.navigation_axes[0].size = 20
    return signal


@pytest.mark.parametrize(
    "half", [np.arange(0, 40, 2), np.sort(np.random.default_rng(2).permutation(40)[:20])]
)
def test_half_of_a_line_has_a_peak_in_every_spectrum(data_dir, half):
    """Their modes of variation are hidden by noise, and must not be continued into the tails."""
    signal = half_of_a_line(data_dir, half)
    result = remove(signal, n_replicas=8)
    assert np.isfinite(result.zlp.data).all()
    assert_sane(result, signal)


@pytest.mark.parametrize("seed", range(1, 4))
def test_half_of_a_line_has_the_width_of_the_whole(data_dir, seed):
    half = np.sort(np.random.default_rng(seed).permutation(40)[:20])
    signal = half_of_a_line(data_dir, half)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        seen = signal.train_zlp_ml(n_replicas=6, random_state=0).seen
    _, fwhm, _ = signal.estimate_zlp_parameters(show_progressbar=False)
    assert np.exp(seen.log_fwhm.mean) == pytest.approx(np.nanmedian(fwhm.data), rel=0.1)
    # Losses are told from the peak.
    assert (seen.regions.E_I < 3).all()


def test_low_dose_is_dominated_by_read_out(data_dir):
    result = remove(load(data_dir, "fecr_linescan_300kV_lowdose.dm3"), n_replicas=8)
    assert result.ensemble.seen.noise.readout == pytest.approx(60, rel=0.15)


@pytest.mark.parametrize(
    "name, pedestal, tolerance",
    [("ice_pedestal.msa", 600, 5), ("cr_lowloss_200kV.hspy", 32, 2)],
)
def test_pedestal_is_reported(data_dir, name, pedestal, tolerance):
    report = remove(load(data_dir, name), n_replicas=8).report
    assert report.pedestal == pytest.approx(pedestal, abs=tolerance)
    assert f"{report.pedestal:.4g} counts per channel" in str(report)


# --- GaN: uncalibrated, with a reference of its own ----------------------------------------------


def calibrated(signal):
    axis = signal.axes_manager.signal_axes[0]
    axis.scale, axis.units = 0.05, "eV"
    return signal


def test_axis_without_units_is_refused(data_dir):
    with pytest.raises(ValueError, match="no units, expected eV.*units = 'eV'"):
        load(data_dir, "gan_lowloss.dm3").remove_zlp_ml(**OPTIONS)


def test_gan_with_its_vacuum_reference(data_dir):
    """Gap of 3.4 eV: the losses rise above it, and little of the signal is ZLP there."""
    signal = calibrated(load(data_dir, "gan_lowloss.dm3"))
    vacuum = calibrated(load(data_dir, "gan_zlp_reference.dm3"))
    result = remove(signal, vacuum=vacuum)
    assert_sane(result, signal)
    (above, error), (below, _) = (
        [m.data.item() for m in result.integrate(*window)] for window in ((4.5, 8.0), (2.2, 3.0))
    )
    assert above > 5 * error
    assert above / (8.0 - 4.5) > 1.3 * below / (3.0 - 2.2)
    assert above > 3 * integral_of_the_zlp(result, 4.5, 8.0).item()


# --- blank detector ------------------------------------------------------------------------------


@pytest.mark.parametrize("lazy", [False, True])
def test_blank_detector_is_refused(data_dir, lazy):
    file = data_dir / "blank_detector_16x20x2048.npy"
    if not file.exists():
        pytest.skip(f"../shared/data/{file.name} is not there")
    signal = EELSZLPSpectrum(np.load(file))
    axis = signal.axes_manager.signal_axes[0]
    axis.scale, axis.units = 0.1, "eV"
    with pytest.raises(NoZeroLossPeakError, match="no zero-loss peak found in any of 320 spectra"):
        (signal.as_lazy() if lazy else signal).remove_zlp_ml(**OPTIONS)
