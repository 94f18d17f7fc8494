# SPDX-License-Identifier: GPL-3.0-or-later
"""The curve that all spectra share: found where many show it, and none made of where they end."""

import numpy as np

from hyperspy_zlpml.image.noise import NoiseModel
from hyperspy_zlpml.registration import levels
from hyperspy_zlpml.registration.levels import (
    Prior,
    hidden_structure,
    lay_nodes,
    learn_curve,
)
from hyperspy_zlpml.registration.points import Points
from hyperspy_zlpml.statistics import Range

N_SPECTRA, PER_FWHM = 200, 10.0


def points_up_to(end, few_up_to, rng):
    """Residuals of spectra that share bumps of 2 %; two of them go on, a few channels farther."""
    u = np.arange(-3.0, few_up_to, 1 / PER_FWHM)
    u = u + rng.uniform(0, 1 / PER_FWHM, (N_SPECTRA, 1))
    sigma = 0.02 * np.sqrt(1 + u**2)
    residual = 0.02 * np.cos(2 * np.pi * u / 3) * (np.abs(u) < 8) + sigma * rng.standard_normal(
        u.shape
    )
    inside = u < np.where(np.arange(N_SPECTRA)[:, None] < 2, few_up_to, end)
    spectrum, channel = np.nonzero(inside)
    noise = NoiseModel(gain=1.0, readout=0.0)
    return Points(
        u=u[inside],
        spectrum=spectrum,
        channel=channel,
        residual=residual[inside],
        weight=sigma[inside] ** -2,
        unsure=np.zeros(spectrum.size),
        noise=noise,
    )


def errors_of_curve(structure, n_trials=10):
    """Claimed and true errors of the curve (rms), for fine structure so many times the noise of the mean."""
    rng, claimed, true = np.random.default_rng(1), [], []
    u = np.arange(-3.0, 10.0, 1 / PER_FWHM)
    nodes = lay_nodes(Range(-3.0, 10.0), PER_FWHM)
    seen = (nodes > 2) & (nodes < 9)

    def mean_noise(u):
        return 0.02 * np.sqrt((1 + u**2) / N_SPECTRA)

    def curve(u):
        return structure * mean_noise(u) * np.cos(4 * np.pi * u)

    for _ in range(n_trials):
        of_all = u + rng.uniform(0, 1 / PER_FWHM, (N_SPECTRA, 1))
        sigma = mean_noise(of_all) * np.sqrt(N_SPECTRA)
        spectrum, channel = np.indices(of_all.shape).reshape(2, -1)
        points = Points(
            u=of_all.ravel(),
            spectrum=spectrum,
            channel=channel,
            residual=(curve(of_all) + sigma * rng.standard_normal(of_all.shape)).ravel(),
            weight=sigma.ravel() ** -2,
            unsure=np.zeros(spectrum.size),
            noise=NoiseModel(gain=1.0, readout=0.0),
        )
        learnt = learn_curve(points, nodes, np.zeros(N_SPECTRA), Prior.none(nodes.size))
        scale = mean_noise(nodes)
        claimed.append(np.mean((learnt.channel_error / scale)[seen] ** 2))
        true.append(np.mean(((learnt.curve - curve(nodes)) / scale)[seen] ** 2))
    return np.sqrt([np.mean(claimed), np.mean(true)])


def test_noise_alone_has_next_to_no_structure():
    # Variances beyond noise that come out positive by chance, as every other one does, were 0.43 of the noise.
    claimed, true = errors_of_curve(structure=0.0)
    assert true < 0.1
    assert claimed < 0.25


def test_structure_that_stands_out_of_the_noise_is_claimed():
    claimed, true = errors_of_curve(structure=2.0)
    assert 0.6 < claimed / true < 1.1


def test_a_curve_of_many_spectra_says_less_where_a_few_go_on(monkeypatch):
    # Structure that grows outward with the noise does not do so where the noise grows because the
    # spectra end: whatever their last channels happen to be is no curve, nor an error of the curve.
    ends, errors = largest_at_the_end()
    monkeypatch.setattr(levels, "_GROWS_WITH_NOISE", np.inf)
    without = largest_at_the_end()
    assert ends < 0.7 * without[0]
    assert errors < 0.7 * without[1]


def largest_at_the_end():
    """Largest curve, and largest error of it, where two spectra alone go on, in twenty trials."""
    rng = np.random.default_rng(0)
    ends, errors = [], []
    for _ in range(20):
        points = points_up_to(end=9.5, few_up_to=10.5, rng=rng)
        nodes = lay_nodes(Range(-3.0, 10.5), PER_FWHM)
        learnt = learn_curve(points, nodes, np.zeros(N_SPECTRA), Prior.none(nodes.size))
        seen, beyond = np.abs(nodes) < 6, nodes > 10.2
        truth = 0.02 * np.cos(2 * np.pi * nodes / 3)
        assert np.sqrt(np.mean((learnt.curve - truth)[seen] ** 2)) < 0.005
        ends.append(np.abs(learnt.curve[beyond]).max())
        errors.append(learnt.group_error[beyond].max())
    return max(ends), max(errors)


def test_no_fine_structure_is_hidden_where_as_much_is_found_nor_by_what_the_core_has():
    nodes = lay_nodes(Range(-20.0, 20.0), PER_FWHM)
    grows = 1e-6 * (1 + nodes**2)
    np.testing.assert_array_equal(hidden_structure(grows, nodes), 0)
    # The flank's own, within 1 FWHM: neighbours blur it to 2 FWHM, with a hundredth of its variance.
    flank = np.where(np.abs(nodes) < 1.0, 1e-6, 0.0)
    assert hidden_structure(flank, nodes).max() < 0.05 * 1e-6


def test_hidden_and_found_are_as_much_as_is_found_nearer_to_the_peak():
    nodes = lay_nodes(Range(-30.0, 30.0), PER_FWHM)
    # Neighbours are found in steps of .02 in x, which lie otherwise on both sides.
    falls = 1e-6 * np.exp(-np.abs(nodes) / 3)
    whole = falls + hidden_structure(falls, nodes)
    far = np.abs(nodes) > 10
    np.testing.assert_allclose(whole[far], 1e-6 * np.exp(-2.0 / 3), rtol=0.15)
    np.testing.assert_allclose(whole[far], whole[far][::-1], rtol=1e-2)
