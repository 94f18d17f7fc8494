# SPDX-License-Identifier: GPL-3.0-or-later
"""An ensemble trained before on other images of its instrument: other dose, axis, shape and type.

What the calls return in general is in ``test_signals/test_remove.py``; refusals are in
``test_departure.py``.
"""

import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
from conftest import SPECTRA, assert_same_results

from hyperspy_zlpml import workflow
from hyperspy_zlpml.data import ws2_like
from hyperspy_zlpml.registration.find_regions import GUESS
from hyperspy_zlpml.removal.adapt import adapt, as_trained, reach_of, typical_reach_of
from hyperspy_zlpml.signals.arrays import spectra_of

#: As most tests apply the ensemble of ``removal``.
APPLY = {"n_clusters": 2, "random_state": 0}
pytestmark = pytest.mark.filterwarnings("ignore:the ensemble was trained on other data")


def another(shape=(6, 5), seed=5, **settings):
    """Another image of the instrument that ``sample`` was taken with."""
    return ws2_like(shape, random_state=seed, **{"n_channels": 1024, **settings})


@pytest.fixture(scope="module")
def other():
    """Not to be modified."""
    return another()


@pytest.fixture(scope="module")
def reused(other, removal):
    """Not to be modified."""
    return other.signal.remove_zlp_ml(ensemble=removal.ensemble, **APPLY)


def samples_of(signal, **options):
    """What :func:`adapt` is given of a signal."""
    options = workflow.Options(**{**APPLY, **options}).checked()
    first = workflow.look(spectra_of(signal)[0], options)
    choice = workflow.choose(first, options)
    n_clusters = choice.clusters.centres.size
    return choice.samples.training, first.image.detector.noise, n_clusters, first.limits


def adapted_to(signal, ensemble, **options):
    return adapt(ensemble, *samples_of(signal, **options), 0.68)


def times(signal, factor):
    """The same electrons, each counted ``factor`` times."""
    signal = signal.deepcopy()
    signal.change_dtype("float64")
    signal.data *= factor
    return signal


def of_flank(sample, result, low=2.0, high=8.0):
    """Error of the ZLP, its standard deviation and the ZLP in specimen, between two u."""
    energy = sample.signal.axes_manager[-1].axis
    u = (energy - sample.centre.data[..., None]) / sample.fwhm.data[..., None]
    there = (u > low) & (u < high) & (sample.thickness.data > 0)[..., None]
    zlp = sample.zlp.data[there]
    return result.zlp.data[there] - zlp, result.std.data[there], zlp


# --- dose -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def once(other, removal):
    """What the ensemble is for ``other``."""
    return adapted_to(other.signal, removal.ensemble)


@pytest.mark.parametrize("factor", [0.25, 4.0, 100.0])
def test_dose_is_found_and_taken_off(other, removal, once, factor):
    more = adapted_to(times(other.signal, factor), removal.ensemble)
    assert more.log_dose - once.log_dose == pytest.approx(np.log(factor), abs=1e-6)
    # ln N0 as the ensemble counts it, and widths, are what they were.
    np.testing.assert_array_equal(more.table.log_intensity_nodes, once.table.log_intensity_nodes)
    np.testing.assert_allclose(more.log_fwhm, once.log_fwhm, atol=1e-4)
    np.testing.assert_allclose(more.regions.E_I, once.regions.E_I, rtol=0.02)


def test_the_image_that_was_trained_on_has_its_dose_and_width(sample, removal):
    same = adapted_to(sample.signal, removal.ensemble, n_clusters=5)
    trained = as_trained(removal.ensemble, 0.68)
    assert trained.log_dose == 0
    assert same.log_dose == pytest.approx(0, abs=0.01)
    np.testing.assert_allclose(same.log_fwhm, trained.log_fwhm, atol=0.01)
    np.testing.assert_allclose(same.table.log_shape, trained.table.log_shape)
    np.testing.assert_allclose(same.table.log_intensity_nodes, trained.table.log_intensity_nodes)


def test_a_wrong_pedestal_hides_in_a_tail_that_was_measured_with_it(removal):
    # Not in one from spectra beside, which have another, nor in one that nobody measured.
    ensemble = removal.ensemble
    guessed = replace(ensemble, seen=replace(ensemble.seen, tail=f"beyond 1 eV {GUESS}"))
    assert as_trained(ensemble, 0.68).log_beam == ensemble.seen.log_beam
    assert as_trained(ensemble, 0.68, tail_was_given=True).log_beam == np.inf
    assert as_trained(guessed, 0.68).log_beam == np.inf


@pytest.mark.parametrize("shape, seed", [((12, 12), 12), ((10, 10), 1)])
def test_losses_begin_where_the_training_saw_them_begin(shape, seed):
    """What spectra differ by is no error of the mean of many: taken for one, losses of the cluster
    in the middle begin a sixth later."""
    signal = ws2_like(shape, n_channels=1024, random_state=seed).signal
    ensemble = signal.train_zlp_ml(n_replicas=4, random_state=0)
    assert len(ensemble.reference.modes) > len(ensemble.reference.errors)
    found = adapted_to(signal, ensemble, n_clusters=5).regions
    np.testing.assert_allclose(found.E_I, ensemble.seen.regions.E_I, rtol=0.06)


def test_without_vacuum_the_beam_is_known_from_all_the_electrons(removal):
    """A specimen scatters electrons out of the peak, few of them beyond the axis: 0.15 mean free
    paths at a mean thickness of 0.7, where the axis ends at 47 eV, twice the plasmon energy."""
    whole = another(n_channels=2048)
    first = int((whole.thickness.data > 0).all(0).argmax())
    specimen = whole.signal.inav[first:, :]
    assert whole.thickness.data[:, first:].mean() > 0.6
    found = adapted_to(specimen, removal.ensemble).log_dose
    expected = adapted_to(whole.signal, removal.ensemble).log_dose
    assert found == pytest.approx(expected, abs=0.15)


# --- axes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [
    {"peak_counts": 1.2e7, "scale": 0.0125, "offset": -2.5, "n_channels": 2048},
    {"offset": -4.8},
    {"scale": 0.05, "n_channels": 512},
    {"integer": True},
    {"vacuum_fraction": 0.0, "thickness_range": (0.2, 1.0)},
], ids=["dose, dispersion, offset", "offset", "coarse", "integers", "no vacuum"])  # fmt: skip
def test_other_images_are_predicted_within_the_band(removal, settings):
    """Rms pull over 2 to 8 FWHM; eight replicas tell their spread to a quarter, and one image has a
    few independent errors: a factor of two. The error itself is a few per cent at most."""
    there = another(**settings)
    result = there.signal.remove_zlp_ml(ensemble=removal.ensemble, **APPLY)
    error, std, zlp = of_flank(there, result)
    assert np.sqrt(np.mean((error / std) ** 2)) < 2
    assert np.sqrt(np.mean((error / zlp) ** 2)) < 0.04
    # Where the axis ends at 22 eV the losses do not tell the dose either.
    told = [message for message in result.report.messages if "other data" in message]
    assert len(told) == ("vacuum_fraction" in settings)
    assert all("no vacuum is in view and the axis ends at" in message for message in told)


@pytest.mark.parametrize("seed", range(5, 8))
def test_half_the_dispersion_is_the_same_zlp(removal, seed):
    """Two channels at a time of a fine image: the electrons are the same, what differs is how they are
    grouped, and noise found. Near the peak the result moves by less than its standard deviation.

    The error moves, too: on four images by up to 19 % within 4 eV of the peak. Far from it, where it is
    what eight vacuum spectra happen to show, by more than a factor of two beyond 14 eV.
    """
    fine = another(scale=0.0125, n_channels=2048, seed=seed).signal
    coarse = fine.rebin(scale=(1, 1, 2))
    one, two = (s.remove_zlp_ml(ensemble=removal.ensemble, **APPLY) for s in (fine, coarse))
    near = np.abs(coarse.axes_manager[-1].axis) < 4
    pull = (one.zlp.rebin(scale=(1, 1, 2)).data - two.zlp.data) / two.std.data
    assert np.sqrt(np.mean(pull[..., near] ** 2)) < 1
    ratio = one.std.rebin(scale=(1, 1, 2)).data / two.std.data
    assert np.median(ratio[..., near]) == pytest.approx(1, rel=0.25)


@pytest.mark.parametrize("offset", [-300.0, 0.17, 45.0])
def test_a_shifted_axis_shifts_everything(other, reused, removal, offset):
    shifted = other.signal.deepcopy()
    shifted.axes_manager[-1].offset += offset
    result = shifted.remove_zlp_ml(ensemble=removal.ensemble, **APPLY)
    # Energies so far from zero have a digit or two less.
    assert_same_results(result, reused, rtol=1e-4)
    np.testing.assert_allclose(result.centre.data, reused.centre.data + offset, atol=1e-6)


def test_an_axis_in_other_units(other, reused, removal):
    """meV: the same counts, limits and maps in the units of the axis."""
    finer = other.signal.deepcopy()
    axis = finer.axes_manager[-1]
    axis.scale, axis.offset, axis.units = 1e3 * axis.scale, 1e3 * axis.offset, "meV"
    result = finer.remove_zlp_ml(ensemble=removal.ensemble, **APPLY)
    assert_same_results(result, reused, rtol=2e-5)
    np.testing.assert_allclose(result.fwhm.data, 1e3 * reused.fwhm.data, rtol=1e-6)
    assert [row.E_I for row in result.report.clusters] == pytest.approx(
        [row.E_I for row in reused.report.clusters], rel=1e-4
    )


def test_an_axis_longer_than_any_seen(removal):
    """Nothing is NaN; beyond, tails go on falling and are the less certain the further they are."""
    there = another(n_channels=3000)
    with pytest.warns(
        UserWarning, match=r"behind the peak the axis reaches \d+ FWHM, trained to \d+"
    ):
        result = there.signal.remove_zlp_ml(ensemble=removal.ensemble, **APPLY)
    for name in SPECTRA:
        assert np.isfinite(getattr(result, name).data).all(), name
    energy = there.signal.axes_manager[-1].axis
    end = removal.ensemble.seen.u_range.high * np.exp(removal.ensemble.seen.log_fwhm.mean)
    beyond = energy > 1.1 * end
    assert beyond.sum() > 1000
    zlp, std = (getattr(result, name).data[..., beyond].astype(float) for name in ("zlp", "std"))
    assert (zlp > 0).all()
    assert (np.diff(zlp) <= 1e-6 * zlp[..., 1:]).all()
    # Sampled: from one channel to the next single precision hides it.
    relative = (std / zlp)[..., ::200]
    assert (np.diff(relative) > 0).all()
    _, inside, of = of_flank(there, result)
    assert relative[..., -1].min() > 2 * np.median(inside / of)


def test_what_reaches_beyond_the_axis_does_not_change_what_lies_on_it(other, reused, removal):
    short = other.signal.isig[:600]
    result = short.remove_zlp_ml(ensemble=removal.ensemble, **APPLY)
    pull = (result.zlp.data - reused.zlp.data[..., :600]) / reused.std.data[..., :600]
    assert np.sqrt(np.mean(pull**2)) < 0.5


def test_reach_is_that_of_the_spectrum_that_reaches_furthest(other):
    (sample, *_), *_ = samples_of(other.signal)
    low, high = reach_of([sample])
    energy = other.signal.axes_manager[-1].axis
    ends = [(energy[end] - sample.parameters.centre) / sample.parameters.fwhm for end in (0, -1)]
    assert (low, high) == (ends[0].min(), ends[1].max())
    typical = typical_reach_of([sample])
    assert low < typical.low < 0 < typical.high < high
    # Of several samples that of all.
    assert reach_of([sample.select([0]), sample]) == (low, high)


# --- types, chunks, navigation --------------------------------------------------------------------


@pytest.fixture(scope="module")
def counted():
    """Whole numbers as floats. Not to be modified."""
    signal = another((4, 3), integer=True).signal
    signal.data = np.clip(signal.data, 0, None)
    signal.change_dtype("float64")
    return signal


@pytest.fixture(scope="module")
def of_counted(counted, removal):
    return counted.remove_zlp_ml(ensemble=removal.ensemble, **APPLY)


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", ">i4", "float32"])
def test_types_of_the_counts_do_not_matter(counted, of_counted, removal, dtype):
    counted, expected = counted.deepcopy(), of_counted
    counted.change_dtype(dtype)
    result = counted.remove_zlp_ml(ensemble=removal.ensemble, **APPLY)
    assert result.zlp.data.dtype == np.float32
    pull = (result.zlp.data - expected.zlp.data) / expected.std.data
    assert np.abs(pull).max() < 0.02
    np.testing.assert_array_equal(result.clusters.data, expected.clusters.data)


def test_sixteen_bits_of_a_fiftieth_of_the_dose(removal):
    counted = another((4, 3), integer=True, peak_counts=5e4, readout=5.0).signal
    counted.data = np.clip(counted.data, 0, None)
    expected = counted.deepcopy()
    expected.change_dtype("float64")
    counted.change_dtype("uint16")
    results = [s.remove_zlp_ml(ensemble=removal.ensemble, **APPLY) for s in (counted, expected)]
    pull = (results[0].zlp.data - results[1].zlp.data) / results[1].std.data
    assert np.abs(pull).max() < 0.02


@pytest.mark.parametrize("chunks", [(1, 6, 100), (5, 1, -1), (2, 4, 1024)])
def test_chunks_do_not_matter(other, reused, removal, chunks):
    lazy = other.signal.as_lazy(chunks=chunks)
    result = lazy.remove_zlp_ml(ensemble=removal.ensemble, **APPLY)
    assert result.zlp._lazy
    result.compute()
    assert_same_results(result, reused, rtol=1e-6)


@pytest.mark.parametrize("shape", [(30,), (2, 3, 5), (1, 30), (30, 1)])
def test_how_the_spectra_are_arranged_does_not_matter(other, reused, removal, shape):
    axes = [{"size": n, "navigate": True} for n in shape]
    axes.append(other.signal.axes_manager.as_dictionary()["axis-2"])
    rearranged = type(other.signal)(other.signal.data.reshape(shape + (-1,)), axes=axes)
    rearranged.metadata.add_dictionary(other.signal.metadata.as_dictionary())
    result = rearranged.remove_zlp_ml(ensemble=removal.ensemble, **APPLY)
    for name in SPECTRA:
        found = getattr(result, name).data
        assert found.shape == shape + (1024,)
        np.testing.assert_array_equal(found.reshape(5, 6, -1), getattr(reused, name).data)


@pytest.mark.parametrize("place", [(0, 0), (4, 3)])
def test_a_single_spectrum(other, reused, removal, place):
    """Matched alone: its regions come from its own counts, but the band is that of the ensemble."""
    single = other.signal.inav[place]
    assert single.axes_manager.navigation_dimension == 0
    result = single.remove_zlp_ml(ensemble=removal.ensemble, **APPLY)
    expected, std = (getattr(reused, name).data[place[::-1]] for name in ("zlp", "std"))
    assert result.zlp.data.shape == (1024,)
    pull = (result.zlp.data - expected) / np.hypot(std, result.std.data)
    assert np.sqrt(np.mean(pull**2)) < 2


# --- what the user gives --------------------------------------------------------------------------


def test_regions_of_the_user_are_those_of_the_image(other, removal):
    given = {"E_I": [1.0, 1.2], "E_II": 9.0, "gain_limit": -1.5}
    found = adapted_to(other.signal, removal.ensemble, regions=given)
    np.testing.assert_array_equal(found.regions.E_I, [1.0, 1.2])
    np.testing.assert_array_equal(found.regions.E_II, [9.0, 9.0])
    np.testing.assert_array_equal(found.regions.gain_limit, [-1.5, -1.5])
    # Those of the ensemble stay with it.
    assert removal.ensemble.seen.regions.E_I.size == 5


def test_spectra_left_out_are_nan_and_do_not_disturb(other, removal):
    """NaN, dead, and masked pixels: in every result; the rest is that of an image without them."""
    signal = other.signal.deepcopy()
    mask = np.zeros((5, 6), bool)
    mask[2, 1], mask[4, 4] = True, True
    expected = signal.remove_zlp_ml(ensemble=removal.ensemble, navigation_mask=mask, **APPLY)
    left_out = mask.copy()
    left_out[0, 3], left_out[3, 5] = True, True
    signal.data[0, 3, 77] = np.nan
    signal.data[3, 5] = 0.0
    with pytest.warns(UserWarning, match="2 of 30 spectra are left out"):
        result = signal.remove_zlp_ml(ensemble=removal.ensemble, navigation_mask=mask, **APPLY)
    for name in SPECTRA:
        found = getattr(result, name).data
        np.testing.assert_array_equal(np.isnan(found).all(-1), left_out)
        assert np.isfinite(found[~left_out]).all()
    pull = (result.zlp.data - expected.zlp.data)[~left_out] / expected.std.data[~left_out]
    assert np.sqrt(np.mean(pull**2)) < 1


# --- outside --------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings, told", [
    ({"peak_counts": 3e8}, r"the dose is \d\d\.?\d* times as high"),
    ({"fwhm": 0.675}, r"the peaks are 1\.\d+ times as wide \(FWHM 0\.[67]\d* eV\)"),
    ({"fwhm": 0.3, "scale": 0.0167}, r"the peaks are 0\.[67]\d* times as wide"),
])  # fmt: skip
def test_outside_it_is_told_once_and_the_band_is_twice_as_wide(
    other, reused, removal, settings, told
):
    there = another(**settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = there.signal.remove_zlp_ml(ensemble=removal.ensemble, **APPLY)
    said = [w for w in caught if "other data" in str(w.message)]
    assert len(said) == 1
    assert said[0].filename == __file__
    (message,) = (text for text in result.report.messages if "other data" in text)
    assert message == str(said[0].message)
    assert message in str(result.report)
    assert message in result.zlp.metadata.ZLP_ML.messages
    pattern = f"trained on other data: .*{told}.*; its band is .* times as wide for it"
    assert re.search(pattern, message)
    _, usual, of = of_flank(other, reused)
    error, std, zlp = of_flank(there, result)
    assert np.median(std / zlp) > 2 * np.median(usual / of)
    assert np.mean(np.abs(error) < 2 * std) > 0.9


def test_a_setting_of_the_microscope_that_differs_is_told(other, reused, removal):
    """A beam energy of 250 keV for 200: the logarithm by 0.22, of which 0.02 is allowed and 0.1
    doubles the band. Beyond the core the tail opens, too; nothing else changes."""
    there = other.signal.deepcopy()
    there.set_microscope_parameters(beam_energy=250.0)
    with pytest.warns(
        UserWarning, match="beam energy is 250 and was 200; its band is 3 times as wide"
    ):
        result = there.remove_zlp_ml(ensemble=removal.ensemble, **APPLY)
    np.testing.assert_array_equal(result.zlp.data, reused.zlp.data)
    core = np.abs(other.signal.axes_manager[-1].axis) < 0.9
    ratio = result.std.data / reused.std.data
    assert (ratio > 2).all()
    assert np.median(ratio[..., core]) == pytest.approx(1 + (np.log(1.25) - 0.02) / 0.1, rel=0.05)


def test_what_is_like_that_trained_on_is_not_told(other, removal):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        result = other.signal.remove_zlp_ml(ensemble=removal.ensemble, **APPLY)
    assert not result.report.messages


def test_nothing_given_is_modified(other, removal):
    before = other.signal.data.copy(), other.signal.metadata.as_dictionary()
    samples, *more = samples_of(other.signal)
    counts = [sample.counts.copy() for sample in samples]
    fingerprint = removal.ensemble.fingerprint
    adapt(removal.ensemble, samples, *more, 0.68)
    for sample, kept in zip(samples, counts, strict=True):
        np.testing.assert_array_equal(sample.counts, kept)
    np.testing.assert_array_equal(other.signal.data, before[0])
    assert other.signal.metadata.as_dictionary() == before[1]
    assert replace(removal.ensemble).fingerprint == fingerprint  # what is cached stays behind


# --- limits that the user gives -------------------------------------------------------------------


def test_a_limit_behind_the_losses_is_told_once(other, removal):
    # They begin near 1.7 eV.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        late = other.signal.remove_zlp_ml(ensemble=removal.ensemble, regions={"E_I": 3.2}, **APPLY)
    said = [str(one.message) for one in caught if "given up to 3.2 eV" in str(one.message)]
    assert len(said) == 1
    assert said[0] in late.report.messages
    assert adapted_to(other.signal, removal.ensemble, regions={"E_I": 1.5}).late == ""
    assert adapted_to(other.signal, removal.ensemble).late == ""


def test_a_guessed_tail_tells_of_no_late_limit(other, removal):
    guess = replace(removal.ensemble.seen, tail="beyond 1 eV the gain side, raised: a guess")
    ensemble = replace(removal.ensemble, seen=guess)
    assert adapted_to(other.signal, ensemble, regions={"E_I": 3.2}).late == ""
