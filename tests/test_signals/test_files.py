# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page on files of vendors says of formats holds for those that HyperSpy writes itself."""

import hyperspy.api as hs
import numpy as np
import pytest

from hyperspy_zlpml.data import ws2_like

#: Channels of the image.
_CHANNELS = 512


@pytest.fixture(scope="module")
def image():
    return ws2_like((6, 4), n_channels=_CHANNELS, random_state=7001).signal


def is_same(loaded, image):
    axis, like = loaded.axes_manager.signal_axes[0], image.axes_manager.signal_axes[0]
    return (
        loaded.axes_manager.shape == image.axes_manager.shape
        and np.allclose(axis.axis, like.axis)
        and axis.units == "eV"
        and np.allclose(loaded.data, image.data, rtol=1e-5)
    )


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("extension", ["hspy", "zspy", "rpl"])
def test_one_line_is_enough(image, tmp_path, extension, lazy):
    file = tmp_path / f"image.{extension}"
    image.save(file)
    loaded = hs.load(file, signal_type="EELS_ZLPML", lazy=lazy)
    assert hasattr(loaded, "remove_zlp_ml")
    assert is_same(loaded, image)


@pytest.mark.parametrize("axis", [0, "Energy loss"])
def test_energy_is_put_last(image, tmp_path, axis):
    image.save(tmp_path / "image.emd")
    loaded = hs.load(tmp_path / "image.emd")
    assert loaded.axes_manager.navigation_dimension == 0
    loaded = loaded.as_signal1D(axis)
    loaded.set_signal_type("EELS_ZLPML")
    assert hasattr(loaded, "remove_zlp_ml")
    assert is_same(loaded, image)


def test_energy_is_put_last_in_tiff(image, tmp_path):
    pytest.importorskip("tifffile", reason="tifffile is not installed")
    image.as_signal2D((0, 1)).save(tmp_path / "stack.tif")
    loaded = hs.load(tmp_path / "stack.tif").as_signal1D(0)
    loaded.set_signal_type("EELS_ZLPML")
    assert is_same(loaded, image)


def test_single_spectra_of_msa(image, tmp_path):
    image.inav[3, 2].save(tmp_path / "one.msa")
    loaded = hs.load(tmp_path / "one.msa", signal_type="EELS_ZLPML")
    assert is_same(loaded, image.inav[3, 2])
    with pytest.raises(NotImplementedError, match="Lazy"):
        hs.load(tmp_path / "one.msa", signal_type="EELS_ZLPML", lazy=True)


def test_nexus_gives_a_list(image, tmp_path):
    image.save(tmp_path / "image.nxs")
    loaded = hs.load(tmp_path / "image.nxs", signal_type="EELS_ZLPML")
    assert is_same(next(one for one in loaded if hasattr(one, "remove_zlp_ml")), image)


def test_only_spectra_of_a_list_are_eels(image, tmp_path):
    """As a survey image beside a spectrum image."""
    image.save(tmp_path / "image.hspy")
    hs.signals.Signal2D(np.ones((5, 5))).save(tmp_path / "survey.hspy")
    files = [tmp_path / "survey.hspy", tmp_path / "image.hspy"]
    loaded = hs.load(files, signal_type="EELS_ZLPML")
    (found,) = (one for one in loaded if hasattr(one, "remove_zlp_ml"))
    assert is_same(found, image)


def test_a_file_is_eels_again_for_those_who_lack_the_package(image, tmp_path):
    """The type that is kept is a word; eXSpy's takes its place, and data and axes stay."""
    image.save(tmp_path / "image.hspy")
    loaded = hs.load(tmp_path / "image.hspy", signal_type="EELS")
    assert type(loaded).__name__ == "EELSSpectrum"
    assert hasattr(loaded, "estimate_thickness")
    assert is_same(loaded, image)
