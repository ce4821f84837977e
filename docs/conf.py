"""The site: notebooks with their stored outputs, and the documents, as HTML that reads from disk with no network.

Sphinx and MyST-NB need neither node nor pandoc, and furo brings no script or font from elsewhere and reads well narrow
and wide, light and dark. `make site` runs `sphinx-build -c docs . site`: the sources are the repository itself, so that
links between files work on the site as they do there. A link to a file that is no page becomes a download.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging

project = html_title = "pclib"
extensions = ["myst_nb"]
root_doc = "docs/index"
include_patterns = ["README.md", "CONTRIBUTING.md", "docs/*.md", "data/*.md", "notebooks/[0-9][0-9]_*.ipynb"]
exclude_patterns = [".venv", "build", "site"]

nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js: dict[str, Any] = {}  # they would come from the network, and no widget is stored
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4

html_theme = "furo"
pygments_dark_style = "github-dark"
html_static_path = ["theme/site.css"]
html_css_files = ["site.css"]
html_extra_path = ["theme/index.html"]  # leads from the top of the folder to the front page
html_math_renderer = "mathml"
html_use_index = html_copy_source = html_show_copyright = False
html_show_search_summary = False  # a page opened from disk may not read others; the index of words is a script

MARK = "# NBVAL_CHECK_OUTPUT"
_converter = LatexToMathML(fancy_error=False)


def mark_checked_cells(_app: Sphinx, docname: str, source: list[str]) -> None:
    """Give cells whose output the tests compare a tag, which site.css shows, in place of the line that marks them."""
    if not docname.startswith("notebooks/"):
        return
    notebook = json.loads(source[0])
    for cell in notebook["cells"]:
        code = "".join(cell["source"])
        if cell["cell_type"] == "code" and code.startswith(MARK):
            cell["source"] = code.removeprefix(MARK).lstrip("\n")
            cell["metadata"].setdefault("tags", []).append("checked")
    source[0] = json.dumps(notebook)


def write_math(translator: Any, node: nodes.math | nodes.math_block) -> None:
    """Formulas as MathML, which browsers draw by themselves; Sphinx's own renderer loads a script from the network."""
    block = isinstance(node, nodes.math_block)
    try:
        mathml = _converter.convert_with_local_state(node.astext(), displaystyle=block)
    except LatexError as error:
        logging.getLogger(__name__).warning("the formula %s: %s", node.astext(), error, location=node)
        raise nodes.SkipNode from None
    translator.body.append(f'<div class="math">{mathml}</div>' if block else mathml)
    raise nodes.SkipNode


def unlink_folders(app: Sphinx, page: nodes.document) -> None:
    """A link to a folder of the repository has no page to lead to; its text stays."""
    here = Path(app.env.doc2path(app.env.docname)).parent
    for link in list(page.findall(addnodes.pending_xref)):
        if link["reftype"] == "myst" and (here / link["reftarget"]).is_dir():
            link.replace_self(link.children)


def setup(app: Sphinx) -> None:
    app.add_html_math_renderer("mathml", (write_math, None), (write_math, None))
    app.connect("source-read", mark_checked_cells)
    app.connect("doctree-read", unlink_folders)
