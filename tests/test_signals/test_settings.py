# SPDX-License-Identifier: GPL-3.0-or-later
"""``train_zlp_ml([...], conditions=...)``: one ensemble for several settings of the microscope."""

import warnings
from dataclasses import replace

import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import QUICK, assert_same_results
from scipy.integrate import trapezoid

import hyperspy_zlpml
from hyperspy_zlpml import train_zlp_ml
from hyperspy_zlpml.components import ZLPNet
from hyperspy_zlpml.data import make_sample, setting_laws, vacuum_at_settings, ws2_like
from hyperspy_zlpml.ensemble.figure import along
from hyperspy_zlpml.signals.microscope import read_conditions
from hyperspy_zlpml.zlp.tails import level_ripples

NAMES = ["beam_energy", "exposure"]
BEAM_ENERGIES = (60.0, 100.0, 200.0)
EXPOSURES = (0.1, 0.2, 0.4)
FEW = {"n_replicas": 12, "random_state": 0, "show_progressbar": False}
#: Replicas and clusters enough to see whether a call works at all.
FEWEST = {"n_replicas": 4, "n_clusters": 1, "random_state": 0, "show_progressbar": False}
ENERGY = np.linspace(-3, 4, 701)
EXPOSURE = "Acquisition_instrument.TEM.Detector.EELS.exposure"
BETWEEN = {"beam_energy": 80, "exposure": 0.3}
FAR = {"beam_energy": 450, "exposure": 0.02}
#: Vacuum all over has few spectra that are thinner than others.
pytestmark = pytest.mark.filterwarnings("ignore:.*fewer than 2 spectra merged")


def at_setting(beam_energy, exposure, n_channels=512, scale=0.025, offset=-3.0, seed=0):
    """Vacuum that follows ``setting_laws`` to the letter; the electrons are those of any axis."""
    fwhm, peak_counts, response = setting_laws(beam_energy, exposure)
    sample = make_sample(
        (4, 4), n_channels, offset, scale, fwhm, peak_counts * scale / 0.025, (0.0, 0.0), 1.0,
        width_drift=0.01, tail_drift=0.02, response=response, random_state=seed,
    )  # fmt: skip
    sample.signal.set_microscope_parameters(beam_energy=beam_energy)
    sample.signal.metadata.set_item(EXPOSURE, exposure)
    return sample.signal


@pytest.fixture(scope="module")
def images():
    """Vacuum at 3 x 3 settings. Not to be modified."""
    return vacuum_at_settings(BEAM_ENERGIES, EXPOSURES, (4, 4), n_channels=512, random_state=0)


@pytest.fixture(scope="module")
def signals(images):
    return [image.signal for image in images]


@pytest.fixture(scope="module")
def ensemble(signals):
    return train_zlp_ml(signals, NAMES, **FEW)


def pair():
    """Vacuum at two beam energies."""
    return [at_setting(100.0, 0.2, seed=1), at_setting(200.0, 0.2, seed=2)]


@pytest.fixture
def two():
    """Vacuum at two beam energies, which a test may modify."""
    return pair()


@pytest.fixture(scope="module")
def of_two():
    """An ensemble of ``two``."""
    return train_zlp_ml(pair(), ["beam_energy"], **FEWEST)


@pytest.fixture
def measured():
    """Vacuum at a setting that was not trained at."""
    return at_setting(80.0, 0.3, seed=5)


def truth(energy, beam_energy, exposure):
    """Counts per channel that the laws promise."""
    fwhm, peak_counts, response = setting_laws(beam_energy, exposure)
    channel = np.abs(np.gradient(energy)) / 0.025
    return peak_counts * response(energy / fwhm) / response(0.0) * channel


def log_spread(ensemble, beam_energy, exposure):
    """Mean standard deviation of ln(ZLP) over 1 to 8 FWHM, as ``benchmarks/reuse.py`` has it."""
    fwhm, *_ = setting_laws(beam_energy, exposure)
    energy = np.linspace(1, 8, 50) * fwhm
    replicas = ensemble.predict(energy, beam_energy=beam_energy, exposure=exposure)
    return np.log(replicas).std(0, ddof=1).mean()


# --- prediction -----------------------------------------------------------------------------------

TRAINED = [(60.0, 0.1), (60.0, 0.4), (100.0, 0.2), (200.0, 0.1), (200.0, 0.4)]
INSIDE = [(80.0, 0.3), (140.0, 0.15), (70.0, 0.12), (170.0, 0.38)]


@pytest.mark.parametrize("beam_energy, exposure", TRAINED + INSIDE)
def test_the_zlp_at_a_setting_is_the_true_one(ensemble, beam_energy, exposure):
    """The median of 12 replicas is within four of their standard deviations, and within 25 %.

    Four, as twelve replicas tell a standard deviation to a fifth, and flanks of one setting have one
    error in common.
    """
    fwhm, *_ = setting_laws(beam_energy, exposure)
    energy = np.linspace(-5, 8, 131) * fwhm
    found = np.log(ensemble.predict(energy, beam_energy=beam_energy, exposure=exposure))
    off = np.median(found, 0) - np.log(truth(energy, beam_energy, exposure))
    assert (np.abs(off) < 4 * found.std(0, ddof=1)).all()
    assert np.abs(off).max() < np.log(1.25)
    assert np.abs(off[np.abs(energy) < fwhm]).max() < np.log(1.1)


def test_measured_width_and_brightness_are_those_of_the_laws(ensemble):
    for beam_energy, exposure in TRAINED + INSIDE:
        there = ensemble.at(beam_energy=beam_energy, exposure=exposure)
        fwhm, peak_counts, response = setting_laws(beam_energy, exposure)
        log_fwhm, sigma = there.seen.log_fwhm
        # One acquisition misses the width by 0.5 %, and flanks make half heights uncertain.
        assert log_fwhm == pytest.approx(np.log(fwhm), abs=4 * sigma + 0.01)
        u = np.linspace(-1, 1, 2001)
        electrons = peak_counts / 0.025 * fwhm * trapezoid(response(u), u) / response(0.0)
        # ... the brightness by 1 %; each spectrum of it by as much.
        assert there.seen.log_beam == pytest.approx(np.log(electrons), abs=0.1)


@pytest.mark.parametrize("factor", [2.0, 5.0])
def test_counts_are_in_proportion_to_the_exposure(ensemble, factor):
    """The rate is the same at all exposures, so that the law of it is level to the scatter of 1 %."""
    core = np.array([0.0])
    once = ensemble.predict(core.repeat(2) + [0, 1e-3], beam_energy=100, exposure=0.1)[:, 0]
    more = ensemble.predict(core.repeat(2) + [0, 1e-3], beam_energy=100, exposure=0.1 * factor)
    ratio = np.log(np.median(more[:, 0]) / np.median(once))
    # What widens the peak during the exposure lowers it: by (factor)**0.02.
    assert ratio == pytest.approx(0.98 * np.log(factor), abs=0.06)


@pytest.mark.parametrize("factor", [0.5, 4.0])
def test_counts_are_in_proportion_to_the_width_of_the_channels(ensemble, factor):
    """Twice as many channels hold half of the electrons each, all in all the same."""
    fine, coarse = (np.arange(-2, 3, 0.005 * f) for f in (1.0, factor))
    one, other = (ensemble.predict(energy, **BETWEEN) for energy in (fine, coarse))
    np.testing.assert_allclose(one.sum(1), other.sum(1), rtol=0.01)
    ratio = other[:, np.abs(coarse).argmin()] / one[:, np.abs(fine).argmin()]
    np.testing.assert_allclose(ratio, factor, rtol=1e-6)


def test_electrons_do_not_depend_on_the_axis_given(ensemble):
    shifted = ensemble.predict(ENERGY + 2.5, centre=2.5, **BETWEEN)
    np.testing.assert_allclose(shifted, ensemble.predict(ENERGY, **BETWEEN), rtol=1e-6)


def test_given_heights_and_widths_are_those_of_all_replicas(ensemble):
    given = ensemble.predict(np.array([0.0, 0.01]), fwhm=0.4, height=7.0, **BETWEEN)
    # Of the common reference: the networks know its top to a few per cent.
    assert np.median(given[:, 0]) == pytest.approx(7.0, rel=0.01)
    assert np.abs(np.log(given[:, 0] / 7.0)).max() < 0.15
    narrow, wide = (ensemble.predict(ENERGY, fwhm=f, height=1.0, **BETWEEN) for f in (0.3, 0.6))
    there = ensemble.predict(ENERGY / 2, fwhm=0.3, height=1.0, **BETWEEN)
    np.testing.assert_allclose(wide, there, rtol=1e-9)
    # The flank of 0.9 eV FWHM at 3.9 eV is that of half the width at half the energy.
    assert (narrow[:, -1] < wide[:, -1]).all()


def test_fewer_electrons_by_the_thickness_asked_for(ensemble):
    there = ensemble.at(**BETWEEN)
    thinnest = there.seen.log_intensity_range[1]
    one = there.predict(ENERGY)
    np.testing.assert_array_equal(there.predict(ENERGY, log_intensity=thinnest), one)
    # A mean free path weakens the peak by a factor of e; its shape is that of the networks, which
    # have seen one thickness.
    areas = there.predict(ENERGY, log_intensity=thinnest - 1).sum(1) / one.sum(1)
    assert np.log(areas).mean() == pytest.approx(-1, abs=0.05)


# --- beyond the settings --------------------------------------------------------------------------

DIRECTIONS = {
    "beam energy up": [(200 * 2**n, 0.2) for n in (0, 1, 2, 4)],
    "beam energy down": [(60 / 2**n, 0.2) for n in (0, 1, 2, 4)],
    "exposure up": [(100, 0.4 * 2**n) for n in (0, 1, 2, 4)],
    "exposure down": [(100, 0.1 / 2**n) for n in (0, 1, 2, 4)],
}


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_band_grows_with_every_step_beyond_the_settings(ensemble, direction):
    spreads = [log_spread(ensemble, *setting) for setting in DIRECTIONS[direction]]
    assert (np.diff(spreads) > 0).all(), spreads


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_truth_beyond_the_settings_is_in_the_band(ensemble, direction):
    """Of ln(ZLP) over 1 to 8 FWHM, as a mean over the flank: one number for each setting.

    Within 4.4 standard deviations: 95 % of Student's t of 11 degrees of freedom lie within 2.2, and
    twice that is beyond chance.
    """
    for beam_energy, exposure in DIRECTIONS[direction][1:]:
        fwhm, *_ = setting_laws(beam_energy, exposure)
        energy = np.linspace(1, 8, 50) * fwhm
        found = np.log(ensemble.predict(energy, beam_energy=beam_energy, exposure=exposure))
        off = (np.median(found, 0) - np.log(truth(energy, beam_energy, exposure))).mean()
        assert abs(off) < 4.4 * found.mean(1).std(ddof=1), (beam_energy, exposure)


def test_replicas_are_spread_by_one_plus_the_distance(ensemble):
    """About a median that stays where it is."""
    there = ensemble.at(**FAR)
    outside = there.conditions.outside(there.setting)
    assert outside > 1
    shapes = there.log_shapes(np.array([there.seen.log_beam]))
    raw = there.log_ratio(there.grid.u[None], np.array([[there.seen.log_beam]]))
    raw = level_ripples(there.reference.log_shape + raw, there.grid.u)
    np.testing.assert_allclose(np.median(shapes, 0), np.median(raw, 0), atol=1e-9)
    np.testing.assert_allclose(shapes.std(0), (1 + outside) * raw.std(0), rtol=1e-6)


# --- at a setting ---------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", [BETWEEN, FAR])
def test_at_is_predict_at_the_setting(ensemble, setting):
    there = ensemble.at(**setting)
    expected = ensemble.predict(ENERGY, **setting)
    np.testing.assert_array_equal(there.predict(ENERGY), expected)
    assert there.predict(ENERGY, 0.1, fwhm=0.5).shape == (ensemble.n_replicas, ENERGY.size)
    assert there.n_replicas == ensemble.n_replicas <= FEW["n_replicas"]
    assert there.setting == tuple(setting[name] for name in NAMES)
    np.testing.assert_array_equal(
        there.predict(ENERGY, **BETWEEN), ensemble.predict(ENERGY, **BETWEEN)
    )


def test_only_the_last_setting_counts(ensemble):
    once, twice = ensemble.at(**BETWEEN), ensemble.at(**FAR).at(**BETWEEN)
    np.testing.assert_allclose(twice.predict(ENERGY), once.predict(ENERGY), rtol=1e-10)
    assert twice.seen.log_intensity_range == pytest.approx(once.seen.log_intensity_range, abs=1e-12)
    assert twice.seen.log_beam == pytest.approx(once.seen.log_beam, abs=1e-12)
    assert twice.networks.scaling.log_intensity_mean == pytest.approx(
        once.networks.scaling.log_intensity_mean
    )
    np.testing.assert_allclose(
        twice.reference.spill.log_intensity, once.reference.spill.log_intensity
    )
    assert twice.seen.log_fwhm == once.seen.log_fwhm
    assert twice.setting == once.setting


def test_the_ensemble_itself_stays_where_it_was(ensemble):
    before = ensemble.fingerprint
    ensemble.at(**FAR).predict(ENERGY)
    ensemble.predict(ENERGY, **FAR)
    assert replace(ensemble).fingerprint == before
    assert ensemble.setting == ()


def test_thickness_is_counted_from_the_beam_of_the_setting(ensemble):
    """Twice the exposure: all of ln N0 by ln 2, so that the networks see the same inputs."""
    once, twice = (ensemble.at(beam_energy=100, exposure=exposure) for exposure in (0.2, 0.4))
    shift = twice.seen.log_beam - once.seen.log_beam
    assert shift == pytest.approx(np.log(2), abs=0.03)
    low, high = once.seen.log_intensity_range
    assert twice.seen.log_intensity_range == pytest.approx((low + shift, high + shift))
    for end in (low, high):
        np.testing.assert_allclose(
            once.networks.scaling(0.5, end)[1],
            twice.networks.scaling(0.5, end + shift)[1],
            atol=1e-9,
        )


ASKED = r"conditions: expected a value for each of \['beam_energy', 'exposure'\], got "


@pytest.mark.parametrize("setting, told", [
    ({"beam_energy": 80}, ASKED + r"\['beam_energy'\]"),
    ({"beam_energy": 80, "exposure": 0.1, "spot": 1}, ASKED + ".*'spot'"),
    ({"beam_energy": -80, "exposure": 0.1}, "beam_energy: expected a positive number, got -80"),
    ({"beam_energy": 80, "exposure": "short"}, "exposure: expected a positive number, got 'short'"),
])  # fmt: skip
def test_settings_that_are_none(ensemble, setting, told):
    for ask in (ensemble.at, lambda **s: ensemble.predict(ENERGY, **s)):
        with pytest.raises(ValueError, match=told):
            ask(**setting)


def test_an_ensemble_without_conditions_knows_no_settings(small_removal):
    one = small_removal.ensemble
    told = (
        r"at: expected an ensemble trained with conditions.*no beam_energy.*train_zlp_ml\(signals, "
    )
    with pytest.raises(ValueError, match=told):
        one.at(beam_energy=80)
    with pytest.raises(ValueError, match=told):
        one.predict(ENERGY, beam_energy=80)
    with pytest.raises(ValueError, match="plot_conditions: expected an ensemble trained with cond"):
        one.plot_conditions()


def test_repr_says_where_it_stands(ensemble):
    assert "[4, 10, 15, 5, 1]" in repr(ensemble)
    assert repr(ensemble).endswith("(9 settings)>")
    assert "at beam_energy 80, exposure 0.3 (9 settings)" in repr(ensemble.at(**BETWEEN))
    fwhm = np.exp(ensemble.at(**BETWEEN).seen.log_fwhm.mean)
    assert f"FWHM {fwhm:.3g} eV" in repr(ensemble.at(**BETWEEN))


# --- files, removals and components ---------------------------------------------------------------


@pytest.mark.parametrize("setting", [None, BETWEEN, FAR])
def test_a_file_predicts_equal_bits(ensemble, setting, tmp_path):
    one = ensemble.at(**setting) if setting else ensemble
    one.save(tmp_path / "one.zlp")
    back = hyperspy_zlpml.load(tmp_path / "one.zlp")
    assert back.fingerprint == one.fingerprint
    assert repr(back) == repr(one)
    assert back.origin.provenance == one.origin.provenance
    assert back.origin.microscope == one.origin.microscope
    for asked in (BETWEEN, FAR):
        np.testing.assert_array_equal(back.predict(ENERGY, **asked), one.predict(ENERGY, **asked))
    if setting:
        np.testing.assert_array_equal(back.predict(ENERGY), one.predict(ENERGY))
        np.testing.assert_array_equal(back.tabulate().upper, one.tabulate().upper)


REMOVED = {"random_state": 0, "n_clusters": 1}


def test_a_removal_is_done_at_the_setting_that_the_metadata_tell(ensemble, measured):
    # Of vacuum alone: nothing in the image tells, so that it is said.
    by_itself = measured.remove_zlp_ml(ensemble=ensemble, vacuum=True, **REMOVED)
    chosen = measured.remove_zlp_ml(ensemble=ensemble.at(**BETWEEN), vacuum=True, **REMOVED)
    assert_same_results(by_itself, chosen)
    assert by_itself.ensemble.setting == (80.0, 0.3)
    assert not any("other data" in message for message in by_itself.report.messages)
    # A setting that was chosen is taken, whatever the metadata say.
    there = ensemble.at(beam_energy=100, exposure=0.3)
    other = measured.remove_zlp_ml(ensemble=there, vacuum=True, **REMOVED)
    assert other.ensemble.setting == (100.0, 0.3)
    assert not np.array_equal(other.zlp.data, by_itself.zlp.data)


def test_vacuum_at_an_unmeasured_setting_vanishes(ensemble, measured):
    """Its counts over 1 to 8 FWHM, within four standard deviations of the model."""
    result = measured.remove_zlp_ml(ensemble=ensemble, vacuum=True, **REMOVED)
    energy = measured.axes_manager[-1].axis
    fwhm, *_ = setting_laws(80, 0.3)
    there = (energy > fwhm) & (energy < 8 * fwhm)
    left, std = (getattr(result, name).data[..., there].sum() for name in ("subtracted", "std"))
    assert abs(left) < 4 * std
    assert abs(left) < 0.05 * result.zlp.data[..., there].sum()


def test_a_removal_outside_the_settings_is_told(ensemble):
    far = at_setting(450.0, 0.2, seed=3)
    with pytest.warns(UserWarning, match="the setting .beam energy .* lies outside"):
        result = far.remove_zlp_ml(ensemble=ensemble, **REMOVED)
    assert any("lies outside those trained at" in text for text in result.report.messages)


@pytest.mark.parametrize("missing", NAMES)
def test_a_signal_that_does_not_tell_its_setting(ensemble, measured, missing):
    microscope = measured.metadata.Acquisition_instrument.TEM
    delattr(microscope if missing == "beam_energy" else microscope.Detector.EELS, missing)
    told = (
        rf"trained with the conditions \['beam_energy', 'exposure'\], which the metadata.*{missing}"
        r".*ensemble=ensemble.at\(beam_energy=..., exposure=...\)"
    )
    with pytest.raises(ValueError, match=told):
        measured.remove_zlp_ml(ensemble=ensemble, **REMOVED)
    result = measured.remove_zlp_ml(ensemble=ensemble.at(**BETWEEN), **REMOVED)
    assert np.isfinite(result.zlp.data).all()


@pytest.mark.parametrize("setting", [BETWEEN, {"beam_energy": 300, "exposure": 0.2}])
def test_the_component_has_the_shape_of_the_setting(ensemble, setting):
    there = ensemble.at(**setting)
    fwhm = np.exp(there.seen.log_fwhm.mean)
    component = ZLPNet(there)
    energy = there.grid.u[1:-1] * fwhm
    replicas = there.predict(energy, fwhm=fwhm, height=1.0)
    ratio = component.function(energy) / np.exp(np.median(np.log(replicas), 0))
    np.testing.assert_allclose(ratio, ratio[ratio.size // 2], rtol=1e-6)


# --- training -------------------------------------------------------------------------------------


def test_it_knows_what_it_was_trained_on(ensemble, signals):
    conditions = ensemble.conditions
    assert conditions.names == tuple(NAMES)
    assert conditions.logarithmic == (True, True)
    expected = [(energy, time) for energy in BEAM_ENERGIES for time in EXPOSURES]
    np.testing.assert_array_equal(conditions.settings, expected)
    assert ensemble.networks.layers[0] == 4
    assert ensemble.origin.provenance["title"] == "9 signals"
    assert ensemble.origin.provenance["titles"] == [s.metadata.General.title for s in signals]
    assert ensemble.origin.provenance["n_spectra"] == 9 * 16
    # What is no condition and the same in all signals stays a setting of the ensemble.
    assert ensemble.origin.microscope == {"convergence_angle": 10.0, "collection_angle": 15.0}


def test_the_same_state_gives_the_same_ensemble_lazy_or_not(signals, ensemble):
    lazy = [signal.as_lazy() for signal in signals]
    same = train_zlp_ml(lazy, NAMES, **FEW)
    assert same.fingerprint == ensemble.fingerprint
    np.testing.assert_array_equal(
        same.predict(ENERGY, **BETWEEN), ensemble.predict(ENERGY, **BETWEEN)
    )
    assert all(signal._lazy for signal in lazy)


def test_another_state_gives_other_networks(two, of_two):
    same, other = (
        train_zlp_ml(two, ["beam_energy"], **{**FEWEST, "random_state": state}) for state in (0, 1)
    )
    one = of_two
    assert one.fingerprint == same.fingerprint
    assert (
        other.networks.weights.shape != one.networks.weights.shape
        or (other.networks.weights != one.networks.weights).any()
    )
    assert (other.conditions.scores[0] != one.conditions.scores[0]).any()


def test_the_order_of_the_signals_matters_no_more_than_chance(signals, ensemble):
    """Replicas are drawn in the order given: the laws are the same, the shapes within their band."""
    order = np.random.default_rng(3).permutation(len(signals))
    other = train_zlp_ml([signals[n] for n in order], NAMES, **FEW)
    np.testing.assert_allclose(
        other.conditions.values, ensemble.conditions.values[order], rtol=1e-6
    )
    for setting in (BETWEEN, FAR):
        values = tuple(setting.values())
        for a, b in zip(
            other.conditions.predicted(values), ensemble.conditions.predicted(values), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-4)
        one, two = (np.log(e.predict(ENERGY, **setting)) for e in (ensemble, other))
        off = np.abs(np.median(one, 0) - np.median(two, 0))
        assert (off < 3 * np.hypot(one.std(0), two.std(0))).all()


def test_the_order_of_the_conditions_is_that_of_the_names(two):
    two[1].metadata.set_item(EXPOSURE, 0.4)
    two.append(at_setting(60.0, 0.2, seed=3))
    one = train_zlp_ml(two, NAMES[::-1], **FEWEST)
    assert one.conditions.names == ("exposure", "beam_energy")
    np.testing.assert_array_equal(one.conditions.settings[1], (0.4, 200.0))
    assert one.at(beam_energy=80, exposure=0.3).setting == (0.3, 80.0)


@pytest.mark.parametrize("limit, late_at", [(3.2, ["setting 0", "setting 1"]), (1.5, [])])
def test_a_limit_behind_the_losses_is_told_of_each_setting(limit, late_at):
    # They begin near 1.7 eV.
    films = [ws2_like((6, 6), n_channels=512, random_state=seed).signal for seed in (1, 2)]
    options = {**FEWEST, "n_clusters": 2, "regions": {"E_I": limit}}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train_zlp_ml(films, {"beam_energy": [60.0, 200.0]}, **options)
    said = [str(one.message) for one in caught if "but losses are seen" in str(one.message)]
    assert [one[:9] for one in said] == late_at


def test_inputs_are_not_modified(two):
    before = [(signal.data.copy(), signal.metadata.as_dictionary()) for signal in two]
    axes = [signal.axes_manager.as_dictionary() for signal in two]
    given = {"beam_energy": [100.0, 200.0]}
    listed = list(two)
    train_zlp_ml(listed, given, **FEWEST)
    for signal, (data, metadata) in zip(two, before, strict=True):
        np.testing.assert_array_equal(signal.data, data)
        assert signal.metadata.as_dictionary() == metadata
    assert [signal.axes_manager.as_dictionary() for signal in two] == axes
    assert given == {"beam_energy": [100.0, 200.0]}
    assert listed == two


@pytest.mark.parametrize("kind", ["gaussian", "spectra"])
def test_axes_of_their_own(kind):
    """Offset, dispersion and length of the axis are no setting: the same electrons, other channels."""
    axes = [
        {"n_channels": 512, "scale": 0.025, "offset": -3.0},
        {"n_channels": 800, "scale": 0.0125, "offset": -2.5},
        {"n_channels": 300, "scale": 0.03, "offset": -3.5},
    ]
    three = [
        at_setting(beam_energy, 0.2, seed=number, **axis)
        for number, (beam_energy, axis) in enumerate(zip(BEAM_ENERGIES, axes, strict=True))
    ]
    ensemble = train_zlp_ml(three, ["beam_energy"], replica_kind=kind, **{**FEW, "n_clusters": 1})
    # Exact laws: what is left is the noise of the mean of 16 spectra, 1 % / 4 each.
    fwhm, peak_counts, _ = (
        np.array(v) for v in zip(*(setting_laws(e, 0.2) for e in BEAM_ENERGIES), strict=True)
    )
    rate, width = ensemble.conditions.values.T
    np.testing.assert_allclose(width, np.log(fwhm), atol=0.02)
    expected = np.log(peak_counts * fwhm)
    np.testing.assert_allclose(rate - rate[1], expected - expected[1], atol=0.05)
    for beam_energy in (60.0, 80.0, 140.0, 200.0):
        found = np.log(ensemble.predict(ENERGY, beam_energy=beam_energy))
        off = np.median(found, 0) - np.log(truth(ENERGY, beam_energy, 0.2) / 1.0)
        assert (np.abs(off) < 4 * found.std(0, ddof=1) + 0.02).all()


def test_signals_without_navigation_and_of_several_dimensions(two):
    two[0] = two[0].inav[0]
    two.append(at_setting(60.0, 0.2, seed=3).inav[1, 2])
    ensemble = train_zlp_ml(two, ["beam_energy"], **FEWEST)
    assert ensemble.origin.provenance["n_spectra"] == 4 + 16 + 1
    assert np.isfinite(ensemble.predict(ENERGY, beam_energy=120)).all()


def test_training_on_one_signal_is_its_method(small):
    one = small.train_zlp_ml(n_clusters=2, **QUICK)
    for same in (
        train_zlp_ml(small, n_clusters=2, **QUICK),
        train_zlp_ml([small], n_clusters=2, **QUICK),
    ):
        assert same.fingerprint == one.fingerprint
        assert same.conditions is None
        assert same.origin.provenance == one.origin.provenance


def test_what_is_noticed_is_told_where_the_function_was_called(two, small):
    """Python shows, and counts, warnings by that line."""
    for signal in (*two, small):
        signal.data[0, 1] = np.nan
    for signals, conditions in ((small, None), ([small], None), (two, ["beam_energy"])):
        with pytest.warns(UserWarning, match="spectra are left out") as caught:
            train_zlp_ml(signals, conditions, **FEWEST)
        ours = [w for w in caught if "are left out" in str(w.message)]
        assert {w.filename for w in ours} == {__file__}
        if conditions:
            assert [str(w.message)[:11] for w in ours] == ["setting 0: ", "setting 1: "]


# --- conditions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("conditions", [
    NAMES,
    tuple(NAMES),
    {"beam_energy": None, "exposure": None},
    {"beam_energy": "Acquisition_instrument.TEM.beam_energy", "exposure": EXPOSURE},
    {"beam_energy": [60, 60, 60, 100, 100, 100, 200, 200, 200], "exposure": np.tile(EXPOSURES, 3)},
    {"beam_energy": None, "exposure": 3 * [0.1, 0.2, 0.4]},
])  # fmt: skip
def test_conditions_are_read_from_metadata_or_given(signals, conditions):
    found = read_conditions(signals, conditions)
    assert tuple(found) == tuple(NAMES)
    np.testing.assert_array_equal(
        np.transpose(list(found.values())),
        [(energy, time) for energy in BEAM_ENERGIES for time in EXPOSURES],
    )


@pytest.mark.parametrize(
    "conditions", ["beam_energy", ["beam_energy"], {"beam_energy": [100, 200]}]
)
def test_a_single_condition(two, conditions):
    found = read_conditions(two, conditions)
    assert tuple(found) == ("beam_energy",)
    np.testing.assert_array_equal(found["beam_energy"], [100, 200])


def test_conditions_of_ones_own(two):
    """A name that HyperSpy does not know, negative values, no time: counts are counts."""
    for signal, defocus in zip(two, (-2.0, 3.0), strict=True):
        signal.metadata.set_item("Acquisition_instrument.TEM.defocus", defocus)
    ensemble = train_zlp_ml(two, {"defocus": "Acquisition_instrument.TEM.defocus"}, **FEWEST)
    assert ensemble.conditions.logarithmic == (False,)
    assert ensemble.conditions.time is None
    assert ensemble.conditions.middle == (0.5,)
    areas = [ensemble.predict(ENERGY, defocus=at).sum(1) for at in (-2, 0, 3)]
    counts = [signal.data.sum(-1).mean() for signal in two]
    np.testing.assert_allclose([np.median(areas[0]), np.median(areas[2])], counts, rtol=0.1)
    # Beam energies differ and are no condition: the ensemble was trained at none of them.
    assert "beam_energy" not in ensemble.origin.microscope


HYPERSPY_KNOWS = (
    "names among .*'beam_energy', 'collection_angle', 'convergence_angle', 'dwell_time'"
)


@pytest.mark.parametrize("conditions, told", [
    (["spot"], f"conditions: expected {HYPERSPY_KNOWS}.* got 'spot'; for others give a dict"),
    ("spot", f"conditions: expected {HYPERSPY_KNOWS}"),
    ([], r"conditions: expected names or a dict of them, got \[\]"),
    ({}, r"conditions: expected names or a dict of them, got \{\}"),
    ([1, 2], "conditions: expected names or a dict of them"),
    (5, "conditions: expected names or a dict of them"),
    (["exposure"], "expected exposure to differ between the settings, it is 0.2 in all of them"),
    ({"current": [1, 1]}, "expected current to differ between the settings, it is 1 in all"),
    (["dwell_time"], "expected dwell_time of signal 0 in its metadata at .*dwell_time, got None"),
    ({"spot": "General.title"}, "expected spot of signal 0 in its metadata at General.title, got 'Sim"),
    ({"spot": "No.such.key"}, "expected spot of signal 0 in its metadata at No.such.key, got None"),
    ({"current": [1]}, r"expected 2 finite values of current, one for each setting, got \[1\]"),
    ({"current": 3.0}, "expected 2 finite values of current, one for each setting, got 3.0"),
    ({"current": [1, 2, 3]}, "expected 2 finite values of current"),
    ({"current": [[1, 2]]}, "expected 2 finite values of current"),
    ({"current": [1, np.nan]}, "expected 2 finite values of current.*nan"),
    ({"current": [1, None]}, "expected 2 finite values of current.*None"),
    ({"current": ["low", "high"]}, "expected 2 finite values of current.*low"),
    ({"current": [[1], [1, 2]]}, "expected 2 finite values of current"),
    ({"beam_energy": None, "current": [1, 2]}, "at least 3 settings for 2 conditions, got 2"),
    ({"centre": [1, 2]}, r"can be keywords and are no arguments of Ensemble.predict, got \['centre'\]"),
    ({"spot size": [1, 2]}, r"can be keywords .* got \['spot size'\]"),
    ({"exposure": [-0.1, 0.2]}, "conditions: exposure: expected a number from .* got -0.1"),
    ({"exposure": [0, 0.2]}, "conditions: exposure: expected a number from .* got 0"),
])  # fmt: skip
def test_conditions_that_cannot_be_used(two, conditions, told):
    with pytest.raises(ValueError, match=told):
        train_zlp_ml(two, conditions, **FEWEST)


def test_conditions_that_follow_from_each_other_are_refused(two):
    three = [*two, two[0]]
    together = {"current": [1.0, 2.0, 4.0], "gain": [3.0, 6.0, 12.0]}
    with pytest.raises(ValueError, match="expected current, gain to change independently"):
        train_zlp_ml(three, together, **FEWEST)
    with pytest.raises(ValueError, match=r"expected one time .* got \['exposure', 'dwell_time'\]"):
        train_zlp_ml(three, {"exposure": [1, 2, 3], "dwell_time": [1, 3, 2]}, **FEWEST)


def test_corners_that_were_not_measured_are_outside(two):
    """Each condition alone was seen there; both together lie beyond all settings."""
    diagonal = {"current": [1.0, 2.0, 4.0], "gain": [3.0, 6.1, 12.0]}
    ensemble = train_zlp_ml([*two, two[0]], diagonal, **FEWEST)
    assert ensemble.conditions.outside((2.0, 6.1)) == 0
    assert ensemble.conditions.outside((1.0, 12.0)) > 0.9


def test_an_ensemble_with_conditions_asks_for_a_setting(ensemble, measured):
    for asked in (ensemble.predict, lambda energy: ensemble.tabulate()):
        with pytest.raises(
            ValueError, match=r"choose them with ensemble.at\(beam_energy=\.\.\., exp"
        ):
            asked(ENERGY)
    del measured.metadata.Acquisition_instrument
    with pytest.raises(ValueError, match="which the metadata of the signal do not hold"):
        measured.remove_zlp_ml(ensemble=ensemble)


@pytest.mark.parametrize(
    "energy", [1.0, [1.0], [2.0, 1.0], [0.0, np.nan, 1.0], [[0.0, 1.0]]], ids=str
)
def test_energies_that_are_none(ensemble, energy):
    with pytest.raises(
        ValueError, match="energy: expected (at least two increasing energies|finite numbers)"
    ):
        ensemble.predict(energy, **BETWEEN)


def test_widths_that_are_none(ensemble):
    for fwhm in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="fwhm: expected a positive number"):
            ensemble.predict(ENERGY, fwhm=fwhm, **BETWEEN)


def test_the_signal_that_lacks_a_setting_is_named(two):
    del two[1].metadata.Acquisition_instrument.TEM.beam_energy
    told = "beam_energy of signal 1 in its metadata at Acquisition_instrument.TEM.beam_energy, got None"
    with pytest.raises(
        ValueError, match=told + "; set it with metadata.set_item, or give the values"
    ):
        train_zlp_ml(two, ["beam_energy"], **FEWEST)


def test_settings_that_are_the_same_are_counted_once(two):
    with pytest.raises(ValueError, match="at least 3 settings for 2 conditions, got 2"):
        train_zlp_ml(2 * two, {"a": [1, 2, 1, 2], "b": [5, 6, 5, 6]}, **FEWEST)


@pytest.mark.parametrize("wrong, told", [
    ([], r"signals: expected one signal or a list of signals, got \[\]"),
    (["a.hspy", "b.hspy"], r"signals: expected one signal or a list of signals, got \['str'\]"),
    ("a.hspy", r"signals: expected one signal or a list of signals, got 'a.hspy'"),
    ([np.zeros(512)], r"signals: expected .* got \['ndarray'\]"),
    (None, "signals: expected one signal or a list of signals"),
    (3, "signals: expected one signal or a list of signals"),
])  # fmt: skip
def test_signals_that_are_none(wrong, told):
    with pytest.raises(ValueError, match=told):
        train_zlp_ml(wrong, ["beam_energy"], **FEWEST)


def test_several_signals_without_conditions(two):
    told = r"expected what differs between 2 signals, for example \['beam_energy'\], got None"
    with pytest.raises(ValueError, match=told):
        train_zlp_ml(two, **FEWEST)


def test_a_map_to_cluster_by_is_of_one_signal(two):
    for conditions in (None, ["beam_energy"]):
        with pytest.raises(
            ValueError, match="cluster_by: expected the name of a proxy, got ndarray"
        ):
            train_zlp_ml(two, conditions, **{**FEWEST, "cluster_by": np.ones((4, 4))})


@pytest.mark.parametrize("options, told", [
    ({"n_replicas": 1}, "n_replicas: expected an integer from 2 to 10000, got 1"),
    ({"replica_kind": "no"}, "replica_kind: expected one of"),
    ({"regions": {"E_I": -1}}, "regions: expected E_I to be positive"),
    ({"random_state": "a"}, "random_state: expected an int"),
    ({"cluster_by": "colour"}, "cluster_by: expected one of"),
    ({"device": "abacus"}, "device"),
])  # fmt: skip
def test_options_are_checked(two, options, told):
    with pytest.raises(ValueError, match=told):
        train_zlp_ml(two, ["beam_energy"], **{**FEWEST, **options})


def test_signals_that_cannot_be_trained_on(two):
    two[1].axes_manager[-1].units = "nm"
    with pytest.raises(ValueError, match="'nm', expected eV, meV or keV"):
        train_zlp_ml(two, ["beam_energy"], **FEWEST)
    two[1].axes_manager[-1].units = "eV"
    two[1].data[:] = 0
    with pytest.raises(hyperspy_zlpml.NoZeroLossPeakError, match="no zero-loss peak found"):
        train_zlp_ml(two, ["beam_energy"], **FEWEST)


# --- figure ---------------------------------------------------------------------------------------


def test_figure_of_the_conditions_reaches_beyond_the_settings(ensemble):
    figure = ensemble.plot_conditions()[0].figure
    assert isinstance(figure, plt.Figure)
    assert len(figure.axes) == 3 * len(NAMES)
    for number, axes in enumerate(figure.axes):
        low, high = axes.get_xlim()
        values = ensemble.conditions.settings[:, number % 2]
        assert low < values.min()
        assert high > values.max()
        # By half a range each, on a scale of logarithms.
        assert axes.get_xscale() == "log"
        assert high / values.max() == pytest.approx(np.sqrt(values.max() / values.min()))
        assert axes.get_yscale() == "log"
    assert [axes.get_xlabel() for axes in figure.axes[4:]] == ["beam energy (keV)", "exposure (s)"]
    labels = [axes.get_ylabel() for axes in figure.axes[::2]]
    assert labels == ["N0 (counts per s)", "FWHM (eV)", "ZLP / peak"]


def test_bands_of_the_figure_are_those_of_the_ensemble(ensemble):
    values = along(ensemble.conditions, 0)
    expected = [ensemble.conditions.of_replicas((v, 0.3)) for v in values]
    rate, width = (np.median(rows, axis=1) for rows in zip(*expected, strict=True))
    figure = ensemble.at(**BETWEEN).plot_conditions()[0].figure
    for axes, median in ((figure.axes[0], rate - np.log(0.3)), (figure.axes[2], width)):
        line = next(one for one in axes.lines if one.get_label() == "ensemble")
        np.testing.assert_allclose(line.get_xdata(), values)
        np.testing.assert_allclose(line.get_ydata(), np.exp(median), rtol=1e-6)
    narrow, wide = (ensemble.plot_conditions(confidence)[0].figure for confidence in (0.5, 0.9))
    extents = [
        figure.axes[0].collections[0].get_datalim(figure.axes[0].transData).height
        for figure in (narrow, wide)
    ]
    assert extents[1] > extents[0]


def test_figure_of_a_condition_without_logarithm(two):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        figure = train_zlp_ml(two, {"defocus": [-2.0, 4.0]}, **FEWEST).plot_conditions()[0].figure
    assert len(figure.axes) == 3
    low, high = figure.axes[0].get_xlim()
    assert (low, high) == pytest.approx((-5, 7))
    assert figure.axes[0].get_ylabel() == "N0 (counts)"
    assert figure.axes[2].get_xlabel() == "defocus"


# --- exact proportions ----------------------------------------------------------------------------


def test_brighter_cameras_count_more_and_nothing_else(two, of_two):
    """All counts times three, the noise with them: N0 of the laws by ln 3, shapes as they were."""
    for signal in two:
        signal.change_dtype("float64")
        signal.data *= 3
    one, other = of_two, train_zlp_ml(two, ["beam_energy"], **FEWEST)
    np.testing.assert_allclose(
        other.conditions.values - one.conditions.values, [[np.log(3), 0]] * 2, atol=1e-4
    )
    a, b = (np.log(e.predict(ENERGY, beam_energy=150)) for e in (one, other))
    assert np.median(np.median(b, 0) - np.median(a, 0)) == pytest.approx(np.log(3), abs=0.05)


def test_results_are_signals_of_hyperspy_still(two, of_two):
    """Nothing about the several-signal training needs our own class."""
    plain = [
        hs.signals.Signal1D(s.data, axes=list(s.axes_manager.as_dictionary().values())) for s in two
    ]
    for own, signal in zip(two, plain, strict=True):
        signal.metadata.add_dictionary(own.metadata.as_dictionary())
    found = train_zlp_ml(plain, ["beam_energy"], **FEWEST)
    assert found.fingerprint == of_two.fingerprint
