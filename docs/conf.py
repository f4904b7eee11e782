"""The site: the lecture as executed pages, how-to pages, explanations and the reference.

`sphinx-build -W -b html docs build/site` builds it offline. It executes every page of examples/ (on two processes),
and a page whose `assert` fails stops the build.
"""

import os
import sys
from importlib.metadata import version as installed
from pathlib import Path

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
# pages run in processes of their own, which inherit the environment and nothing else
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE / "_extensions"), os.environ.get("PYTHONPATH")]))
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", MPLBACKEND="Agg", PYTHONHASHSEED="0", COLUMNS="88")
sys.path.insert(0, str(HERE / "_extensions"))

project = "robustgames"
author = "the robustgames authors"
copyright = f"%Y, {author}"
version = release = installed("robustgames")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "house_docstrings",
    "house_links",
    "house_tables",
    "offline_math",
    "pictures",
    "stale_pages",
]
templates_path = ["_templates"]
exclude_patterns = ["_extensions", "_templates", "**/GALLERY_HEADER.rst", "**.ipynb"]
nitpicky = True
suppress_warnings = ["config.cache"]  # the templates of autosummary call functions

# -- Markdown ----------------------------------------------------------------------------------------------
myst_enable_extensions = ["colon_fence", "attrs_inline", "dollarmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = False

# -- reference ---------------------------------------------------------------------------------------------
autosummary_generate = True
autosummary_ignore_module_all = False
autoclass_content = "class"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 110
add_module_names = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_param = False
napoleon_use_rtype = False
toc_object_entries_show_parents = "hide"

# -- gallery -----------------------------------------------------------------------------------------------
backreferences = "reference/examples"
for folder in (backreferences, "_pictures"):
    (HERE / folder).mkdir(parents=True, exist_ok=True)
sphinx_gallery_conf = {
    "examples_dirs": [str(EXAMPLES / "lecture"), str(EXAMPLES / "howto")],
    "gallery_dirs": ["lecture", "howto"],
    "filename_pattern": r"[/\\]plot_",
    "within_subsection_order": "FileNameSortKey",
    "backreferences_dir": backreferences,
    "doc_module": ("robustgames",),
    "reference_url": {"robustgames": None},
    "inspect_global_variables": True,
    "reset_modules": ("page_style.reset",),
    "image_scrapers": ("matplotlib",),
    "image_srcset": ["2x"],
    "thumbnail_size": (400, 280),
    "capture_repr": ("_repr_html_", "__repr__"),
    "ignore_repr_types": r"matplotlib|builtins\.|Axes|Text|list|tuple",
    "first_notebook_cell": "%matplotlib inline",
    "min_reported_time": 600,
    "write_computation_times": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "download_all_examples": False,
    "copyfile_regex": r".*\.(json|npz|csv)",
    "parallel": int(os.environ.get("ROBUSTGAMES_SITE_JOBS", "2")),
}

# -- look --------------------------------------------------------------------------------------------------
html_theme = "furo"
html_title = "robustgames"
html_static_path = ["_static", "_pictures"]
html_css_files = ["custom.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {
    "light_logo": "logo.svg",
    "dark_logo": "logo.svg",
    "sidebar_hide_name": False,
    "light_css_variables": {"color-brand-primary": "#00568C", "color-brand-content": "#0072B2"},
    "dark_css_variables": {"color-brand-primary": "#7CC4F0", "color-brand-content": "#56B4E9"},
}
pygments_style = "friendly"
pygments_dark_style = "github-dark"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
