"""What the pages need of Sphinx beyond its own: symbols that must exist, tables of settings, plain docstrings.

In:  {sym}`fer_model.losses.head_loss`, {choices} gan, .. modules:: fer_data.faces
Out: a link with the symbol's file; the table; a section with autodoc for every module of the package.
"""

import builtins
import importlib
import re
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.ext.autodoc.mock import mock
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx.util.nodes import nested_parse_with_titles

from fer_data.field_comments import comments_of
from fer_docs.choices import STAGES, table_of
from fer_docs.plain import escaped, to_rst
from fer_docs.symbols import line_of, modules_of, resolve

__all__ = ["setup"]

_QUOTED = re.compile(r":default: ``(?:PosixPath\()?'([^']*)'\)?``")
SETTINGS = "fer_model.config"         # its dataclasses inherit fields, which the pages link to
_LOG = logging.getLogger(__name__)


class Symbol(SphinxRole):
    """A link to a symbol, with the file and the line where it stands."""

    def run(self):
        try:
            module, (file, line) = resolve(self.text), line_of(self.text)
        except (ImportError, AttributeError) as error:
            _LOG.warning("no such symbol: %s (%s)", self.text, error, location=self.get_location())
            return [nodes.literal(text=self.text)], []
        short = self.text.removeprefix(f"{module}.")
        link = addnodes.pending_xref("", nodes.literal(text=short), refdomain="py", reftype="obj", reftarget=self.text)
        link["refwarn"] = short.split(".")[0] in getattr(importlib.import_module(module), "__all__", ())     # else it has no page
        link["refdoc"] = self.env.docname
        return [link, nodes.inline(text=f" {file}:{line}", classes=["where"])], []


class Choices(SphinxDirective):
    """The settings of one stage as a table."""

    has_content = False
    optional_arguments = 1

    def run(self):
        stage = self.arguments[0] if self.arguments else ""
        if stage not in STAGES:
            raise self.error(f"choices: allowed are {', '.join(filter(None, STAGES))} or none; got {stage!r}")
        self.env.note_dependency(importlib.import_module("fer_model.config").__file__)
        node = nodes.container(classes=["choices"])
        self.state.nested_parse(StringList(table_of(stage).splitlines(), source="fer_model/config.py"), 0, node)
        return [node]


class Modules(SphinxDirective):
    """A section for each module of a package."""

    required_arguments = 1
    option_spec: ClassVar = {"deep": directives.flag}

    def run(self):
        text = []
        for name in modules_of(self.arguments[0], "deep" in self.options):
            text += [name, "-" * len(name), "", f".. automodule:: {name}", "   :members:", "   :undoc-members:"]
            text += ["   :inherited-members:", ""] if name == SETTINGS else [""]
        node = nodes.section(document=self.state.document)
        nested_parse_with_titles(self.state, StringList(text, source=self.arguments[0]), node)
        return node.children


def _teach_comments(app):
    """Let autodoc find the trailing comments of fields and constants, as it finds `#:` comments."""
    for package in ("fer_data", "fer_model"):
        for name in modules_of(package, deep=True):
            with mock(app.config.autodoc_mock_imports):
                module, analyzer = importlib.import_module(name), ModuleAnalyzer.for_module(name)
            analyzer.analyze()
            for (owner, attribute), comment in comments_of(analyzer.code).items():
                analyzer.attr_docs.setdefault((owner, attribute), [comment, ""])
            for constant in getattr(module, "__all__", ()):
                if constant.isupper():
                    analyzer.attr_docs.setdefault(("", constant), [""])


def _plain(app, what, name, obj, options, lines):
    """Turn a plain docstring into reStructuredText; a comment of one line is prose."""
    lines[:] = [escaped(line) for line in lines] if what in ("attribute", "data") else to_rst(lines)


def _examples(app, context, lines):
    """Turn the example lines of a command's help, which `\\b` kept apart, into a block of code; take markup from the rest."""
    prose, examples = [line for line in lines if not line.startswith("| ")], [line[2:] for line in lines if line.startswith("| ")]
    lines[:] = [*to_rst(prose), ".. code-block:: text", "", *(f"    {line}" for line in examples), ""] if examples else to_rst(prose)


def _options(app, context, lines):
    """Take markup from the help of options, and write a default as one types it: prepared for PosixPath('prepared')."""
    lines[:] = [line if "``" in line or ".. option" in line else _plain_help(line) for line in lines]
    lines[:] = [_QUOTED.sub(r":default: ``\1``", line) for line in lines]


def _plain_help(line: str) -> str:
    """Return a line of an option's help; that it is required was said in bold by sphinx-click."""
    before, bold, text = line.rpartition("**Required**")
    return f"{before}{bold}{escaped(text)}"


def _unlink_builtins(app, doctree):
    """Take the link from `bytes` in a signature: Sphinx would look for anything of ours that is called so."""
    for link in list(doctree.findall(addnodes.pending_xref)):
        if link.get("refdomain") == "py" and hasattr(builtins, link.get("reftarget", "")):
            link.replace_self(link.children)


def setup(app):
    app.add_role("sym", Symbol())
    app.add_directive("choices", Choices)
    app.add_directive("modules", Modules)
    app.connect("doctree-read", _unlink_builtins)
    app.connect("builder-inited", _teach_comments)
    app.connect("autodoc-process-docstring", _plain)
    app.connect("sphinx-click-process-description", _examples)
    app.connect("sphinx-click-process-options", _options)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
