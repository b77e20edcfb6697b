"""How Sphinx builds the documentation: ``sphinx-build -W docs docs/_build/html``, with the ``docs`` extra installed."""

from importlib import metadata
from pathlib import Path

project = "netlayer"
author = "The netlayer developers"
release = version = metadata.version("netlayer")

extensions = [
    "sphinx.ext.autodoc",
    "sphinxcontrib.svgbob",  # pictures, drawn from the text that stands in the page
    "sphinxcontrib.towncrier.ext",  # the changes since the last release, from their fragments
]
exclude_patterns = ["_build", "examples", "newsfragments", "tutorial/chat"]

# Types stand in the signatures, once; docstrings don't repeat them.
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True

# Every name that is referred to has to lead somewhere, those of other packages excepted: a build fetches nothing.
nitpicky = True
OTHERS = r"twisted|zope|collections|contextlib|logging|msgspec|os|pathlib|random|typing|attr|attrs|cryptography|OpenSSL"
nitpick_ignore_regex = [
    (r"py:.*", rf"({OTHERS})(\..*)?"),
    # Inside: what signatures of public names mention.
    (
        r"py:class",
        r"netlayer\.(net\.driver|sansio\.peers\.peer|wire\.messages|testing\.(faults|listening))\..*|SimulatedTransport",
    ),
    (r"py:.*", r"IPv4Address|CannotListenError|Driver"),  # Twisted's
    (r"py:.*", r"<InterfaceClass .*"),  # what Twisted's interfaces are called in signatures
    (r"py:.*", r".*\[.*"),  # the parts of a type alias, which autodoc does not take apart
    (r"py:.*", r"(.*\.)?(T|Mode|_\w+)"),  # type variables, and what is private
]

towncrier_draft_autoversion_mode = "draft"
towncrier_draft_include_empty = True
towncrier_draft_working_directory = Path(__file__).parents[1]

html_theme = "alabaster"
html_theme_options = {"description": "A peer-to-peer protocol framework for Twisted", "page_width": "75em"}
