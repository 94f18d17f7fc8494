# SPDX-License-Identifier: GPL-3.0-or-later
"""Closure on many images of every kind with default settings; an hour, ``make test-closure``.

An image is one trial for each sort of pixels and window, as if all of its errors were common to
its channels and pixels. For honest errors ``p``, the mean over an image of its pulls, then has a
variance of at most one, and so

- the sum of ``p**2`` over n images is below the quantile of chi2 with n degrees of freedom,
- the mean over the images of anything (coverage) is within Student's t times its own standard
  error of what is claimed, whatever that spread is.

Both quantiles are those of 1e-5. With 10 kinds, 6 combinations of pixels and window and 7 claims
a run fails by chance once in 250, fewer as they are correlated.
"""

import numpy as np
import pytest
from closure_scenes import FAR, MIDDLE, NEAR, scene
from scipy.stats import chi2, t

from hyperspy_zlpml import data

pytestmark = pytest.mark.closure

WINDOWS = {"1.5-4": NEAR, "2-8": MIDDLE, "4-12": FAR}
ALARM = 1e-5
#: Largest error between 2 and 8 FWHM of the specimen, in standard deviations of a channel's noise.
LARGEST = {"no_vacuum": 3.0, "single_spectrum": 1.0}
USUAL = 0.5
#: Few spectra, little time: more images.
SHAPES = {"line_scan": (40,), "single_spectrum": ()}
IMAGES = {"line_scan": 24, "single_spectrum": 24}


def images(kind):
    """Closure scenes of one kind, one after the other."""
    for seed in range(500, 500 + IMAGES.get(kind, 6)):
        yield scene.__wrapped__(
            kind, seed, SHAPES.get(kind, (48, 48)), n_replicas=100, n_scored=200
        )


def figures(one):
    """All that is claimed of one image: by window and pixels, by name."""
    found = {}
    for pixels in ("vacuum", "specimen"):
        if not one.rows(pixels).any():
            continue
        for name, window in WINDOWS.items():
            pulls = one.integral_pulls(window, pixels)
            found[pixels, name] = {
                "error": one.rms(window, pixels),
                "claimed": one.width(window, pixels),
                "pull of an image": pulls.mean(),
                "squared pulls": np.mean(pulls**2),
                **{f"channels {c:.0%}": one.coverage(window, c, pixels) for c in (0.68, 0.95)},
                **{
                    f"integrals {c:.0%}": one.integral_coverage(window, c, pixels)
                    for c in (0.68, 0.95)
                },
            }
    return found


def violations(where, values, known_tail):
    """What of the claims the images contradict, as text."""
    n = len(values["error"])
    honest = chi2.isf(ALARM, n)
    # Where the tail is extrapolated its error comes from six blocks: squares of Student's t with
    # five degrees, of variance 5/3, and rarely large.
    if not known_tail:
        draws = np.random.default_rng(0).standard_t(5, (1_000_000, n))
        honest = np.quantile((draws**2).sum(-1), 1 - ALARM)
    for name in ("pull of an image", "squared pulls"):
        total = np.sum(np.square(values[name]) if name == "pull of an image" else values[name])
        if total > honest:
            yield f"{where}: {name}: sum {total:.1f} of {n} images, at most {honest:.1f}"
    for level in (0.68, 0.95):
        for what in ("channels", "integrals"):
            covered = values[f"{what} {level:.0%}"]
            allowed = t.isf(ALARM, n - 1) * np.std(covered, ddof=1) / np.sqrt(n)
            if np.mean(covered) + allowed + 0.02 < level:
                yield f"{where}: {what} {level:.0%}: {np.mean(covered):.2f} +- {allowed:.2f}"
    # Nor are errors claimed that are far larger than those made.
    if np.mean(values["claimed"]) > 5 * np.sqrt(np.mean(np.square(values["error"]))):
        yield f"{where}: claimed {values['claimed']}, made {values['error']}"


@pytest.mark.parametrize("kind", sorted(data.SAMPLE_KINDS))
def test_claims(kind):
    found, gaps = [], []
    for one in images(kind):
        found.append(figures(one))
        gaps.append(one.in_gap())
    wrong = []
    for where in found[0]:
        values = {name: [f[where][name] for f in found] for name in found[0][where]}
        wrong += violations(where, values, kind != "no_vacuum")
    errors = [f["specimen", "2-8"]["error"] for f in found]
    # The figures of an image scatter by a third at most: a mean of six by 14 %.
    if np.mean(errors) > LARGEST.get(kind, USUAL):
        wrong.append(f"error between 2 and 8 FWHM: {errors}")
    # Signal in the gap in its errors, which are common to an image: 1e-5 for the sum of squares.
    z = np.array([z for _, z in gaps])
    if (z**2).sum() > chi2.isf(ALARM, z.size):
        wrong.append(f"in the gap: {gaps}")
    assert not wrong, "\n".join(wrong)


def test_coverage_is_what_is_claimed_on_average():
    # 24 small images of each of four kinds, 40 replicas. Mean over windows and pixels: one trial
    # per image, spread measured. Bands may be too wide by what a hundredth of the counts of a ZLP
    # would not notice, never too narrow by more than 4 %.
    for kind in ("ws2_like", "low_dose", "strong_drift", "thick_small_gap"):
        covered = {
            (what, level): [] for what in ("channels", "integrals") for level in (0.68, 0.95)
        }
        for seed in range(700, 724):
            one = scene.__wrapped__(
                kind, seed, (16, 16), n_replicas=40, n_channels=1024, n_clusters=3
            )
            found = figures(one).values()
            for what, level in covered:
                covered[what, level].append(np.mean([f[f"{what} {level:.0%}"] for f in found]))
        for (what, level), values in covered.items():
            allowed = t.isf(ALARM, 23) * np.std(values, ddof=1) / np.sqrt(24)
            assert np.mean(values) > level - 0.04 - allowed, (kind, what, level, values)
            assert np.mean(values) < level + 0.5 * (1 - level) + allowed, (
                kind,
                what,
                level,
                values,
            )


def test_vacuum_subtracts_to_zero_everywhere():
    # Pulls of integrals with counting noise: 2304 spectra share the model's error, so the mean of
    # an image is one trial of a variance of at most one; their own scatter is known to 1.5 %.
    # Vacuum is matched everywhere: what is left is less than noise and model apart.
    n = 4
    means = []
    for seed in range(800, 800 + n):
        one = scene.__wrapped__("ws2_like", seed, (48, 48), n_replicas=100, vacuum_fraction=1.0)
        for window in WINDOWS.values():
            integral, std = (
                np.ravel(m.data) for m in one.result.integrate(*(0.45 * edge for edge in window))
            )
            pulls = integral / std
            means.append(pulls.mean())
            assert 0.3 < pulls.std() < 1.08
    means = np.reshape(means, (n, -1))
    assert ((means**2).sum(0) < chi2.isf(ALARM, n)).all()
    # The counting noise of 2304 spectra alone is 0.02: the model's own error must not hide behind
    # its claim altogether.
    assert np.abs(means).max() < 0.4


def test_twice_the_counts_do_not_widen_the_band():
    # The same states with twice the electrons: logarithm of the ratio of the relative errors.
    for window in (NEAR, MIDDLE):
        change = []
        for seed in range(900, 908):
            once, twice = (
                scene.__wrapped__(
                    "ws2_like", seed, (24, 24), n_replicas=100, n_channels=1024, peak_counts=counts
                )
                for counts in (3e6, 6e6)
            )
            change.append(np.log(twice.relative_width(window) / once.relative_width(window)))
        error = np.std(change, ddof=1) / np.sqrt(len(change))
        assert np.mean(change) - t.isf(ALARM, len(change) - 1) * error < 0
        assert np.mean(change) < np.log(1.1)


def test_gain_peaks_are_not_taken_for_zero_loss_peak():
    # Counts between 0.32 and 0.48 eV before the peak where the specimen is thick: the gain peak
    # is what is left, once the peak is matched only up to it.
    for seed in range(950, 953):
        one = scene.__wrapped__("energy_gain", seed, (32, 32), n_replicas=100)
        inside = one.within((-6.0, -4.0))
        left = one.counts - one.found
        thick = one.inelastic.sum(-1) > np.quantile(one.inelastic.sum(-1), 0.7)
        found = (left * inside)[thick].sum()
        true = (one.inelastic * inside)[thick].sum()
        model = (one.std * inside)[thick].sum()
        counting = np.sqrt((one.sigma**2 * inside)[thick].sum())
        # The model's error is common to the pixels; 4.4 of its standard deviations are 1e-5.
        assert abs(found - true) < 4.4 * np.hypot(model, counting), seed
        assert 0.8 < found / true < 1.2, seed
        assert (one.result.ensemble.seen.regions.gain_limit[1:] > -0.4).all(), seed
