# SPDX-License-Identifier: MIT
"""The documentation as a site (`make docs`): the Markdown pages, docstrings and help texts."""

import contextlib
import io
import os

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.writers.html5 import HTML5Translator

import hubprune
from hubprune import cli

project = "hubprune"
author = "The hubprune developers"
release = version = hubprune.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

# `weighted_degree` in a docstring is a link where such an object is documented, else plain code.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings name types with their shapes
autodoc_preserve_defaults = True
numpydoc_show_class_members = False  # those with a docstring are written out

smartquotes = False  # "auto" is a value to type

html_theme = "furo"
html_title = f"hubprune {version}"
html_math_renderer = "mathml"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False


class CommandHelp(Directive):
    """``.. command-help:: prune`` shows what ``hubprune prune --help`` prints."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the block."""
        command = [*self.arguments, "--help"]
        os.environ["COLUMNS"] = "100"  # argparse's lines are as long as the terminal's
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            cli.main(command)
        text = f"$ hubprune {' '.join(command)}\n{printed.getvalue()}"
        return [nodes.literal_block(text, text, language="text")]


def at_top_level(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element
) -> nodes.Element | None:
    """Link `plan`, said in a module below hubprune, to ``hubprune.plan``."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or target.startswith("hubprune."):
        return None
    node["reftarget"] = f"hubprune.{target}"
    domain = env.get_domain("py")
    return domain.resolve_xref(
        env, node["refdoc"], app.builder, "obj", node["reftarget"], node, content
    )


def write_formula(writer: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    """Write MathML, which browsers draw themselves: MathJax would come from the network."""
    formula = tex2mathml(node.astext(), as_block=isinstance(node, nodes.math_block))
    writer.body.append(formula)
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Add what only this site needs."""
    app.connect("missing-reference", at_top_level)
    app.add_directive("command-help", CommandHelp)
    app.add_html_math_renderer("mathml", (write_formula, None), (write_formula, None))
