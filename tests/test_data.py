# SPDX-License-Identifier: GPL-3.0-or-later
"""Sample images: electrons are conserved, vacuum scatters nothing, the same state repeats."""

import numpy as np
import pytest

from hyperspy_zlpml import data
from hyperspy_zlpml.data.forward import (
    Camera,
    Material,
    Response,
    TrueSpectra,
    add_noise,
    zlp_and_inelastic,
)

SYMMETRIC = Response(2.0, 2.0, 0.0)


def simulate(
    energy,
    thickness,
    fwhm=0.45,
    centre=0.0,
    electrons=1e8,
    tail=0.0,
    gap=1.6,
    response=SYMMETRIC,
    material=None,
):
    thickness = np.atleast_1d(np.asarray(thickness, float))
    one_number = {
        "centre": centre,
        "fwhm": fwhm,
        "tail": tail,
        "electrons": electrons,
        "band_gap": gap,
    }
    each = {name: np.broadcast_to(value, thickness.shape) for name, value in one_number.items()}
    truth = TrueSpectra(thickness=thickness, **each)
    return zlp_and_inelastic(energy, truth, response, material or Material())


# --- response -------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponents", [(1.0, 1.0), (2.5, 2.0), (1.8, 1.7), (50.0, 3.0)])
def test_response_has_unit_height_and_width(exponents):
    peak = Response(*exponents, halo=0.0)
    assert peak(np.array(0.0)) == 1.0
    np.testing.assert_allclose(peak(np.array([-0.5, 0.5])), 0.5)


def test_response_falls_on_both_sides():
    u = np.linspace(0, 60, 2000)
    for side in (1, -1):
        assert (np.diff(Response()(side * u)) < 0).all()


def test_tail_factor_leaves_the_core_and_multiplies_the_flanks():
    u = np.array([0.0, 0.3, 50.0, -50.0])
    ratio = Response()(u, 0.2) / Response()(u)
    np.testing.assert_allclose(ratio[:2], 1.0, atol=0.005)
    np.testing.assert_allclose(ratio[2:], np.exp(0.2), rtol=1e-3)


# --- losses ---------------------------------------------------------------------------------------


def test_single_scattering_has_unit_area_and_starts_at_the_gap():
    energy = 0.02 * np.arange(8000)
    gap = np.array([[0.7], [1.6], [3.4]])
    density = Material().single_scattering(energy, gap)
    np.testing.assert_allclose(density.sum(-1) * 0.02, 1.0, rtol=0.01)
    assert (density >= 0).all()
    for row, start in zip(density, gap[:, 0], strict=True):
        assert not row[energy <= start].any()
        assert row[energy > start].all()


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.5])
def test_onset_is_the_power_law_that_was_asked_for(exponent):
    material = Material(band_gap=2.0, onset_exponent=exponent, excitons=())
    energy = 2.0 + np.array([0.0, 1e-3, 2e-3]) + 1e-9
    density = material.single_scattering(energy, np.array([[2.0]]))[0]
    assert np.log2(density[2] / density[1]) == pytest.approx(exponent, abs=0.01)


def test_plasmon_is_the_drude_loss_function():
    # Im(-1/eps) = E Ep^2 Gamma / ((E^2 - Ep^2)^2 + (E Gamma)^2), Egerton eq. 3.43: E**-3 far out.
    material = Material(0.0, 1.0, 20.0, 4.0, interband=0.0, excitons=())
    energy = 0.05 * np.arange(16_000)
    density = material.single_scattering(energy, np.zeros((1, 1)))[0]
    far = np.interp([200.0, 400.0], energy, density)
    assert np.log2(far[0] / far[1]) == pytest.approx(3.0, abs=0.1)


# --- forward model --------------------------------------------------------------------------------

LONG = 0.1 * np.arange(-400, 6000)  # 40 eV before the peak, 600 eV behind it


def test_vacuum_scatters_nothing():
    zlp, inelastic = simulate(LONG, [0.0, 0.0])
    assert not inelastic.any()
    np.testing.assert_allclose(zlp.sum(-1), 1e8, rtol=1e-3)


@pytest.mark.parametrize("thickness", [0.1, 1.0, 2.0])
def test_electrons_are_conserved(thickness):
    # At most half a per cent of the single losses lies beyond 600 eV.
    zlp, inelastic = simulate(LONG, thickness)
    assert (zlp + inelastic).sum() == pytest.approx(1e8, rel=1e-3 + 0.01 * thickness)
    # Poisson statistics of plural scattering: exp(-t/lambda) lose nothing (Egerton, eq. 3.94).
    assert zlp.sum() == pytest.approx(1e8 * np.exp(-thickness), rel=1e-3)


def test_thin_specimens_scatter_once_in_proportion_to_thickness():
    _, thin = simulate(LONG, [0.001, 0.002])
    np.testing.assert_allclose(thin[1], 2 * thin[0], rtol=5e-3, atol=1e-3 * thin[1].max())


def test_plasmons_repeat_with_poisson_weights():
    # A narrow plasmon at 15 eV and nothing else: its multiples hold t^n / n! of the zero-loss.
    material = Material(
        band_gap=0.0, plasmon_energy=15.0, plasmon_width=0.3, interband=0.0, excitons=()
    )
    zlp, inelastic = simulate(
        LONG, 1.0, gap=0.0, response=Response(20.0, 20.0, 0.0), material=material
    )
    for n in (1, 2, 3):
        near = np.abs(LONG - 15.0 * n) < 7.5
        expected = zlp.sum() / np.prod(np.arange(1, n + 1))
        assert inelastic[0, near].sum() == pytest.approx(expected, rel=0.06)


def test_peaks_have_the_centre_and_width_asked_for():
    energy = 0.025 * np.arange(-160, 864)
    centre, fwhm = np.array([0.0, 0.11, -0.2]), np.array([0.45, 0.3, 0.9])
    zlp, _ = simulate(energy, np.zeros(3), fwhm, centre)
    for row, c, w in zip(zlp, centre, fwhm, strict=True):
        half = np.interp([c - w / 2, c, c + w / 2], energy, row) / row.max()
        np.testing.assert_allclose(half, [0.5, 1.0, 0.5], atol=0.01)


def test_beam_current_scales_everything():
    one, two = (simulate(LONG, 0.5, electrons=e) for e in (1e6, 2e6))
    np.testing.assert_allclose(two[0], 2 * one[0])
    np.testing.assert_allclose(two[1], 2 * one[1], atol=1e-9)


@pytest.mark.parametrize(
    "offset, step, n, fwhm, thickness, settings",
    [
        (-4.0, 0.025, 1024, 0.45, 1.0, {}),
        (-4.0, 0.025, 2048, 0.45, 1.0, {}),
        (-1.0, 0.005, 2048, 0.08, 1.0, {}),
        (-3.0, 0.02, 2048, 0.3, 2.0, {"gap": 0.7, "material": Material(0.7, 0.5, 16.7, 4.0)}),
    ],
)
def test_length_of_the_axis_does_not_change_what_is_in_view(
    offset, step, n, fwhm, thickness, settings
):
    # Losses are positive: what lies beyond the axis only comes into view by the response's tail.
    short = offset + step * np.arange(n)
    long = offset + step * np.arange(12 * n)
    zlp, inelastic = simulate(short, thickness, fwhm, response=Response(), **settings)
    _, truth = simulate(long, thickness, fwhm, response=Response(), **settings)
    below_gap = short < 0.5
    difference = np.abs(inelastic - truth[:, :n])[:, below_gap]
    assert (difference < 0.02 * zlp[:, below_gap]).all()


def test_thickness_means_the_same_on_any_axis():
    step, n = 0.005, 2048
    short, long = (-1.0 + step * np.arange(k * n) for k in (1, 12))
    found, truth = (simulate(e, 1.0, 0.08)[1][0, :n].sum() for e in (short, long))
    assert found == pytest.approx(truth, rel=0.02)


def test_no_electron_gains_energy():
    # Far on the gain side the losses reach by the response's tails only: the inelastic part is
    # then to the ZLP at most as the probability of a loss is to that of none.
    energy = -4.0 + 0.025 * np.arange(1024)
    zlp, inelastic = simulate(energy, 1.0, response=Response())
    gain = energy < -1.0
    assert (inelastic[:, gain] <= np.expm1(1.0) * zlp[:, gain]).all()


# --- noise ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("gain, readout", [(1.0, 0.0), (2.0, 5.0), (0.5, 30.0)])
def test_noise_has_the_mean_and_variance_of_a_camera(gain, readout):
    # 40 000 channels: mean to 0.5 %, variance to 0.7 % of itself; five of them.
    rng = np.random.default_rng(0)
    counts = add_noise(np.full(40_000, 200.0), Camera(gain, readout), rng)
    variance = 200 * gain + readout**2
    assert counts.mean() == pytest.approx(200, abs=5 * np.sqrt(variance / 40_000))
    assert counts.var() == pytest.approx(variance, rel=0.036)


def test_integer_counts_are_whole_numbers():
    counts = add_noise(np.full(100, 7.3), Camera(1.0, 2.0, integer=True), np.random.default_rng(1))
    np.testing.assert_array_equal(counts, np.round(counts))


# --- images ---------------------------------------------------------------------------------------

SMALL = {"n_channels": 256, "scale": 0.1}


@pytest.mark.parametrize("kind", sorted(data.SAMPLE_KINDS))
def test_the_same_state_gives_the_same_image(kind):
    make = data.SAMPLE_KINDS[kind]
    shape = {"line_scan": (6,), "single_spectrum": ()}.get(kind, (4, 3))
    one, same, other = (make(shape, state, n_channels=256) for state in (1, 1, 2))
    for name in ("signal", "zlp", "inelastic", "band_gap", "thickness", "centre", "fwhm"):
        np.testing.assert_array_equal(getattr(one, name).data, getattr(same, name).data)
    assert (one.signal.data != other.signal.data).any()


@pytest.mark.parametrize("shape", [(), (5,), (4, 3), (2, 3, 4)])
def test_shapes_and_axes(shape):
    sample = data.make_sample(shape, random_state=0, **SMALL)
    for spectra in (sample.signal, sample.zlp, sample.inelastic):
        assert spectra.data.shape == shape[::-1] + (256,)
        axis = spectra.axes_manager.signal_axes[0]
        assert (axis.scale, axis.offset, axis.units) == (0.1, -4.0, "eV")
    for quantity in (sample.band_gap, sample.thickness, sample.centre, sample.fwhm):
        assert quantity.data.size == np.prod(shape, dtype=int)


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5])
def test_vacuum_is_as_large_as_asked_and_scatters_nothing(fraction):
    sample = data.make_sample((10, 8), vacuum_fraction=fraction, random_state=0, **SMALL)
    vacuum = sample.thickness.data == 0
    # The thinnest specimen pixel is as thin as vacuum.
    assert vacuum.sum() == pytest.approx(80 * fraction, abs=1)
    assert not sample.inelastic.data[vacuum].any()
    assert (sample.inelastic.data[~vacuum].sum(-1) > 0).all()


def test_an_image_of_nothing_but_vacuum():
    sample = data.make_sample((4, 4), vacuum_fraction=1.0, random_state=0, **SMALL)
    assert not sample.thickness.data.any()
    assert not sample.inelastic.data.any()


def test_thickness_stays_in_its_range_and_no_vacuum_has_none():
    thickness = data.no_vacuum((8, 8), 0, **SMALL).thickness.data
    assert thickness.min() >= 0.2
    assert thickness.max() <= 1.0


def test_counts_are_the_truth_and_its_noise():
    # Pulls of 100 x 256 channels: mean to 0.006, variance to 0.9 %; five of them.
    sample = data.make_sample((10, 10), gain=2.0, readout=10.0, random_state=3, **SMALL)
    expected = (sample.zlp.data + sample.inelastic.data).astype(float)
    pulls = (sample.signal.data - expected) / np.sqrt(2.0 * expected + 100.0)
    assert pulls.mean() == pytest.approx(0, abs=0.031)
    assert pulls.var() == pytest.approx(1, rel=0.045)


def test_height_of_the_peak_in_vacuum_is_what_was_asked_for():
    sample = data.make_sample(
        (6, 6), 512, scale=0.02, vacuum_fraction=0.9, peak_counts=1e5, centre_drift=0.0,
        width_drift=0.0, tail_drift=0.0, thickness_range=(0.0, 0.0), random_state=0,
    )  # fmt: skip
    # The beam fluctuates by 1 %.
    assert np.median(sample.zlp.data.max(-1)) == pytest.approx(1e5, rel=0.02)


@pytest.mark.parametrize("integer, kind", [(True, "i"), (False, "f")])
def test_type_of_the_counts(integer, kind):
    assert (
        data.make_sample((2, 2), integer=integer, random_state=0, **SMALL).signal.data.dtype.kind
        == kind
    )


def test_drift_has_the_size_asked_for():
    sample = data.make_sample((20, 20), fwhm=0.5, centre_drift=0.1, width_drift=0.05,
                              random_state=4, n_channels=128, scale=0.1)  # fmt: skip
    # Half of the variance is pixel noise, half a slow field of unit variance.
    assert sample.centre.data.std() == pytest.approx(0.05, rel=0.2)
    assert sample.fwhm.data.std() == pytest.approx(0.025, rel=0.2)


# --- kinds ----------------------------------------------------------------------------------------


def test_gain_peak_is_where_and_as_large_as_stated():
    # The same state without it: the difference is the gain peak alone, of 3e-4 of the unscattered
    # electrons per mean free path, 0.4 eV before the centre. The ZLP in view lacks its far tails
    # (a few per cent), so does what they carry of the gain; losses are stored in single precision.
    with_gain = data.energy_gain((4, 4), random_state=0)
    without = data.monochromated((4, 4), random_state=0)
    np.testing.assert_array_equal(with_gain.zlp.data, without.zlp.data)
    gain = (with_gain.inelastic.data.astype(float) - without.inelastic.data).reshape(16, -1)
    energy = with_gain.signal.axes_manager.signal_axes[0].axis
    thickness, centre = with_gain.thickness.data.ravel(), with_gain.centre.data.ravel()
    vacuum = thickness == 0
    assert not gain[vacuum].any()
    zlp = with_gain.zlp.data.reshape(16, -1).sum(-1)
    near = np.abs(energy - centre[:, None] + 0.4) < 0.4
    size = (gain * near).sum(-1) / zlp
    np.testing.assert_allclose(size[~vacuum], 3e-4 * thickness[~vacuum], rtol=0.1)
    # The response of 0.08 eV is a little steeper on its gain side.
    highest = energy[gain.argmax(-1)]
    np.testing.assert_allclose((highest - centre)[~vacuum], -0.4, atol=0.01)
    thick = thickness > 0.5
    for row in gain[thick]:
        above = energy[row > row.max() / 2]
        assert 0.08 < np.ptp(above) < 0.13  # Gaussian of 0.05 eV and response of 0.08 eV


def test_energy_gains_have_the_area_asked_for():
    material = Material(gains=((0.4, 0.05, 3e-4), (0.9, 0.1, 1e-4)))
    energy = -2 + 0.001 * np.arange(4000)
    density = material.energy_gain(energy)
    assert density.sum() * 0.001 == pytest.approx(4e-4, rel=1e-6)
    assert energy[density.argmax()] == pytest.approx(-0.4, abs=0.001)
    assert (density[energy > 0] < 1e-12).all()
    assert not Material().energy_gain(energy).any()


# --- phonons --------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 300.0, 1e5])
def test_phonons_are_gained_and_lost_in_detailed_balance(temperature):
    phonons = ((0.1, 0.006, 0.02), (0.05, 0.02, 0.01))
    material = Material(phonons=phonons, temperature=temperature)
    energy = 1e-3 * np.arange(0, 301)
    loss, gain = material.phonon_scattering(energy), material.phonon_scattering(-energy)
    with np.errstate(under="ignore"):
        expected = loss * np.exp(-energy / (8.617333262e-5 * temperature))
    np.testing.assert_allclose(gain[1:], expected[1:], rtol=1e-9, atol=1e-300)
    # Losses are n + 1 and gains n times what is lost at zero temperature.
    cold = Material(phonons=phonons, temperature=1.0).phonon_scattering(energy)
    np.testing.assert_allclose(loss - gain, cold, rtol=1e-6, atol=1e-12)
    assert cold.sum() * 1e-3 == pytest.approx(0.03, rel=1e-2)


def test_phonons_of_a_specimen_and_none_of_vacuum():
    cold, hot = (data.phonons((4, 4), temperature=t, random_state=0) for t in (300.0, 1000.0))
    np.testing.assert_array_equal(cold.zlp.data, hot.zlp.data)
    energy = cold.signal.axes_manager.signal_axes[0].axis
    specimen = cold.thickness.data > 0
    assert not hot.inelastic.data[~specimen].any()
    for sample, temperature in ((cold, 300.0), (hot, 1000.0)):
        inelastic = sample.inelastic.data[specimen].sum(0).astype(float)
        loss, gain = (inelastic[np.abs(energy - at) < 0.03].sum() for at in (0.1, -0.1))
        assert np.log(loss / gain) == pytest.approx(0.1 / (8.617e-5 * temperature), rel=0.03)
    nothing = data.phonons((4, 4), strength=0.0, random_state=0)
    assert nothing.inelastic.data.max() < 1e-3 * cold.inelastic.data.max()


@pytest.mark.parametrize(
    "wrong, name", [({"temperature": 0.0}, "temperature"), ({"strength": 2.0}, "strength")]
)
def test_phonons_that_are_none(wrong, name):
    with pytest.raises(ValueError, match=f"{name}: expected"):
        data.phonons((2, 2), **wrong)


def test_very_low_dose_counts_electrons():
    # No read-out noise: the variance is the mean; the sum of squares of all channels is known to
    # 2.3 %, five of them.
    sample = data.very_low_dose((8, 8), random_state=0, n_channels=1024)
    assert sample.signal.data.dtype.kind == "i"
    assert (sample.gain, sample.readout) == (1.0, 0.0)
    assert sample.signal.data.min() >= 0
    expected = (sample.zlp.data + sample.inelastic.data).astype(float)
    squares = ((sample.signal.data - expected) ** 2).sum()
    assert squares / expected.sum() == pytest.approx(1, rel=0.12)
    vacuum = sample.thickness.data == 0
    assert np.median(sample.zlp.data[vacuum].max(-1)) == pytest.approx(1e3, rel=0.05)


def test_strong_drift_is_half_a_width():
    # Half of the variance is one slow field of unit variance, the rest 400 pixels'.
    sample = data.strong_drift((20, 20), random_state=1, n_channels=256)
    assert sample.centre.data.std() / 0.45 == pytest.approx(0.5, rel=0.2)
    vacuum = sample.thickness.data == 0
    assert sample.fwhm.data[vacuum].std() / 0.45 == pytest.approx(0.1, rel=0.3)
    # Everything else is the flake's.
    calm = data.ws2_like((20, 20), random_state=1, n_channels=256)
    np.testing.assert_array_equal(sample.thickness.data, calm.thickness.data)


@pytest.mark.parametrize("seed", range(3))
def test_a_vacuum_reference_is_narrower_and_empty(seed):
    reference, spectrum = (
        kind(random_state=seed, n_channels=256)
        for kind in (data.vacuum_reference, data.single_spectrum)
    )
    assert reference.signal.axes_manager.navigation_dimension == 0
    assert not reference.thickness.data.any()
    assert not reference.inelastic.data.any()
    # The same state draws the same fluctuation. The specimen broadens by 2.5 % at half a mean
    # free path.
    ratio = reference.fwhm.data / spectrum.fwhm.data
    np.testing.assert_allclose(ratio, 1 / 1.05 / 1.025, rtol=0.005)
    one, other = (sample.signal.axes_manager.signal_axes[0] for sample in (reference, spectrum))
    assert (one.scale, one.offset) == (other.scale, other.offset)


def test_every_kind_is_public():
    assert set(data.SAMPLE_KINDS) < set(data.__all__)
    assert "vacuum_reference" not in data.SAMPLE_KINDS  # no sample by itself


def test_samples_are_told_in_a_line():
    sample = data.ws2_like((4, 3), random_state=0, **SMALL)
    assert repr(sample) == "<SampleImage, title: WS2-like flake, dimensions: (4, 3|256)>"


def test_material_sets_the_gap():
    sample = data.make_sample((5, 5), material=Material(band_gap=3.0), random_state=0, **SMALL)
    assert sample.band_gap.data.mean() == pytest.approx(3.0, abs=0.1)
