# SPDX-License-Identifier: GPL-3.0-or-later
"""Error of the pedestal in what is subtracted: one number, the same in all channels of all spectra.

Too much that is taken off everywhere is missing from the tail that is learnt from spectra of the full beam: of such spectra
pedestal and ZLP together stay right. A specimen weakens the peak with its tail, and not the pedestal: of half of the beam
half of the error is left. No match tells it: losses that are spilled to the gain side are fitted with it taken for right.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PedestalError:
    """Standard error of the pedestal, and the beam that the tail was learnt of, which hides a part of it.

    Attributes
    ----------
    counts : float
        Standard error of the pedestal, counts per channel; 0 where it is certain.
    log_beam : float
        ln N0 of the beam in whose spectra the tail was seen, as tables of shapes count it; infinite where the tail was
        learnt apart from this pedestal, so that nothing is hidden.

    Examples
    --------
    An error of 10 counts leaves 5 of them under a peak of half of the beam, and all of them where the beam does not arrive:

    >>> import numpy as np
    >>> from hyperspy_zlpml.removal.pedestal_error import PedestalError
    >>> error = PedestalError(10.0, log_beam=12.0)
    >>> error.left_under(12.0 + np.log([1.0, 0.5, 1e-6])).round(2) + 0.0
    array([ 0.,  5., 10.])
    """

    counts: float = 0.0
    log_beam: float = np.inf

    def __bool__(self):
        """Tell whether there is any."""
        return self.counts > 0

    def left_under(self, log_intensity):
        """Compute what one standard error leaves in every channel of spectra.

        Parameters
        ----------
        log_intensity : ndarray of shape (n_spectra,)
            ln N0 of the spectra, as tables of shapes count it.

        Returns
        -------
        ndarray of shape (n_spectra,)
            Counts per channel; of the other sign in spectra of more than the beam.
        """
        return self.counts * -np.expm1(log_intensity - self.log_beam)
