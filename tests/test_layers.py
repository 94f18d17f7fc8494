# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers: science below, then training, workflow, HyperSpy, widgets; imports only go down."""

import ast
import subprocess
import sys

import pytest
from conftest import ROOT

PACKAGE = ROOT / "hyperspy_zlpml"

#: Rank and third-party packages of each layer, from the bottom. What a layer may import is what
#: the layers below may, and its own.
LAYERS = (
    ("science", {"numpy", "scipy", "sklearn", "safetensors"}),
    ("training", {"torch"}),
    ("workflow", {"dask", "distributed", "tqdm", "threadpoolctl"}),
    ("hyperspy", {"hyperspy", "exspy", "rsciio", "matplotlib", "pint", "zarr"}),
    ("widgets", {"traits", "traitsui", "ipywidgets", "hyperspy_gui_ipywidgets", "link_traits"}),
)
NAMES = [name for name, _ in LAYERS]
#: Layer of each module or folder of the package.
MEMBERS = {
    "_version": "science", "zlp": "science", "physics": "science", "statistics": "science",
    "ensemble": "science", "removal": "science", "report": "science",
    "checks": "science", "departure": "science", "ensemble_file": "science",
    "ensemble_parts": "science",
    "conditions": "science", "plot_ensemble": "science",
    "network": "training",
    "image": "workflow", "workflow": "workflow", "training_data": "workflow",
    "adaptation": "workflow", "lazy": "workflow",
    "eager": "workflow", "threads": "workflow", "cluster": "workflow",
    "signals": "hyperspy", "components": "hyperspy", "data": "hyperspy", "plotting": "hyperspy",
    "__main__": "hyperspy", "gui": "widgets", "gui_ipywidgets": "widgets", "gui_traitsui": "widgets",
}  # fmt: skip
#: May draw, though below: a method of a class of its layer asks for it, when it is called.
DRAWS = {"plot_ensemble"}
MODULES = sorted(PACKAGE.rglob("*.py"))
#: Only for a start: the package's own __init__ imports lazily.
EXEMPT = {"__init__"}


def member_of(path):
    """First part of a module's name below the package."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


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
            found.add(module)
            if module == "hyperspy_zlpml":
                found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def top_level_imports(path):
    """The same for statements at the top level of a file only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_has_a_layer(path):
    assert member_of(path) in MEMBERS or member_of(path) in EXEMPT


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down(path):
    if member_of(path) in EXEMPT:
        return
    rank = NAMES.index(MEMBERS[member_of(path)])
    for module in imports(path):
        parts = module.split(".")
        if parts[0] != "hyperspy_zlpml" or len(parts) < 2:
            continue
        target = MEMBERS.get(parts[1])
        if target is not None:  # a name of the public interface otherwise
            assert NAMES.index(target) <= rank, f"{name_of(path)} imports {module}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_third_party_packages_of_the_layer(path):
    if member_of(path) in EXEMPT:
        return
    rank = NAMES.index(MEMBERS[member_of(path)])
    allowed = set().union(*(packages for _, packages in LAYERS[: rank + 1]))
    if member_of(path) in DRAWS:
        allowed |= {"matplotlib"}
    others = {module.split(".")[0] for module in imports(path)} - {"hyperspy_zlpml"}
    others -= sys.stdlib_module_names
    assert others <= allowed, f"{name_of(path)} imports {sorted(others - allowed)}"


@pytest.mark.parametrize(
    ("package", "places"),
    [
        ("torch", {"network"}),
        ("sklearn", {"zlp.clustering"}),
        ("hyperspy", {"signals", "components", "data", "plotting", "gui", "__main__"}),
        ("exspy", {"signals", "components", "data", "gui"}),
        ("dask", {"lazy", "threads", "cluster", "signals"}),
    ],
)
def test_only_these_import(package, places):
    for path in MODULES:
        if not any(module.split(".")[0] == package for module in imports(path)):
            continue
        name = name_of(path).removeprefix("hyperspy_zlpml.")
        assert any(name == place or name.startswith(place + ".") for place in places), name


def test_no_signal_in_the_science(root):
    """Not even by the back door: no private attribute of HyperSpy's objects below `signals`."""
    words = ("axes_manager", "metadata", "BaseSignal", "original_metadata")
    for path in MODULES:
        if MEMBERS.get(member_of(path)) not in ("science", "training", "workflow"):
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


def loaded_by(statement):
    """Top-level packages that a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.splitlines()[-1].split())


def test_import_is_light():
    loaded = loaded_by("import hyperspy_zlpml; hyperspy_zlpml.__version__; dir(hyperspy_zlpml)")
    assert "hyperspy_zlpml" in loaded
    assert not loaded & {"torch", "hyperspy", "exspy", "sklearn", "dask", "matplotlib"}


def test_hyperspy_does_not_load_the_extension():
    """The yaml is all that HyperSpy reads until the type is asked for."""
    assert not loaded_by("import hyperspy.api as hs") & {"hyperspy_zlpml", "torch"}


def test_signal_type_does_not_load_torch():
    """Opening a file must not wait for torch; training may."""
    loaded = loaded_by(
        "import hyperspy_zlpml.signals, hyperspy_zlpml.data, hyperspy_zlpml.plotting"
    )
    assert "torch" not in loaded


@pytest.mark.parametrize("module", ["ensemble", "removal", "report", "statistics", "image", "lazy"])
def test_workers_need_neither_hyperspy_nor_torch(module):
    assert not loaded_by(f"import hyperspy_zlpml.{module}") & {"torch", "hyperspy", "exspy"}


def test_training_needs_no_hyperspy():
    assert not loaded_by("import hyperspy_zlpml.workflow, hyperspy_zlpml.network") & {
        "hyperspy",
        "exspy",
    }


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
