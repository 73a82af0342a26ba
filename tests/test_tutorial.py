"""docs/tutorial.ipynb runs from start to end, and git has it without outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from tests.committed import committed, committed_files
from tests.pipeline_files import ROOT
from tests.project import copy_files, params_text

NOTEBOOK = ROOT / "docs/tutorial.ipynb"
READ = ("metrics/results.json", "metrics/curves/roc.csv", "predictions/full/mesonet/")
"""Results that it reads."""


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_every_cell_runs(tmp_path: Path) -> None:
    """With the committed results, whatever was run in the work tree."""
    copy_files(tmp_path)
    (tmp_path / "params.yaml").write_text(params_text())
    for name in committed_files():
        if name.startswith(READ):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(committed(name))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where = {"metadata": {"path": str(tmp_path / "docs")}}
    NotebookClient(notebook, timeout=120, resources=where).execute()  # raises the error of a cell
    shown = {kind for cell in code_cells(notebook) for output in cell.outputs for kind in output.get("data", {})}
    assert {"image/png", "image/svg+xml", "text/html"} <= shown
    warned = [output for cell in code_cells(notebook) for output in cell.outputs if output.get("name") == "stderr"]
    assert not warned


def test_it_has_no_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code_cells(notebook))
