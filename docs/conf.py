"""Settings of Sphinx: `make docs`. The examples are run while the pages are built."""

import torch

import likelihood_gan

# Examples and this build share the machine; two threads are slower than one when it is busy.
torch.set_num_threads(1)

project = "likelihood-gan"
author = "The likelihood-gan developers"
copyright = author
version = release = likelihood_gan.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "figures", "**.ipynb", "auto_examples/**.md5"]
templates_path = ["_templates"]
default_role = "code"  # `name` in a docstring
html_theme = "furo"
html_title = "likelihood-gan"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
autodoc_typehints = "none"  # the docstrings say it in words
numpydoc_show_class_members = False  # the template of a class lists them
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_signature": False,
}


def skip_foreign(app, what, name, member, skip, options):
    """Leave out the methods that scikit-learn and PyTorch write: their pages tell of them."""
    module = getattr(member, "__module__", None) or ""
    return True if module.partition(".")[0] in ("sklearn", "torch") else None


def setup(app):
    app.connect("autodoc-skip-member", skip_foreign)
