# SPDX-License-Identifier: GPL-3.0-or-later
"""Search for the settings of a training that suit an image, by evolution.

- ``space``: what is searched, as parameters of Optuna
- ``parts``: three sets of spectra, of which none has anything in common with another
- ``scores``: how well a trained ensemble predicts spectra that were held out
- ``evaluation``: one training and its score: a pure function, for threads and workers of dask
- ``parallel``: evaluations side by side, their results in order
- ``study``: generations of settings, kept in a file
- ``facts``: what a search depends on, for a file to be gone on with by the same alone
- ``comparison``: settings against the defaults, on spectra that the search has not seen
- ``result``, ``figure``: what is returned and drawn
- ``search``: the search itself, from top to bottom
"""
