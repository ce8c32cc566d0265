"""Run notebooks and keep them with what they showed, for the gallery: `python docs/run_gallery.py [NAME …]`.

Each is run as it is, from its folder. Pictures are kept in 64 colours and at most 800 points wide.
"""

import base64
import io
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

DOCS = Path(__file__).parent
NOTEBOOKS = DOCS.parent / "notebooks"
GALLERY = DOCS / "gallery"
_COLOURS, _WIDEST = 64, 800


def smaller(png: str) -> str:
    """A picture, base64 to base64, in a palette of its own."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    picture.thumbnail((_WIDEST, 10 * _WIDEST))
    kept = io.BytesIO()
    picture.quantize(_COLOURS, dither=Image.Dither.NONE).save(kept, "png", optimize=True)
    return base64.b64encode(kept.getvalue()).decode()


def run(name: str) -> None:
    """Run one notebook and write what came of it."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    begun = time.monotonic()
    NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
    for cell in notebook.cells:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key != "execution"}
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output["data"]["image/png"] = smaller(output["data"]["image/png"])
        if "outputs" in cell:  # bars of progress
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    nbformat.write(notebook, GALLERY / f"{name}.ipynb")
    print(f"{name}: {time.monotonic() - begun:.0f} s, {(GALLERY / f'{name}.ipynb').stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")):
        run(name)
