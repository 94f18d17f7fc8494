# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts that the widgets of all toolkits show."""

#: How the tool is used.
HELP = """
<p><b>Train and remove</b> trains an ensemble with the options above and removes the zero-loss peak;
the signal is not changed.</p>
<p><b>Limits.</b> Drag the lines in the figure, or type: the spectrum shows what its pixel would be.
<i>Match anew</i> applies them to all pixels with the ensemble that was trained. Limits hold for the
cluster of the pixel; empty boxes mean those found from the data. An E_I that is given binds every
pixel, those of vacuum too.</p>
<p><b>Vacuum.</b> With "mask", click on pixels of the map, or drag over many (with the right button
to take them away). Otherwise a click chooses the pixel that is shown.</p>
<p>The result is <code>tool.result</code>; the lines under <i>Code</i> give the same numbers.</p>
"""
#: Said where the figure is a dead picture.
NO_CANVAS = (
    "<i>Lines cannot be dragged in this figure: begin the notebook with "
    "<code>%matplotlib widget</code>. Limits can be typed all the same, and <code>tool.plot()</code> shows them.</i>"
)
