"""Sphinx's settings. `make docs` builds with warnings as errors; a page asks nothing of the network when it is looked at."""

import sys
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

project = "fer-degan"
author = "the fer-degan authors"
copyright = author
version = release = metadata.version("fer-degan")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_click", "fer_docs.extension"]
# setup() of sphinx_click knows the event that fer_docs listens to, so it comes first
myst_enable_extensions = ["deflist", "attrs_inline"]
myst_heading_anchors = 3
exclude_patterns = ["_ext"]
smartquotes = False                   # -- is an option, not a dash
highlight_language = "none"
nitpicky = False                      # annotations name types of numpy and torch, whose pages are elsewhere

autodoc_mock_imports = ["triton"]         # comes with PyTorch for GPUs alone
autodoc_member_order = "bysource"
autodoc_default_options = {"no-value": True}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False     # of forward() torch has a page of its own
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"fer-degan {version}"
html_static_path = ["_static"]
html_css_files = ["own.css"]
html_show_copyright = False
html_copy_source = False
html_use_index = html_domain_indices = False     # the search finds the same, and fits a phone
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}
