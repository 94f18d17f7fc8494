# SPDX-License-Identifier: GPL-3.0-or-later
"""``r.fit_peaks``: maps in native form, the same in memory and lazy, to and from models of HyperSpy."""

from dataclasses import replace
from functools import partial

import hyperspy.api as hs
import numpy as np
import pytest
from exspy.components import VolumePlasmonDrude
from hyperspy.components1d import Gaussian, GaussianHF, Lorentzian, PowerLaw

from hyperspy_zlpml.data import Material, energy_gain, make_sample
from hyperspy_zlpml.physics import Exciton, Plasmon, Reason
from hyperspy_zlpml.physics.peaks import piece_of
from hyperspy_zlpml.removal.pooling import losses_at, map_pooled
from hyperspy_zlpml.signals.maps.peaks import PeakFit

PLASMON = Plasmon(energy=22.0, width=6.0)
EXCITON = Exciton(energy=5.0, width=0.8)
QUICK = {"n_clusters": 2, "n_replicas": 4, "random_state": 0, "show_progressbar": False}
MATERIAL = Material(excitons=((3.4, 0.8, 0.02),))
QUIET = {"show_progressbar": False}


@pytest.fixture(scope="module")
def sample():
    return make_sample(
        (5, 4), n_channels=600, scale=0.08, material=MATERIAL, random_state=1, title="Flake"
    )


@pytest.fixture(scope="module")
def removal(sample):
    return sample.signal.remove_zlp_ml(**QUICK)


@pytest.fixture(scope="module")
def fits(removal):
    return removal.fit_peaks([PLASMON, EXCITON], **QUIET)


def is_specimen(sample):
    return sample.thickness.data > 0.2


def test_what_is_there_is_found(fits, sample):
    plasmon, exciton = fits
    where = is_specimen(sample)
    assert plasmon.position.value.data[where] == pytest.approx(22.5, abs=0.2)
    assert (plasmon.maximum.value.data[where] < plasmon.position.value.data[where]).all()
    assert plasmon.top.value.data[where] == pytest.approx(
        plasmon.maximum.value.data[where], abs=0.15
    )
    assert np.isfinite(exciton.position.value.data[where]).mean() > 0.5
    assert np.nanmedian(exciton.position.value.data) == pytest.approx(5.0, abs=0.06)
    assert np.isnan(exciton.top.value.data).all()


def test_vacuum_has_no_peaks(fits, sample):
    vacuum = sample.thickness.data == 0
    for fit in fits:
        assert (fit.reason.data[vacuum] == Reason.NOT_SIGNIFICANT).all()
        assert np.isnan(fit.position.value.data[vacuum]).all()


def test_numbers_are_positive_where_there_are_any(fits):
    for fit in fits:
        for name in ("position", "maximum", "width", "area"):
            values = getattr(fit, name).value.data
            assert (values[np.isfinite(values)] > 0).all()


def test_maps_are_native(fits, removal):
    plasmon, exciton = fits
    assert repr(plasmon.position.value) == (
        "<BaseSignal, title: Flake plasmon 22 position, dimensions: (5, 4|)>"
    )
    assert plasmon.position.value.metadata.Signal.quantity == "Energy (eV)"
    assert plasmon.area.value.metadata.Signal.quantity == "Intensity (Counts)"
    for name in ("position", "maximum", "width", "area", "top"):
        found = getattr(plasmon, name)
        variance = found.value.get_noise_variance().data
        np.testing.assert_allclose(np.sqrt(variance), found.std.data)
        assert repr(found).startswith(f"<Measured, Flake plasmon 22 {name}: median")
    assert exciton.reason.metadata.ZLP_ML.legend.as_dictionary()["7"].startswith(
        "AT_LOWER_END: the position"
    )
    assert repr(plasmon).startswith("<PeakFit, Flake plasmon 22, position: median 22.")


def test_fits_are_drawn(fits):
    axes = fits[0].plot()
    assert len([one for one in axes if one.images]) == 6


@pytest.mark.parametrize("pool", [None, 3, "clusters"])
def test_the_fit_of_a_pixel_is_drawn(removal, sample, pool):
    exciton = removal.fit_peaks([PLASMON, EXCITON], pool=pool, **QUIET)[1]
    y, x = np.argwhere(np.isfinite(exciton.position.value.data) & is_specimen(sample))[0]
    above, below = exciton.plot_fit((int(x), int(y)))[:2]
    position = exciton.position.value.data[y, x]
    assert above.get_title().startswith(f"({x}, {y}) exciton {position:.4g}")
    assert "background" in [line.get_label() for line in above.lines]
    (residual, *_) = below.lines
    assert np.abs(residual.get_ydata()).mean() < 2


def test_what_was_tried_is_drawn_where_nothing_is_found(fits, sample):
    y, x = np.argwhere(sample.thickness.data == 0)[0]
    title = fits[0].plot_fit((int(x), int(y)))[0].get_title()
    assert "no plasmon near 22" in title
    assert "nothing stands clearly above noise" in title
    assert fits[0].plot_fit()[0].get_title().startswith("(")
    with pytest.raises(ValueError, match="indices: expected one within each of"):
        fits[0].plot_fit((9, 9))


@pytest.mark.parametrize("pool", [2, 3, "clusters"])
def test_what_is_drawn_is_what_was_pooled(removal, pool):
    """Sums of pooled spectra at a pixel, by the pass over the image and by that pixel alone."""
    prepare = partial(piece_of, peaks=[EXCITON])
    sums = map_pooled(
        removal.removed,
        lambda losses: np.stack([losses.counts.sum(-1), losses.variance.sum(-1)], -1),
        2,
        pool=pool,
        prepare=prepare,
        show_progressbar=False,
        title="",
    )
    for place in ((0, 0), (2, 3)):
        losses = losses_at(removal.removed, place, pool=pool, prepare=prepare)
        found = losses.counts.sum(), losses.variance.sum()
        np.testing.assert_allclose(found, sums[place])


def test_one_peak_is_one_fit(removal, fits):
    assert isinstance(removal.fit_peaks(EXCITON, **QUIET), PeakFit)
    (alone,) = removal.fit_peaks([PLASMON], **QUIET)
    np.testing.assert_array_equal(alone.position.value.data, fits[0].position.value.data)


@pytest.mark.parametrize("pool", [3, "clusters"])
def test_pooled_peaks_have_smaller_errors(removal, fits, sample, pool):
    pooled = removal.fit_peaks(EXCITON, pool=pool, **QUIET)
    where = is_specimen(sample) & np.isfinite(fits[1].position.value.data)
    assert np.nanmedian(pooled.position.std.data[where]) < np.nanmedian(
        fits[1].position.std.data[where]
    )
    assert np.nanmedian(pooled.position.value.data[where]) == pytest.approx(5.0, abs=0.06)


def test_clusters_have_one_number_each(removal):
    found = removal.fit_peaks(PLASMON, pool="clusters", **QUIET).position.value.data
    labels = removal.clusters.data
    for label in np.unique(labels):
        values = found[(labels == label) & ~removal.vacuum.data]
        assert np.unique(values).size == 1


def test_gains_are_found():
    sample = energy_gain(
        (5, 5),
        n_channels=700,
        random_state=0,
        material=replace(Material(), gains=((0.4, 0.05, 3e-3),)),
    )
    r = sample.signal.remove_zlp_ml(**QUICK)
    fit = r.fit_peaks(Exciton(0.4, 0.05), side="gain", **QUIET)
    assert np.isfinite(fit.position.value.data[is_specimen(sample)]).mean() > 0.5
    assert np.nanmedian(fit.position.value.data) == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize(
    "component, expected",
    [
        (VolumePlasmonDrude(fwhm=6.0, plasmon_energy=22.0), PLASMON),
        (GaussianHF(centre=5.0, fwhm=0.8), EXCITON),
        (Gaussian(centre=5.0, sigma=0.34), EXCITON),
        (Lorentzian(centre=5.0, gamma=0.4), EXCITON),
    ],
)
def test_components_give_start_values(removal, component, expected):
    fit = removal.fit_peaks(component, threshold=0.0, **QUIET)
    assert type(fit.peak) is type(expected)
    assert fit.peak.energy == pytest.approx(expected.energy, abs=0.05)
    assert fit.peak.width == pytest.approx(expected.width, rel=0.01)
    assert np.isfinite(fit.significance.data).any()


def test_fits_go_into_models_and_come_back(removal, fits, sample):
    model = removal.subtracted.create_model(auto_background=False, auto_add_edges=False)
    model.append(PowerLaw())
    model[0].active = False
    components = [fit.append_to(model) for fit in fits]
    where = is_specimen(sample)
    positions = components[0].plasmon_energy.map
    # The plasmon energy is an energy that is lost, wherever the peak lies on the axis.
    np.testing.assert_allclose(positions["values"][where], fits[0].position.value.data[where])
    np.testing.assert_allclose(positions["std"][where], fits[0].position.std.data[where])
    assert positions["is_set"].all()
    again = removal.fit_peaks(model, **QUIET)
    assert [type(fit.peak) for fit in again] == [Plasmon, Exciton]
    np.testing.assert_allclose(
        again[0].position.value.data[where], fits[0].position.value.data[where], atol=0.02
    )


@pytest.mark.parametrize("shape", ["gaussian", "lorentzian"])
def test_components_are_as_high_as_what_was_fitted(removal, sample, shape):
    """The model of a pixel at the maximum of a plasmon and of an exciton, against the data."""
    exciton = removal.fit_peaks(replace(EXCITON, shape=shape), pool="clusters", **QUIET)
    plasmon = removal.fit_peaks(PLASMON, single_scattering=False, **QUIET)
    model = removal.subtracted.create_model(auto_background=False, auto_add_edges=False)
    plasmon.append_to(model)
    place = np.unravel_index(sample.thickness.data.argmax(), sample.thickness.data.shape)
    height = model.as_signal(**QUIET).data[place]
    data = removal.subtracted.data[place]
    assert height.max() == pytest.approx(data.max(), rel=0.05)
    component = exciton.append_to(model)
    model.axes_manager.indices = place[::-1]
    axis = removal.subtracted.axes_manager.signal_axes[0]
    area = component.function(axis.axis).sum() * axis.scale
    assert area == pytest.approx(exciton.area.value.data[place], rel=0.15)


def test_a_peak_that_was_not_found_makes_a_component_all_the_same(removal):
    fit = removal.fit_peaks(Exciton(9.0, 0.3), threshold=500.0, **QUIET)
    component = fit.to_component()
    assert component.centre.value == pytest.approx(9.0, abs=0.1)
    assert component.height.value == 0


def test_maps_are_saved_with_their_errors(fits, tmp_path):
    path = tmp_path / "position.zspy"
    fits[0].position.value.save(path)
    read = hs.load(path)
    np.testing.assert_array_equal(
        read.get_noise_variance().data, fits[0].position.value.get_noise_variance().data
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"peaks": "plasmon"}, "peaks: expected a Plasmon or an Exciton"),
        ({}, r"such as Plasmon\(energy=16.7, width=4\)"),
        ({"peaks": []}, "peaks: expected a Plasmon or an Exciton"),
        ({"peaks": [EXCITON, 5.0]}, "peaks: expected a Plasmon or an Exciton"),
        ({"peaks": PowerLaw()}, "peaks: expected a Plasmon or an Exciton"),
        ({"peaks": Exciton(90.0, 1.0)}, "peaks: expected energies on the axis"),
        ({"peaks": [EXCITON, PLASMON, EXCITON]}, "peaks: expected every peak at an energy of its"),
        ({"peaks": EXCITON, "threshold": -1}, "threshold: expected a number from 0"),
        ({"peaks": EXCITON, "pool": 1}, "pool: expected an integer from 2 to 64"),
        (
            {"peaks": EXCITON, "pool": "all"},
            "pool: expected an integer from 2 to 64, .clusters. or",
        ),
        ({"peaks": EXCITON, "side": "both"}, "side: expected one of"),
        ({"peaks": PLASMON, "side": "gain"}, "peaks: expected no Plasmon on the gain side"),
        ({"peaks": EXCITON, "single_scattering": "no"}, "single_scattering: expected True"),
    ],
)
def test_wrong_arguments_are_refused(removal, arguments, message):
    with pytest.raises(ValueError, match=message):
        removal.fit_peaks(**arguments, **QUIET)


def test_plasmons_need_the_microscope_and_excitons_do_not(sample):
    signal = sample.signal.deepcopy()
    del signal.metadata.Acquisition_instrument.TEM.beam_energy
    r = signal.remove_zlp_ml(**QUICK)
    with pytest.raises(ValueError, match="set_microscope_parameters"):
        r.fit_peaks([EXCITON, PLASMON], **QUIET)
    assert isinstance(r.fit_peaks(EXCITON, **QUIET), PeakFit)


def test_models_of_other_images_are_refused(fits, sample):
    model = sample.signal.inav[:, 0].create_model(auto_background=False, auto_add_edges=False)
    with pytest.raises(ValueError, match="model: expected one of a signal with the navigation"):
        fits[0].append_to(model)
    with pytest.raises(ValueError, match="model: expected a BaseModel"):
        fits[0].append_to(sample.signal)


def test_peaks_off_the_data_have_reasons(removal, sample):
    # As of an energy in eV on an axis in meV: nowhere, which the maps alone would not say so loudly.
    with pytest.warns(UserWarning, match="0.5 eV lies below the E_I of every pixel"):
        below = removal.fit_peaks(Exciton(0.5, 0.3), **QUIET)
    assert (below.reason.data == Reason.BELOW_RESOLUTION).all()
    end = removal.fit_peaks(Exciton(43.8, 1.0), **QUIET)
    assert (end.reason.data == Reason.AXIS_TOO_SHORT).all()
