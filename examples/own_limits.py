# SPDX-License-Identifier: GPL-3.0-or-later
"""
Does the result depend on your choice?
======================================

The end of the pure zero-loss peak, ``E_I``, is the one choice that a referee will ask about.
"""

import hyperspy.api as hs

import hyperspy_zlpml.data

hs.preferences.General.show_progressbar = False
s = hyperspy_zlpml.data.ws2_like((24, 24), random_state=0).signal
r = s.remove_zlp_ml(n_replicas=50, random_state=0)

# %%
# The signal above ``E_I`` against the limit below which spectra are matched. Where the curve is level the
# choice does not matter; where it falls, losses were taken for zero-loss peak.
r.plot_regions()

# %%
# The errors that pure spectra show, over those that are claimed: vacuum that was kept from training, and
# the specimen where its spectra are pure peak.
r.plot_checks()

# %%
# A limit of your own, in the units of the axis from the peak of each pixel; the ensemble is not trained again.
other = s.remove_zlp_ml(regions={"E_I": 1.2}, ensemble=r.ensemble, random_state=0)
for name, one in (("found", r), ("1.2 eV", other)):
    integral, error = one.integrate(1.8, 3.0)
    print(f"{name}: {integral.data[12, 14]:.0f} +- {error.data[12, 14]:.0f} counts")
