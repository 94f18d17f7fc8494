# SPDX-License-Identifier: GPL-3.0-or-later
"""Print pip constraints that hold every dependency at the lowest version pyproject.toml claims.

``make floors`` installs these and runs the quick part of the tests with them.
"""

import re
import sys
from pathlib import Path

import tomllib

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
#: Extras of which the floors are ours, too; those of the tests and pages are tools.
EXTRAS = ("distributed", "search")
#: Name with its extras, and the version after ``>=``.
REQUIREMENT = re.compile(r"([\w-]+)(?:\[[\w,]+\])?>=([\d.]+)")


def floors():
    """Lowest version of each dependency, by its name."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    requirements = project["dependencies"] + [one for name in EXTRAS for one in extras[name]]
    return dict(REQUIREMENT.match(requirement).groups() for requirement in requirements)


def main():
    """Print the constraints."""
    for name, version in floors().items():
        print(f"{name}=={version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
