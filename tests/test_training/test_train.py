# SPDX-License-Identifier: GPL-3.0-or-later
"""The method from top to bottom on small images whose truth is known."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from hyperspy_zlpml import data
from hyperspy_zlpml.image.clusters import cluster_image
from hyperspy_zlpml.image.describe import describe_image
from hyperspy_zlpml.image.peaks import peak_parameters
from hyperspy_zlpml.image.samples import draw_samples
from hyperspy_zlpml.network.selection import TooFewReplicasError
from hyperspy_zlpml.registration.find_regions import RegisteredImage, find_regions
from hyperspy_zlpml.registration.register import register_peaks
from hyperspy_zlpml.registration.variation import ClusterSpectra, cluster_spectra
from hyperspy_zlpml.removal.application import channel_range, known_peaks
from hyperspy_zlpml.removal.evaluation import RESULTS
from hyperspy_zlpml.removal.subtract import Subtraction
from hyperspy_zlpml.training.pseudo_data import (
    OwnReferences,
    of_typical_shape,
    pattern_noise,
    training_data,
    variations_of,
)
from hyperspy_zlpml.training.settings import TrainingSettings
from hyperspy_zlpml.training.train import (
    TrainingOptions,
    in_region_one,
    register_image,
    train_ensemble,
)

#: A network that is large enough for a small image, and quick.
QUICK = TrainingOptions(
    n_replicas=8, settings=TrainingSettings(hidden_layers=(6, 6)), n_steps=25, random_state=0
)


def of_kind(kind):
    """The same with replicas of another kind."""
    return replace(QUICK, settings=replace(QUICK.settings, replica_kind=kind))


def prepared(sample, n_clusters=3):
    """What comes before the training: peaks, detector, vacuum, clusters, samples."""
    energy = sample.signal.axes_manager.signal_axes[0].axis
    counts = np.asarray(sample.signal.data, float).reshape(-1, energy.size)
    parameters = peak_parameters(counts, energy)
    image = describe_image(parameters, energy, np.arange(len(counts)), counts)
    clusters = cluster_image(image, "zlp", n_clusters, 0)
    samples = draw_samples(image, clusters.labels, None, np.random.default_rng(0)).training
    return SimpleNamespace(
        sample=sample, energy=energy, counts=counts, parameters=parameters, image=image,
        clusters=clusters, samples=samples, thickness=sample.thickness.data.ravel(),
    )  # fmt: skip


def trained(case, settings=QUICK, progress=None):
    noise = case.image.detector.noise
    outcome = train_ensemble(case.samples, noise, case.clusters, settings, progress)
    return outcome.ensemble, outcome.summary


def applied(case, ensemble):
    """Results by name, each of shape (n_spectra, n_energy)."""
    image = case.image
    subtraction = Subtraction.prepare(
        ensemble.tabulate(0.68),
        ensemble.seen.log_fwhm,
        case.energy,
        image.detector,
        channel_range(image),
    )
    peaks = known_peaks(image, case.clusters.labels, ensemble.seen.regions)
    return dict(zip(RESULTS, subtraction.apply(case.counts, peaks), strict=True))


@pytest.fixture(scope="module")
def flake():
    """A thin flake beside vacuum: 100 spectra, a quarter of them vacuum."""
    sample = data.make_sample(
        (10, 10), n_channels=1024, thickness_range=(0.0, 0.3), tail_drift=0.0, random_state=1
    )
    return prepared(sample)


@pytest.fixture(scope="module")
def outcome(flake):
    return trained(flake)


# --- training -------------------------------------------------------------------------------------


def test_report_is_about_what_was_trained(flake, outcome):
    ensemble, report = outcome
    assert report.n_replicas == 8
    assert report.n_kept == ensemble.n_replicas == 8 - sum(report.dropped.values())
    assert ensemble.seen.cluster_centres.size == 3
    assert ensemble.networks.layers == QUICK.layers
    assert ensemble.seen.cluster_by == "zlp"


def test_peaks_are_fitted_to_their_noise(outcome):
    # chi2 of the cluster means: a network this small may miss them by little.
    _, report = outcome
    assert 0.5 < report.chi2 < 4
    assert 0.5 < report.chi2_validation < 6


def test_noise_is_that_of_the_camera(outcome):
    ensemble, _ = outcome
    assert ensemble.seen.noise.gain == pytest.approx(1.0, rel=0.1)
    assert ensemble.seen.noise.readout == pytest.approx(30.0, rel=0.05)


def test_regions_end_before_the_losses_and_behind_the_core(flake, outcome):
    # The gap is 1.6 eV; the response carries losses below it.
    regions = outcome[0].seen.regions
    assert flake.thickness[flake.clusters.labels == 2].min() > 0
    assert 0.45 < regions.E_I[2] < 1.75
    assert (regions.gain_limit < 0).all()
    assert (regions.E_II > regions.E_I).all()


def test_the_same_state_gives_the_same_ensemble(flake):
    settings = replace(QUICK, n_replicas=4, n_steps=4)
    one, same = (trained(flake, settings)[0] for _ in range(2))
    other = trained(flake, replace(settings, random_state=1))[0]
    np.testing.assert_array_equal(one.networks.weights, same.networks.weights)
    np.testing.assert_array_equal(one.reference.scores, same.reference.scores)
    assert (
        one.networks.weights.shape != other.networks.weights.shape
        or (one.networks.weights != other.networks.weights).any()
    )


def test_given_limits_are_kept(flake):
    given = {"E_I": 1.1, "gain_limit": [-2.0, -1.5, -1.0]}
    ensemble, _ = trained(flake, replace(QUICK, n_replicas=4, n_steps=4, limits=given))
    np.testing.assert_array_equal(ensemble.seen.regions.E_I, [1.1, 1.1, 1.1])
    np.testing.assert_array_equal(ensemble.seen.regions.gain_limit, [-2.0, -1.5, -1.0])


def test_progress_is_told(flake):
    told = []
    trained(flake, replace(QUICK, n_replicas=4, n_steps=4), lambda *values: told.append(values))
    assert told[-1][0] == told[-1][1] == 4


def test_inputs_are_not_modified(flake):
    before = [sample.counts.copy() for sample in flake.samples]
    trained(flake, replace(QUICK, n_replicas=4, n_steps=2))
    for sample, counts in zip(flake.samples, before, strict=True):
        np.testing.assert_array_equal(sample.counts, counts)


def test_networks_learn_the_ratio_to_the_reference_of_their_replica(flake):
    # Whatever reference a replica draws, reference times ratio is what was measured. Vacuum, whose
    # mean is the reference, is drawn with it: its ratio is that to the reference drawn, its
    # errors would be counted twice otherwise.
    peaks = register_peaks(flake.samples, flake.image.detector.noise)
    regions = find_regions(peaks, 3, {})
    peaks = peaks.within(regions)
    image = RegisteredImage(peaks, regions)
    modes, variations = peaks.reference_modes, variations_of(image)
    scores = np.random.default_rng(1).standard_normal((8, len(modes) + len(variations)))
    (scaling, common), (_, own) = (
        training_data(
            [image],
            OwnReferences(peaks.grid, modes, variations, drawn),
            QUICK,
            np.random.default_rng(2),
        )
        for drawn in (0 * scores, scores)
    )
    u = np.sinh(own.inputs[:, 0] * scaling.x_scale) / 2
    of_errors = scores[:, : len(modes)]
    deviation = np.array([peaks.grid.interpolate(row, u) for row in of_errors @ modes])
    vacuum, *clusters = cluster_spectra(peaks)
    assert vacuum.is_reference
    assert not any(cluster.is_reference for cluster in clusters)
    n_vacuum = np.isfinite(vacuum.mean[1]).sum()
    np.testing.assert_array_equal(own.ratios[:, :n_vacuum], common.ratios[:, :n_vacuum])
    deviation[:, :n_vacuum] = 0.0
    assert np.abs(deviation).max() > 1e-3
    np.testing.assert_allclose(own.ratios * np.exp(deviation), common.ratios, rtol=1e-6)
    # Noise against a reference that is too low is larger as the ratio is.
    widened = np.exp(np.maximum(-deviation, 0))
    np.testing.assert_allclose(own.sigma, common.sigma * widened, rtol=1e-6)
    lines = np.sinh(own.tail_inputs[..., 0] * scaling.x_scale) / 2
    # How peaks vary is the replica's own, too: networks need not learn it.
    both = scores @ np.concatenate([modes, variations])
    deviation = np.array([peaks.grid.interpolate(row, lines) for row in both])
    np.testing.assert_allclose(own.tail_reference - deviation, common.tail_reference, atol=1e-6)
    for name in ("inputs", "used", "tail_inputs", "far_inputs"):
        np.testing.assert_array_equal(getattr(own, name), getattr(common, name))
    assert np.abs(own.inputs).max() < 3
    assert np.abs(own.tail_inputs).max() < 3
    # Lines run outward on both sides, the far points at their ends.
    assert (np.diff(np.abs(lines)) > 0).all()
    assert (np.sign(lines).min(-1) == np.sign(lines).max(-1)).all()


def test_replicas_hold_how_peaks_vary_at_any_thickness(flake):
    # The variance of their references is that of the reference's errors, and of the spectra.
    ensemble, _ = trained(flake, replace(QUICK, n_replicas=800, n_steps=1))
    image = register_image(flake.samples, flake.image.detector.noise, 3, {})
    u = image.peaks.u.mean(0)
    errors, variations = image.peaks.reference_error(u) ** 2, (image.modes**2).sum(0)
    ratio = ensemble.reference.deviations(u).var(0) / (errors + variations)
    # Half of the scores are the others with the opposite sign; five standard deviations.
    tolerance = 5 * np.sqrt(2 / (ensemble.n_replicas / 2))
    np.testing.assert_allclose(ratio, 1.0, atol=tolerance)
    assert (variations > 2 * tolerance * (errors + variations)).any()
    np.testing.assert_allclose(ensemble.reference.errors, image.peaks.reference_modes, rtol=1e-6)


def rippled(sample):
    """Spectra whose peaks have a fine structure of 1 %, the same in all."""
    centre, fwhm = (getattr(sample.parameters, name)[:, None] for name in ("centre", "fwhm"))
    ripple = 0.01 * np.sin(2 * np.pi * 4 * (sample.energy - centre) / fwhm)
    return replace(sample, counts=sample.counts * (1 + ripple))


def test_fine_structure_that_is_taken_off_is_no_error_of_the_reference(flake):
    # What is not known of the structure is in the errors of the coherent residual: it counted twice.
    noise, samples = flake.image.detector.noise, [rippled(one) for one in flake.samples]
    flank = np.array([-3.0, -2.0, 2.0, 3.0])
    with_structure = register_peaks(samples, noise).reference_error(flank)
    left = register_image(samples, noise, 3, {}).peaks.reference_error(flank)
    smooth = register_image(flake.samples, noise, 3, {}).peaks.reference_error(flank)
    assert np.median(with_structure / smooth) > 3
    assert np.median(left / smooth) < 2


def test_without_vacuum_spectra_say_how_far_replicas_may_differ_where_all_are_pure_and_no_further():
    # Under the losses no spectrum shows how tails scatter; before the first of them every one does.
    film = data.make_sample(
        (10, 10), n_channels=1024, vacuum_fraction=0.0, thickness_range=(0.3, 1.0), random_state=1
    )
    case = prepared(film)
    image = register_image(case.samples, case.image.detector.noise, 3, {})
    grid, fwhm, regions = image.peaks.grid, np.exp(image.peaks.log_fwhm.mean), image.regions
    seen = in_region_one(image, grid)
    assert grid.u[seen].max() == pytest.approx(regions.E_I.min() / fwhm, abs=0.1)
    ensemble, _ = trained(case)
    beyond = ~in_region_one(image, ensemble.grid)
    np.testing.assert_array_equal(ensemble.reference.beside.rest_share[beyond], 1.0)


def test_clusters_are_brought_to_the_shape_of_the_reference():
    # Spectra of one cluster that all have tails 20 % higher, and are wider: their match will tell.
    u = np.linspace(-4, 2, 60)
    fitted = np.stack([np.ones(60), -u, u**2])
    tails = 0.1 * np.tanh(u / 2)[None] ** 2
    noise = 1e-3 * np.random.default_rng(0).standard_normal((50, 60))
    variance = np.full(noise.shape, 1e-6)
    varied = 1 + 2 * tails + 0.01 * fitted[2] + noise
    one = ClusterSpectra(varied, variance, variance > 0, u, 15.0, fitted=fitted)
    mean, error = of_typical_shape(one, tails).mean
    # What the prior holds back: a score of 2 known to 0.01.
    assert np.abs(mean - 1).max() < 5 * error.max()
    vacuum = replace(one, is_reference=True)
    assert of_typical_shape(vacuum, tails) is vacuum


def test_replicas_that_all_fail_are_an_error(flake, monkeypatch):
    from hyperspy_zlpml.training import train as module

    def failing(data, settings, rng, progress):
        n = settings.n_replicas
        bad = np.full(n, np.nan)
        return SimpleNamespace(weights=np.zeros((n, 67)), chi2=bad, chi2_validation=bad, rise=bad)

    monkeypatch.setattr(module, "_train_networks", failing)
    with pytest.raises(TooFewReplicasError, match=r"only 0 of 8 .*8: fit failed.*E_I"):
        trained(flake)


# --- the result against the truth -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gaussian", "spectra"])
def test_the_predicted_zlp_is_the_true_one(flake, outcome, kind):
    ensemble = outcome[0] if kind == "gaussian" else trained(flake, of_kind(kind))[0]
    results = applied(flake, ensemble)
    truth = flake.sample.zlp.data.reshape(results["zlp"].shape)
    u = np.abs(flake.energy - flake.parameters.centre[:, None]) / flake.parameters.fwhm[:, None]
    specimen = (flake.thickness > 0)[:, None]
    error = results["zlp"] / truth - 1
    # The core is matched: to its noise. The flank up to 8 FWHM is predicted from the vacuum's,
    # a few per cent where losses are a thousand times larger than that.
    assert np.sqrt((error[(u < 2) & specimen] ** 2).mean()) < 0.005
    assert np.sqrt((error[(u > 2) & (u < 8) & specimen] ** 2).mean()) < 0.05
    # Errors claimed and errors made agree within a factor of three, with eight replicas only.
    pull = (results["zlp"] - truth) / results["std"]
    assert 0.2 < np.sqrt((pull[(u > 2) & (u < 8) & specimen] ** 2).mean()) < 4


def test_losses_are_what_is_left(flake, outcome):
    # Sums over 4 to 12 eV of the specimen: the ZLP is a few per cent of the losses there.
    results = applied(flake, outcome[0])
    truth = flake.sample.inelastic.data.reshape(results["zlp"].shape)
    there = (flake.energy > 4) & (flake.energy < 12)
    thick = flake.thickness > 0.1
    found, true = (values[thick][:, there].sum(-1) for values in (results["subtracted"], truth))
    np.testing.assert_allclose(found, true, rtol=0.05)


def test_vacuum_is_subtracted_to_nothing(flake, outcome):
    # 25 spectra of their own ensemble: the mean residual is within a per cent of the ZLP, and
    # its scatter that of the counts.
    results = applied(flake, outcome[0])
    vacuum = flake.thickness == 0
    near = (flake.energy > 1) & (flake.energy < 5)
    residual = results["subtracted"][vacuum][:, near]
    assert abs(residual.sum()) < 0.01 * results["zlp"][vacuum][:, near].sum()
    pull = residual / np.sqrt(results["variance"][vacuum][:, near])
    assert pull.std() == pytest.approx(1.0, abs=0.15)


def test_the_thinner_the_beam_sees_the_less_is_subtracted(flake, outcome):
    # Beer-Lambert: the predicted ZLP falls by exp(-t/lambda); the beam fluctuates by 1 %.
    results = applied(flake, outcome[0])
    area = results["zlp"].sum(-1)
    slope = np.polyfit(flake.thickness, np.log(area), 1)[0]
    assert slope == pytest.approx(-1.0, abs=0.1)


# --- few spectra ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gaussian", "spectra"])
def test_a_single_spectrum(kind):
    sample = data.single_spectrum(random_state=2, n_channels=1024, thickness_range=(0.1, 0.1))
    case = prepared(sample, n_clusters=5)
    ensemble, report = trained(case, replace(of_kind(kind), n_replicas=6))
    assert case.clusters.centres.size == 1
    results = applied(case, ensemble)
    assert all(np.isfinite(values).all() for values in results.values())
    core = np.abs(case.energy) < 0.9
    truth = sample.zlp.data[core]
    np.testing.assert_allclose(results["zlp"][0, core], truth, rtol=0.03)


def test_a_line_of_spectra_with_a_useless_one():
    sample = data.line_scan((12,), random_state=3, n_channels=1024, thickness_range=(0.0, 0.3))
    sample.signal.data[5] = 0.0
    case = prepared(sample)
    results = applied(case, trained(case, replace(QUICK, n_replicas=4))[0])
    for values in results.values():
        np.testing.assert_array_equal(np.isnan(values).all(-1), np.arange(12) == 5)


# --- pattern noise --------------------------------------------------------------------------------


def test_smooth_means_have_no_pattern():
    # Counting noise alone: the excess stays within its own uncertainty.
    rng = np.random.default_rng(0)
    x = np.linspace(0, 3, 300)
    error = np.full(300, 0.01)
    mean = 1 + 0.2 * np.tanh(x) + error * rng.standard_normal(300)
    assert (pattern_noise(mean, error) < 0.012).all()
    assert (pattern_noise(1 + 0.2 * np.tanh(x), error) == 0).all()


def test_size_of_a_pattern_is_found():
    # White sensitivity noise of 5 %, known to 1 / sqrt(2 * 15) from 15 groups.
    rng = np.random.default_rng(1)
    error = np.full(300, 0.002)
    mean = 1 + 0.05 * rng.standard_normal(300)
    assert np.median(pattern_noise(mean, error)) == pytest.approx(0.05, rel=0.2)


@pytest.mark.parametrize("n", [0, 1, 7])
def test_too_few_points_for_a_pattern(n):
    np.testing.assert_array_equal(pattern_noise(np.arange(n) ** 2.0, np.ones(n)), np.zeros(n))
