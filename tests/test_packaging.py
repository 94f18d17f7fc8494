# SPDX-License-Identifier: GPL-3.0-or-later
"""The wheel built from the source distribution installs, holds its data files and registers."""

import importlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

import hyperspy_zlpml

pytest.importorskip("build", reason="python -m build is not installed")

#: Nothing of a developer's tree that is no part of the project.
LEFT_BEHIND = shutil.ignore_patterns(
    ".git",
    ".venv",
    "build",
    "dist",
    "*.egg-info",
    "__pycache__",
    ".*_cache",
    "demo_output",
    "output",
)


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def distributions(root, tmp_path_factory):
    """Source distribution, and wheel made from it."""
    folder = tmp_path_factory.mktemp("packaging")
    source = folder / "source"
    shutil.copytree(root, source, symlinks=True, ignore=LEFT_BEHIND)
    output = folder / "dist"
    # Without --sdist or --wheel the wheel is built from the source distribution.
    command = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
        str(output),
        str(source),
    ]
    run(command, cwd=folder)
    (sdist,), (wheel,) = output.glob("*.tar.gz"), output.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def installed(distributions, tmp_path_factory):
    """A folder that holds the installed wheel and nothing else."""
    target = tmp_path_factory.mktemp("installed")
    run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
            "--disable-pip-version-check", "--target", str(target), str(distributions[1]),
        ]
    )  # fmt: skip
    return target


#: Asks a fresh interpreter, which finds the installed package before any other; answers are lines.
ASKED = """
import sys
import numpy as np
from hyperspy.extensions import ALL_EXTENSIONS
print(ALL_EXTENSIONS["signals"]["EELSZLPSpectrum"]["module"])
print("LazyEELSZLPSpectrum" in ALL_EXTENSIONS["signals"])
import hyperspy.api as hs
s = hs.signals.Signal1D(np.ones((2, 100)))
s.set_signal_type("EELS_ZLPML")
print(type(s).__name__)
print(sys.modules[type(s).__module__].__file__)
import hyperspy_zlpml
print(hyperspy_zlpml.__file__)
print(*(getattr(hyperspy_zlpml, name) is None for name in hyperspy_zlpml.__all__))
"""


@pytest.fixture(scope="module")
def answers(installed, tmp_path_factory):
    """What is printed by an interpreter with the installed package."""
    folder = tmp_path_factory.mktemp("elsewhere")
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    out = run([sys.executable, "-W", "ignore", "-c", ASKED], cwd=folder, env=environment)
    return out.splitlines()[-6:]


def modules(root):
    return {path.relative_to(root).as_posix() for path in (root / "hyperspy_zlpml").rglob("*.py")}


def test_wheel_is_complete(distributions, root):
    with zipfile.ZipFile(distributions[1]) as wheel:
        names = set(wheel.namelist())
    assert modules(root) <= names
    assert "hyperspy_zlpml/hyperspy_extension.yaml" in names
    assert "hyperspy_zlpml/__init__.pyi" in names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"hyperspy_zlpml"}


def test_wheel_holds_its_licence_and_entry_point(distributions):
    with zipfile.ZipFile(distributions[1]) as wheel:
        names = wheel.namelist()
        (entry_points,) = (n for n in names if n.endswith("entry_points.txt"))
        text = wheel.read(entry_points).decode()
        (metadata,) = (n for n in names if n.endswith(".dist-info/METADATA"))
        described = wheel.read(metadata).decode()
    assert any(name.endswith("LICENSE") for name in names)
    assert "[hyperspy.extensions]" in text
    assert "hyperspy_zlpml = hyperspy_zlpml" in text
    assert "License-Expression: GPL-3.0-or-later" in described
    for name in (
        "hyperspy",
        "exspy",
        "rosettasciio",
        "numpy",
        "scipy",
        "torch",
        "scikit-learn",
        "dask",
    ):
        lines = [
            line for line in described.splitlines()
            if line.startswith(f"Requires-Dist: {name}") and "extra ==" not in line
        ]  # fmt: skip
        assert lines, f"{name} is not required"
        assert all(">=" in line for line in lines), f"{name} has no lower bound"
    for extra in (
        "gui-jupyter",
        "gui-traitsui",
        "distributed",
        "search",
        "all",
        "tests",
        "docs",
        "dev",
    ):
        assert f"Provides-Extra: {extra}" in described
    assert "Requires-Python: >=3.10" in described


#: Names on conda-forge that are others than on PyPI; extras are packages of their own there.
CONDA_NAMES = {
    "hyperspy": "hyperspy-base",
    "rosettasciio": "rosettasciio-base",
    "torch": "pytorch",
    "dask": "dask-core",
    "matplotlib": "matplotlib-base",
}


def recipe_of(root):
    """Recipe as a dict."""
    yaml = pytest.importorskip("yaml")  # comes with HyperSpy
    return yaml.safe_load((root / "conda.recipe" / "recipe.yaml").read_text(encoding="utf-8"))


def test_conda_recipe_asks_for_the_same_versions(root):
    """All that the wheel requires, with its bounds; beside these only Python and what an extra brings."""
    found = dict(f"{one} ".split(" ", 1) for one in recipe_of(root)["requirements"]["run"])
    found = {name: bounds.strip() for name, bounds in found.items()}
    project = (root / "pyproject.toml").read_text(encoding="utf-8")
    required = project.split("\ndependencies = [")[1].split("\n]")[0]
    for name, bounds in re.findall(r'"([\w-]+)(?:\[.*?\])?([^"\]]*)"', required):
        assert found.pop(CONDA_NAMES.get(name, name)) == bounds
    (python,) = re.findall(r'requires-python = "(.*)"', project)
    assert found == {"python": python, "h5py": ""}


#: What a recipe may hold, and what each part of this one must.
RECIPE = {
    "context": {"version"},
    "package": {"name", "version"},
    "source": {"path"},
    "build": {"number", "noarch", "script"},
    "requirements": {"host", "run"},
    "about": {"summary", "license", "license_file"},
}


def test_conda_recipe_is_one(root):
    recipe = recipe_of(root)
    assert (recipe.pop("schema_version"), recipe["package"]["version"]) == (1, "${{ version }}")
    (of_python, of_commands) = (next(iter(one.values())) for one in recipe.pop("tests"))
    assert {name: set(part) for name, part in recipe.items()} == RECIPE
    assert recipe["context"]["version"] == hyperspy_zlpml.__version__
    assert recipe["build"]["noarch"] == "python"
    assert (root / "conda.recipe" / recipe["source"]["path"]).resolve() == root.resolve()
    assert (root / recipe["about"]["license_file"]).is_file()
    for name in of_python["imports"]:
        importlib.import_module(name)
    assert of_commands == ["python -m hyperspy_zlpml --help"]
    project = (root / "pyproject.toml").read_text(encoding="utf-8")
    assert f'description = "{recipe["about"]["summary"]}"' in project
    assert f'license = "{recipe["about"]["license"]}"' in project
    (backend,) = re.findall(r'requires = \["setuptools(.*)"\]', project)
    assert f"setuptools {backend}" in recipe["requirements"]["host"]


def test_workflows_call_targets_that_there_are(root):
    targets = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.MULTILINE))
    called = {
        target
        for file in (*(root / ".github" / "workflows").glob("*.yml"), root / "CONTRIBUTING.rst")
        for target in re.findall(
            r"(?:- run:|^ {4}) ?make ([a-z-]+)", file.read_text(), re.MULTILINE
        )
    }
    assert called >= {"floors", "test-browser", "test", "docs", "lint"}
    assert called <= targets


def test_source_distribution_is_complete(distributions, root):
    with tarfile.open(distributions[0]) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert modules(root) <= names
    assert {"pyproject.toml", "LICENSE", "README.md"} <= names
    assert "hyperspy_zlpml/hyperspy_extension.yaml" in names
    assert not any(name.startswith((".venv", ".git/")) for name in names)


def test_installed_package_is_the_one_imported(answers, installed):
    assert answers[4].startswith(str(installed))


def test_installed_package_registers(answers):
    assert answers[:2] == ["hyperspy_zlpml.signals", "True"]


def test_installed_package_casts(answers, installed):
    assert answers[2] == "EELSZLPSpectrum"
    assert answers[3].startswith(str(installed))


def test_installed_public_interface(answers):
    """The lazy imports need the .pyi file at run time."""
    assert set(answers[5].split()) == {"False"}
