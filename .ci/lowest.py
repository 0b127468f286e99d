"""The lowest versions that pyproject.toml allows, as constraints for pip: python .ci/lowest.py [EXTRA ...]"""

import re
import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
requirements = [
    *project["dependencies"],
    *(r for extra in sys.argv[1:] for r in project["optional-dependencies"][extra]),
]
print(*(re.sub(r"\[.*?\]", "", requirement).replace(">=", "==") for requirement in requirements), sep="\n")
