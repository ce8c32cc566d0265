"""Sphinx: `make docs` builds `docs/_build/html`."""

import re

from llc.version import library_version

project = "llc"
author = "The llc developers"
copyright = "2026, the llc developers"
release = library_version()

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_click",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "README.md"]
templates_path: list[str] = []

# Pages in MyST Markdown; headings can be linked to; notebooks of the gallery are kept with what they printed.
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"
# `--steps` is typed with two dashes.
smartquotes = False
# A console's output is shown as text where it brings no richer form.
nb_merge_streams = True

autodoc_default_options = {"members": True, "show-inheritance": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
autosummary_generate = True
# Docstrings are plain text whose equations stand indented; single backticks are code, as in Markdown.
default_role = "code"
# Attributes of several classes are called `name`; napoleon's entries of them are no links.
suppress_warnings = ["ref.python"]

html_theme = "furo"
html_title = "llc"
html_static_path = ["_static"]
html_css_files = ["llc.css"]
html_theme_options = {"source_directory": "docs/"}
pygments_style = "friendly"
pygments_dark_style = "monokai"

linkcheck_timeout = 20
linkcheck_retries = 2
linkcheck_anchors = False

# Docstrings are read as Markdown's plain text is: stars and bars are themselves, indented equations stand as they are.
_SECTION = re.compile(r"^(Args|Arguments|Returns|Raises|Attributes|Yields|Example|Examples|Note):\s*$")
_MARKS = re.compile(r"(`[^`]*`)|([*|])")


def _plain(line: str) -> str:
    return _MARKS.sub(lambda found: found[1] or "\\" + found[2], line)


def _as_text(lines: list[str]) -> None:
    """Escape what reStructuredText reads as emphasis or substitution; before sections, indented blocks are literal."""
    found: list[str] = []
    in_block = in_section = False
    for number, line in enumerate(lines):
        in_section = in_section or bool(_SECTION.match(line))
        indented = line.startswith("    ") and not in_section
        if indented and not in_block and not lines[number - 1].strip():
            found += ["::", ""]
            in_block = True
        elif line.strip() and not indented:
            in_block = False
        found.append(line if in_block and indented else _plain(line))
    lines[:] = found


def _docstring(*told) -> None:
    _as_text(told[-1])


def _command(*told) -> None:
    lines: list[str] = told[-1]
    lines[:] = [line[:2] + _plain(line[2:]) if line.startswith("| ") else _plain(line) for line in lines]
    lines[:] = [line.replace(r"\*\*Required\*\*", "**Required**") for line in lines]  # sphinx-click's own


def setup(app) -> None:
    """Before napoleon, which reads the sections."""
    app.connect("autodoc-process-docstring", _docstring, priority=400)
    for event in ("description", "usage", "options", "arguments", "epilog"):
        app.connect(f"sphinx-click-process-{event}", _command)
