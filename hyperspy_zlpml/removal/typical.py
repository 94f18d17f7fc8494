# SPDX-License-Identifier: GPL-3.0-or-later
"""Zero-loss peaks of a whole image in a few numbers."""

from typing import NamedTuple

import numpy as np


class TypicalPeak(NamedTuple):
    """Zero-loss peaks of a whole image in a few numbers, eV.

    Energies at which all spectra are looked at follow from them, so that a part of an image gives
    the numbers that the whole gives there.

    Attributes
    ----------
    centre, fwhm : float
        Medians.
    first, last : float
        Lowest and highest centre.
    """

    centre: float
    fwhm: float
    first: float
    last: float

    @classmethod
    def of(cls, centre, fwhm):
        """Summarise the peaks of an image.

        Parameters
        ----------
        centre, fwhm : ndarray
            NaN where a spectrum has no usable peak.

        Returns
        -------
        TypicalPeak

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_zlpml.removal.typical import TypicalPeak
        >>> TypicalPeak.of(np.array([0.0, 0.1, np.nan, 0.4]), np.array([0.5, 0.5, np.nan, 0.6]))
        TypicalPeak(centre=0.1, fwhm=0.5, first=0.0, last=0.4)
        """
        known = np.ravel(centre)[np.isfinite(np.ravel(centre))]
        return cls(
            centre=float(np.median(known)),
            fwhm=float(np.nanmedian(fwhm)),
            first=float(known.min()),
            last=float(known.max()),
        )
