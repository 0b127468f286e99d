"""The fenced blocks of README and the documentation, and what runs each of them.

```python   tests/test_readme.py executes it
```toml     tests/test_readme.py reads it as a study file, or a part of one
```json     tests/serve/test_mcp.py starts the servers that it configures
```sh       tests/test_readme.py executes its commands, with small budgets, except those with a mark above,

    <!-- install -->    <!-- test -->    <!-- cluster -->

            which continuous integration runs as they are printed, outside pytest, with this program; and

    <!-- serve -->    <!-- client -->

            which tests/remote/test_guide.py runs as they are printed, on a free port: the first start a
            service, the second need one

python docs/blocks.py KIND   runs the blocks of a kind, one after the other, in the current folder
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    "README.md",
    "benchmarks/README.md",
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))),
]
MARKS = ("install", "test", "cluster")
_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>\w+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: the file, relative to the project.
        line: of its first line of text.
        language: after the fence; "" for text that is only looked at.
        mark: in the comment above, "" without one.
        text: between the fences.
    """

    page: str
    line: int
    language: str
    mark: str
    text: str

    @property
    def kind(self) -> str:
        """What runs it: its mark, else its language."""
        return self.mark or self.language

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(kind: str | None = None) -> list[Block]:
    """All blocks, or those of a kind, page by page."""
    found = []
    for page in PAGES:
        content = (ROOT / page).read_text()
        for match in _BLOCK.finditer(content):
            line = content.count("\n", 0, match.start("text")) + 1
            found.append(Block(page, line, match["language"], match["mark"] or "", match["text"]))
    return [block for block in found if kind is None or block.kind == kind]


def main() -> int:
    """Run the blocks of a kind; the exit code of the first that fails."""
    kind = sys.argv[1] if len(sys.argv) == 2 else ""
    if kind not in MARKS:
        print(f"usage: python docs/blocks.py {'|'.join(MARKS)}", file=sys.stderr)
        return 2
    for block in blocks(kind):
        print(f"--- {block}\n{block.text}", end="", flush=True)
        if code := subprocess.run(["bash", "-euo", "pipefail", "-c", block.text]).returncode:
            print(f"--- {block} ended with {code}", file=sys.stderr)
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
