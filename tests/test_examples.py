"""The notebook runs from start to end, and what the README says is in the repository."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_notebook_runs_from_start_to_end(tmp_path):
    """Its code cells in a new process, as a kernel runs them, where a new user would."""
    cells = json.loads((ROOT / "examples" / "tour.ipynb").read_text())["cells"]
    code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    code = f"import matplotlib\nmatplotlib.use('agg')\n{code}\nprint('end')"
    copy = tmp_path / "project"
    subprocess.run(["git", "clone", "-q", ROOT, copy], check=True)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=copy / "examples", text=True, capture_output=True,
        env=os.environ | {"PYTHONPATH": str(copy)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "end"


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))],
    ids=lambda path: path.name,
)  # fmt: skip
def test_every_link_leads_to_a_file(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
