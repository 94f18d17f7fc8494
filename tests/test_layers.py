# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of the packages, from the table of ``docs/structure.csv``: imports only go down."""

import ast
import csv
import subprocess
import sys

import pytest
from conftest import ROOT

PACKAGE = ROOT / "hyperspy_zlpml"

#: The table that the documentation shows too: floor, package, what it holds, what it may import.
with (ROOT / "docs" / "structure.csv").open(encoding="utf-8", newline="") as file:
    TABLE = {row["Package"]: row for row in csv.DictReader(file)}
FLOORS = {name: int(row["Floor"]) for name, row in TABLE.items()}
#: Every package may import these.
EVERYWHERE = {"numpy", "scipy", "lazy_loader"}
#: Files in the longest chain of imports.
LONGEST_CHAIN = 12
MODULES = sorted(PACKAGE.rglob("*.py"))
#: The package's own __init__ imports lazily, and the version is a number.
EXEMPT = {"__init__", "_version"}


def member_of(path):
    """First part of a module's name below the package."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def third_party(path):
    """Packages of others that the table allows the package of a file."""
    return set(TABLE[member_of(path)]["Third-party packages"].split())


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def submodule(module, name):
    """Name of a module that is imported from another; that of the other for anything else."""
    inner = ROOT.joinpath(*module.split("."), name)
    is_module = inner.with_suffix(".py").exists() or (inner / "__init__.py").exists()
    return f"{module}.{name}" if is_module else module


def imports(path):
    """Absolute names of all modules that a file imports, inside functions too."""
    own = list(path.relative_to(ROOT).with_suffix("").parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = own[: len(own) - node.level] if node.level else []
            module = ".".join(base + ([node.module] if node.module else []))
            found |= {submodule(module, alias.name) for alias in node.names}
    return found


def packages_of(path):
    """Packages of ours that a file imports, but its own."""
    found = {
        module.split(".")[1] for module in imports(path) if module.startswith("hyperspy_zlpml.")
    }
    return {name for name in found if name in TABLE} - {member_of(path)}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_is_in_the_table(path):
    assert member_of(path) in TABLE or member_of(path) in EXEMPT


def test_every_row_of_the_table_is_a_package():
    assert set(TABLE) == {member_of(path) for path in MODULES} - EXEMPT


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down(path):
    if member_of(path) in EXEMPT:
        return
    floor = FLOORS[member_of(path)]
    above = {name for name in packages_of(path) if FLOORS[name] >= floor}
    assert not above, f"{name_of(path)} on floor {floor} imports {sorted(above)}"


def file_imports():
    """For every file of the package, those that it imports anywhere."""
    known = {name_of(path).removesuffix(".__init__"): path for path in MODULES}
    return {
        name: {module for module in imports(path) if module in known} - {name}
        for name, path in known.items()
    }


def chain_of(name, imported, seen=()):
    """Longest chain of imports that starts at a file; AssertionError for a circle."""
    assert name not in seen, f"circle of imports: {' -> '.join((*seen, name))}"
    chains = [chain_of(one, imported, (*seen, name)) for one in imported[name]]
    return [name, *max(chains, key=len, default=[])]


def test_files_import_each_other_in_no_circle():
    imported = file_imports()
    chains = [chain_of(name, imported) for name in imported]
    longest = max(chains, key=len)
    assert len(longest) <= LONGEST_CHAIN, " -> ".join(longest)


def test_nothing_new_in_the_flat_root():
    flat = {path.stem for path in MODULES if path.parent == PACKAGE}
    assert flat == {"__init__", "__main__", "_version", "statistics", "workflow"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_third_party_packages_of_the_table(path):
    if member_of(path) in EXEMPT:
        return
    allowed = EVERYWHERE | third_party(path)
    others = {module.split(".")[0] for module in imports(path)} - {"hyperspy_zlpml"}
    others -= sys.stdlib_module_names
    assert others <= allowed, f"{name_of(path)} imports {sorted(others - allowed)}"


def test_no_signal_in_the_science():
    """Not even by the back door: no attribute of HyperSpy's objects where it may not be imported."""
    words = ("axes_manager", "metadata", "BaseSignal", "original_metadata")
    for path in MODULES:
        if member_of(path) in EXEMPT or "hyperspy" in third_party(path):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not used & set(words), name_of(path)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_header(path):
    assert path.read_text(encoding="utf-8").startswith(
        "# SPDX-License-Identifier: GPL-3.0-or-later"
    )


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_habits(path):
    """No print but in the command, no bare except, no global seed."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"bare except at line {node.lineno}"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called != "print" or path.stem == "__main__", f"print at line {node.lineno}"
            assert called not in ("np.random.seed", "torch.manual_seed"), f"line {node.lineno}"


def loaded_by(*statements):
    """Top-level packages that a fresh interpreter has loaded after each of some statements."""
    told = "import sys; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    code = "\n".join(f"{statement}\n{told}" for statement in statements)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return [set(line.split()) for line in done.stdout.splitlines()[-len(statements) :]]


#: What a process that holds no HyperSpy imports, one after the other, and what each may not load.
ALONE = {
    "import hyperspy_zlpml; hyperspy_zlpml.__version__; dir(hyperspy_zlpml)": {
        "torch", "hyperspy", "exspy", "sklearn", "dask", "matplotlib",
    },
    **{
        f"import hyperspy_zlpml.{module}": {"torch", "hyperspy", "exspy"}
        for module in ("ensemble", "removal.subtract", "removal.report", "statistics",
                       "image.describe", "compute")
    },
    "import hyperspy_zlpml.workflow, hyperspy_zlpml.network": {"hyperspy", "exspy"},
}  # fmt: skip
#: The same with HyperSpy: a file is opened without waiting for torch; training may.
WITH_HYPERSPY = {
    "import hyperspy.api as hs; hs.signals.Signal1D": {"hyperspy_zlpml", "torch"},
    "import hyperspy_zlpml.components": {"torch", "sklearn"},
    "import hyperspy_zlpml.signals, hyperspy_zlpml.data, hyperspy_zlpml.signals.figures": {
        "torch", "optuna",
    },
    "hyperspy_zlpml.EELSZLPSpectrum": {"torch", "optuna"},
}  # fmt: skip


@pytest.mark.parametrize("allowed", [ALONE, WITH_HYPERSPY], ids=["alone", "with HyperSpy"])
def test_imports_are_light(allowed):
    for (statement, refused), loaded in zip(allowed.items(), loaded_by(*allowed), strict=True):
        assert not loaded & refused, statement
    assert "hyperspy_zlpml" in loaded


def test_public_names_exist():
    import hyperspy_zlpml

    for name in hyperspy_zlpml.__all__:
        assert getattr(hyperspy_zlpml, name) is not None, name


def test_public_modules_say_what_they_export():
    import importlib

    for name in ("hyperspy_zlpml.signals", "hyperspy_zlpml.data"):
        module = importlib.import_module(name)
        for exported in module.__all__:
            assert hasattr(module, exported), f"{name}.{exported}"
