"""How Sphinx builds the documentation: ``sphinx-build -W docs docs/_build/html``, with the ``docs`` extra installed."""

from importlib import metadata

project = "netlayer"
author = "The netlayer developers"
release = version = metadata.version("netlayer")

extensions = ["sphinx.ext.autodoc"]
exclude_patterns = ["_build", "examples", "newsfragments"]

# Types stand in the signatures, once; docstrings don't repeat them.
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True

html_theme = "alabaster"
html_theme_options = {"description": "A peer-to-peer protocol framework for Twisted", "page_width": "70em"}
