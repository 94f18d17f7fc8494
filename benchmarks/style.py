# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of how the code is laid out and written; ``make style``.

Counts what no linter counts: circles and chains of imports between files, modules that lie flat in the
root, calls with many positional arguments, docstrings whose first sentence does not stand alone, examples,
lengths of functions. With ``--places`` it also says where.
"""

import argparse
import ast
import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: First words of docstrings that lean on a sentence before them.
LEANING = re.compile(r"(The|Of|What|As|Those|That|Whose|How|Which)\b")
#: Positional arguments of a call that are hard to tell apart.
MANY_ARGUMENTS = 5
#: Modules that belong into the root of the package.
ROOT_MODULES = {"__init__", "__main__", "_version", "workflow", "statistics"}
PLACES_SHOWN = 12


@dataclass
class Figures:
    """Counts, with the places where they were found."""

    files: int = 0
    lines: int = 0
    doctests: int = 0
    lengths: list[int] = field(default_factory=list)
    documented: int = 0
    public: int = 0
    with_example: int = 0
    places: dict[str, list[str]] = field(
        default_factory=lambda: {
            "fmt: skip": [],
            "annotations that say object": [],
            f"calls with {MANY_ARGUMENTS} or more positional arguments": [],
            "docstrings whose first sentence leans on another": [],
            "public functions without a docstring": [],
        }
    )


def main():
    """Print the figures of a package."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", nargs="?", default="hyperspy_zlpml")
    parser.add_argument("--places", action="store_true", help="say where, too")
    options = parser.parse_args()
    folder = ROOT / options.package
    report(count_package(folder), modules_of(folder), folder, options.places)


def modules_of(folder):
    """Files of a package by the names of their modules."""
    paths = {
        ".".join(path.relative_to(folder.parent).with_suffix("").parts): path
        for path in sorted(folder.rglob("*.py"))
    }
    return {name.removesuffix(".__init__"): path for name, path in paths.items()}


def count_package(folder):
    """Figures of all files of a package."""
    figures = Figures()
    for path in modules_of(folder).values():
        text = path.read_text(encoding="utf-8")
        figures.files += 1
        figures.lines += text.count("\n")
        count(ast.parse(text), text, path.relative_to(ROOT), figures)
    return figures


def count(tree, text, path, figures):
    """Add what one file holds."""
    found = figures.places
    skipped, objects, calls, leaning, bare = found.values()
    skipped += [f"{path}:{n}" for n, line in enumerate(text.splitlines(), 1) if "fmt: skip" in line]
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "object":
            objects.append(f"{path}:{node.lineno}")
        elif isinstance(node, ast.Call):
            if sum(not isinstance(one, ast.Starred) for one in node.args) >= MANY_ARGUMENTS:
                calls.append(f"{path}:{node.lineno}")
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            doc = ast.get_docstring(node) or ""
            figures.doctests += doc.count(">>> ")
            if LEANING.match(doc):
                leaning.append(f"{path}:{node.lineno} {doc.splitlines()[0][:70]}")
        if isinstance(node, ast.FunctionDef):
            figures.lengths.append(code_lines(node, text.splitlines()))
    for node in functions_of(tree):
        doc = ast.get_docstring(node) or ""
        if not node.name.startswith("_"):
            figures.public += 1
            figures.documented += bool(doc)
            figures.with_example += ">>> " in doc
            if not doc:
                bare.append(f"{path}:{node.lineno} {node.name}")


def code_lines(node, lines):
    """Lines of a function without its docstring, comments and blank lines."""
    first = node.body[0]
    is_doc = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    doc = range(first.lineno, first.end_lineno + 1) if is_doc else ()
    own = (lines[n - 1].strip() for n in range(node.lineno, node.end_lineno + 1) if n not in doc)
    return sum(bool(line) and not line.startswith("#") for line in own)


def functions_of(node):
    """Functions and methods of a file or class, without those inside of functions."""
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef):
            yield inner
        elif isinstance(inner, ast.ClassDef):
            yield from functions_of(inner)


def imports_of(path, modules):
    """Modules of the package that a file imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & set(modules)
            found |= inner or {node.module}
    return found & set(modules)


def chains(modules):
    """Longest chain of imports that begins at each module, and the modules that lie in circles."""
    imported = {name: imports_of(path, modules) - {name} for name, path in modules.items()}
    known, circles = {}, set()

    def chain(name, above):
        if name in above:
            circles.update(above[above.index(name) :])
            return []
        if name not in known:
            ends = [chain(one, [*above, name]) for one in imported[name]]
            known[name] = [name, *max(ends, key=len, default=[])]
        return known[name]

    for name in modules:
        chain(name, [])
    return known, circles


def report(figures, modules, folder, places):
    """Print all figures."""
    flat = {path.stem for path in modules.values() if path.parent == folder} - ROOT_MODULES
    longest, circles = chains(modules)
    longest = max(longest.values(), key=len)
    print(f"{figures.files} files, {figures.lines} lines")
    print(f"modules flat in the root: {len(flat)} {' '.join(sorted(flat))}")
    print(f"files in circles of imports: {len(circles)} {' '.join(sorted(circles))}")
    print(f"longest chain of imports: {len(longest)} files")
    if places:
        print("   ", "\n    ".join(longest))
    mean = sum(figures.lengths) / len(figures.lengths)
    print(f"function mean / longest, lines of code: {mean:.1f} / {max(figures.lengths)}")
    print(f"public functions documented: {figures.documented} of {figures.public}")
    print(f"public functions with an example: {figures.with_example}")
    print(f"lines of examples: {figures.doctests}")
    for what, where in figures.places.items():
        rate = (
            f" ({1000 * len(where) / figures.lines:.1f} per 1000 lines)" if "calls" in what else ""
        )
        print(f"{what}: {len(where)}{rate}")
        if places:
            for place in where[:PLACES_SHOWN]:
                print("   ", place)


if __name__ == "__main__":
    main()
