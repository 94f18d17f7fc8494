# SPDX-License-Identifier: GPL-3.0-or-later
"""All files of a result change together, whatever interrupts the save."""

import os
import shutil

import hyperspy.api as hs
import numpy as np
import pytest
from conftest import REUSE
from killed_saves import contents, full, in_child, interrupt, kill, swap_of

from hyperspy_zlpml.signals import folders
from hyperspy_zlpml.signals.saving import save_together

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")


def signals_of(number):
    """Two signals, one of them lazy, that hold a number."""
    spectra = hs.signals.Signal1D(np.full((2, 3, 8), float(number))).as_lazy()
    return {"subtracted": spectra, "map": hs.signals.BaseSignal(np.full(4, float(number)))}


def save(folder, number, overwrite=True):
    save_together(
        signals_of(number), {"report.txt": f"number {number}".encode()}, folder, overwrite
    )


@pytest.fixture
def folder(tmp_path):
    """Folder of a small result with the number 1; nothing is beside it."""
    save(tmp_path / "place" / "result", 1)
    return tmp_path / "place" / "result"


def number_in(folder):
    """The number that all files of a result hold; an error if they do not agree."""
    found = [hs.load(folder / f"{name}.zspy").data for name in ("subtracted", "map")]
    text = (folder / "report.txt").read_text(encoding="utf-8")
    (number,) = {float(text.split()[1]), *np.concatenate([data.ravel() for data in found])}
    return number


def assert_alone(folder):
    assert os.listdir(folder.parent) == [folder.name]
    assert sorted(os.listdir(folder)) == ["map.zspy", "report.txt", "subtracted.zspy"]


# --- interrupted ---------------------------------------------------------------------------------


def instants_to_try(folder, exchange):
    """Instants on both sides of the change of places, and one before and after."""
    instants = in_child(lambda: save(folder, 1), exchange=exchange)
    swap = swap_of(instants)
    return [swap // 2, *range(swap, swap + 4), (swap + len(instants)) // 2]


@needs_fork
@pytest.mark.parametrize(
    "act, exchange", [(kill, True), (kill, False), (full, False), (interrupt, True)]
)
def test_a_save_that_ends_at_any_instant_leaves_all_old_files_or_all_new_ones(
    folder, exchange, act
):
    kept = folder.parent.parent / "kept"
    shutil.copytree(folder, kept)
    ended = set()
    for at in instants_to_try(folder, exchange):
        shutil.rmtree(folder.parent)
        shutil.copytree(kept, folder)
        ended.add(str(in_child(lambda: save(folder, 2), at=at, act=act, exchange=exchange))[:7])
        if not folder.exists():  # between two renames: the next save finds the old one
            assert not exchange
            save(folder, 3, overwrite=False)
            assert number_in(folder) == 1
        assert number_in(folder) in (1, 2)
        save(folder, 3)
        assert number_in(folder) == 3
        assert_alone(folder)
    assert {kill: "killed", full: "!OSErro", interrupt: "!Keyboa"}[act] in ended


@needs_fork
def test_a_file_that_cannot_grow_leaves_the_old_ones(folder):
    resource = pytest.importorskip("resource")
    before = contents(folder)
    ended = in_child(
        lambda: save(folder, 2), before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))
    )
    assert ended.startswith("!OSError")
    assert contents(folder) == before
    assert_alone(folder)


def test_folders_are_exchanged_in_one_step_or_not_at_all(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    for place in (one, other):
        place.mkdir()
        (place / "name").write_text(place.name)
    done = folders._exchanged(one, other)
    assert (one / "name").read_text() == ("other" if done else "one")
    assert not folders._exchanged(one, tmp_path / "missing")
    assert one.is_dir()


def test_folders_of_other_results_are_no_leftovers(folder):
    other = folder.parent / ".result2.unfinished-1"
    other.mkdir()
    (folder.parent / ".result.unfinished-link").symlink_to(other, target_is_directory=True)
    save(folder, 2)
    assert other.is_dir()


# --- where it may be saved -----------------------------------------------------------------------


@needs_fork
@pytest.mark.parametrize("place", ["folder", "parent"])
def test_a_read_only_folder_is_refused_by_name(folder, place, monkeypatch):
    locked = folder if place == "folder" else folder.parent
    monkeypatch.setattr(os, "access", lambda path, mode: path != locked)
    with pytest.raises(PermissionError, match=f"directory: .*{locked} is read-only. Choose"):
        save(folder, 2)
    assert number_in(folder) == 1


@pytest.mark.parametrize("name", ["notes.txt", "image.zspy"])
def test_a_folder_with_anything_else_is_refused(folder, name):
    (folder / name).write_text("mine")
    with pytest.raises(FileExistsError, match=rf"with {name}. Give one of its own: '.*removal'"):
        save(folder, 2)
    assert (folder / name).read_text() == "mine"


def test_a_folder_with_a_report_of_something_else_is_refused(tmp_path):
    (tmp_path / "report.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="with report.txt. Give one of its own"):
        save(tmp_path, 2)
    assert (tmp_path / "report.txt").read_text() == "mine"


def test_what_systems_and_earlier_versions_leave_does_not_matter(folder):
    (folder / ".DS_Store").touch()
    (folder / ".unfinished-abc").mkdir()
    save(folder, 2)
    assert number_in(folder) == 2
    assert_alone(folder)


def test_a_file_of_the_name_is_refused(tmp_path):
    (tmp_path / "result").touch()
    with pytest.raises(FileExistsError, match="directory: expected a folder, got a file"):
        save(tmp_path / "result", 2)


def test_the_working_directory_is_refused(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(
        ValueError, match="another folder than the working .* example 'zlp_removal'"
    ):
        save(".", 2)


def test_a_link_keeps_pointing_to_the_result(folder):
    link = folder.parent.parent / "link"
    link.symlink_to(folder, target_is_directory=True)
    save(link, 2)
    assert link.is_symlink()
    assert number_in(folder) == 2
    assert_alone(folder)


def test_the_report_is_not_written_through_a_link(folder):
    mine = folder.parent.parent / "mine.txt"
    mine.write_text("mine")
    (folder / "report.txt").unlink()
    (folder / "report.txt").symlink_to(mine)
    save(folder, 2)
    assert mine.read_text() == "mine"
    assert number_in(folder) == 2


def test_permissions_of_the_folder_stay(folder):
    folder.chmod(0o750)
    save(folder, 2)
    assert folder.stat().st_mode & 0o777 == 0o750


def test_lazy_results_are_not_saved_over_what_they_are_read_from(small, small_removal, tmp_path):
    small.save(tmp_path / "in" / "subtracted.zspy", chunks=(2, 2, 512))
    before = contents(tmp_path / "in")
    lazy = hs.load(tmp_path / "in" / "subtracted.zspy", lazy=True)
    result = lazy.remove_zlp_ml(ensemble=small_removal.ensemble, **REUSE)
    with pytest.raises(ValueError, match="directory: .* from which these lazy results are read"):
        result.save(tmp_path / "in", overwrite=True)
    assert contents(tmp_path / "in") == before
    result.save(tmp_path / "out")
    result.compute()
    with pytest.raises(ValueError, match="Give another folder"):
        result.save(tmp_path / "in", overwrite=True)
    assert contents(tmp_path / "in") == before


def test_data_of_the_name_of_a_result_are_no_result(small, small_removal, tmp_path):
    small.save(tmp_path / "in" / "subtracted.zspy")
    with pytest.raises(FileExistsError, match="with subtracted.zspy"):
        small_removal.save(tmp_path / "in", overwrite=True)


def test_names_of_files_are_refused_with_the_way_out(tmp_path):
    for name in ("r.hspy", "r.H5", "r.zspy"):
        said = f"directory: expected the name of a folder.*'{name}'.* give 'r'.*save"
        with pytest.raises(ValueError, match=said):
            save_together({}, {}, tmp_path / name)
    assert not list(tmp_path.iterdir())
