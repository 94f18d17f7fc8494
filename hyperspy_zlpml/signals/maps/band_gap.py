# SPDX-License-Identifier: GPL-3.0-or-later
"""Method of the result of a removal, and what it returns."""


class BandGapMethods:
    """Methods of the result of a removal."""
