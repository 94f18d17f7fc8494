# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the gaps of an image and of its clusters are direct or indirect, by some of their spectra."""

from dataclasses import dataclass, replace

import numpy as np

from hyperspy_zlpml.physics.band_gap import Gap
from hyperspy_zlpml.physics.gap_kind import Kind, kind_of, log_evidence
from hyperspy_zlpml.physics.onset_products import Places, onset_products
from hyperspy_zlpml.physics.onset_search import shortest_window
from hyperspy_zlpml.physics.reasons import Reason
from hyperspy_zlpml.removal.pooling import kinds_of

#: Spectra that are asked at most: more know no more of what is wrong in all of them alike.
_MOST_SPECTRA = 96
#: Part of the spectra of the specimen whose gaps must hold where the kind of all of them is told.
_FAIR_PART = 1 / 3


@dataclass(frozen=True)
class GapKinds:
    """Kinds of the gaps of an image, see :class:`.Kind`.

    Attributes
    ----------
    image : Kind
        Of all clusters of the specimen together.
    clusters : list of Kind
    labels : ndarray of int of the navigation shape
        Cluster of each spectrum, -1 where it belongs to none.
    """

    image: Kind
    clusters: list
    labels: np.ndarray

    def map_of(self, name):
        """Give every spectrum a number of its cluster.

        Parameters
        ----------
        name : str
            Field of :class:`.Kind`.

        Returns
        -------
        ndarray of the navigation shape
        """
        known = np.array([getattr(one, name) for one in self.clusters] + [np.nan])
        return known[self.labels]


def kinds_of_gaps(removed, numbers, settings):
    """Tell the kinds of gaps by up to 96 spectra whose gap holds, evenly from all clusters.

    Spectra are taken as they are where gaps are of pooled ones, too: what neighbours share is told from
    the spectra themselves, and a mean over gaps that differ has the exponent of none. Where a pooled gap holds,
    and its windows, choose spectra and windows.

    Parameters
    ----------
    removed : RemovedZLP
    numbers : ndarray of shape (..., N_NUMBERS)
        Of :func:`.band_gaps`.
    settings : GapSettings

    Returns
    -------
    GapKinds
        NaN where less than a third of the spectra of the specimen have a gap that holds.
    """
    labels, gaps = kinds_of(removed), Gap(*np.moveaxis(numbers, -1, 0))
    specimen = (labels >= 0) & ~removed.vacuum
    # Where a number is to be read with care, so is its kind.
    holds = specimen & (gaps.reason == Reason.NONE)
    groups = range(labels.max() + 1)
    fair = [_is_fair(holds, specimen & (labels == group)) for group in groups]
    index = _chosen(holds, np.where(np.isin(labels, np.flatnonzero(fair)), labels, -1))
    if not index.size:
        return GapKinds(Kind(), [Kind()] * len(fair), labels)
    products, label = _products(removed, gaps, index, settings), labels.ravel()[index]
    evidence, near = log_evidence(products)
    clusters = [
        kind_of(log_evidence(products.select(label == group), near)[0]) if fair[group] else Kind()
        for group in groups
    ]
    image = kind_of(evidence) if _is_fair(holds, specimen) else Kind()
    return GapKinds(image, clusters, labels)


def _is_fair(holds, specimen):
    """Tell whether enough spectra of some have a gap that holds."""
    return specimen.any() and (holds & specimen).sum() >= _FAIR_PART * specimen.sum()


def _chosen(holds, labels):
    """Choose spectra, as many from every cluster as it has or as others leave room for, (n_chosen,)."""
    groups = [np.flatnonzero(holds & (labels == group)) for group in np.unique(labels[labels >= 0])]
    room, found = _MOST_SPECTRA, [np.zeros(0, int)]
    for left, members in enumerate(sorted(groups, key=len), start=-len(groups)):
        places = np.linspace(0, members.size - 1, min(members.size, room // -left)).astype(int)
        found.append(members[places])
        room -= places.size
    return np.sort(np.concatenate(found))


def _products(removed, gaps, index, settings):
    """Collect what some spectra say of the shapes of their onsets."""
    losses, common = removed.losses_of(index), removed.common_directions_of(index)
    if not settings.own_response:
        losses = replace(losses, response=np.ones((index.size, 1)))
    names = ("first", "end", "lowest", "highest")
    places = Places(*(np.ravel(getattr(gaps, name))[index] for name in names))
    return onset_products(losses, common, places, shortest_window(np.median(losses.fwhm)))
