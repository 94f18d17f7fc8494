# SPDX-License-Identifier: GPL-3.0-or-later
"""Data unlike those that an ensemble has seen: how far outside, and in what words."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from images import described

from hyperspy_zlpml.ensemble.records import Origin
from hyperspy_zlpml.removal.applicability import ImageSummary, ShapeDifference, compare
from hyperspy_zlpml.statistics import Normal, Range


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
    return compare(
        ensemble,
        ImageSummary(
            log_intensity=log_intensity - thicker,
            log_fwhm=log_fwhm + np.log(width),
            log_dose=np.log(dose),
            u_range=Range(-25.0 * reach, 50.0 * reach),
            difference=ShapeDifference(*shape),
            has_vacuum=vacuum,
            end=end,
            microscope={"beam_energy": 200.0, **microscope},
        ),
    )


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
    assert "; ".join(both.messages) in both.message
    assert len(both.messages) == 2


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
