# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of what is known of every spectrum: arrays with one value, or one row, for each."""

from dataclasses import fields, replace

import numpy as np


class PerSpectrum:
    """Base of frozen dataclasses whose every field has the spectra on its first axis.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import numpy as np
    >>> from hyperspy_zlpml.compute.records import PerSpectrum
    >>> @dataclass(frozen=True)
    ... class Peaks(PerSpectrum):
    ...     centre: np.ndarray
    ...     channel: np.ndarray
    >>> peaks = Peaks(np.array([0.1, 0.2]), np.array([7, 8]))
    >>> peaks.select([1])
    Peaks(centre=array([0.2]), channel=array([8]))
    >>> peaks.stack()
    array([[0.1, 7. ],
           [0.2, 8. ]])
    """

    def select(self, index):
        """Take some of the spectra.

        Parameters
        ----------
        index : any index of NumPy

        Returns
        -------
        the same record
        """
        return replace(
            self, **{field.name: getattr(self, field.name)[index] for field in fields(self)}
        )

    @classmethod
    def join(cls, records):
        """Join records of several sets of spectra.

        Parameters
        ----------
        records : sequence of records of this class

        Returns
        -------
        a record of this class
        """
        names = [field.name for field in fields(cls)]
        return cls(
            **{name: np.concatenate([getattr(one, name) for one in records]) for name in names}
        )

    def stack(self):
        """Write all fields, one number for each spectrum, into one array.

        Returns
        -------
        ndarray of float of shape (..., n_fields)
            Fields on the last axis, in their order.
        """
        return np.stack(
            [np.asarray(getattr(self, field.name), float) for field in fields(self)], -1
        )

    @classmethod
    def unstack(cls, stacked):
        """Read all fields from what :meth:`stack` wrote, as floating-point numbers.

        Parameters
        ----------
        stacked : ndarray of shape (..., n_fields)

        Returns
        -------
        a record of this class
        """
        return cls(*np.moveaxis(np.asarray(stacked), -1, 0))
