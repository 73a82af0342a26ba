"""What mkdocs makes into the site: README.md, all that it links to, a page for `import facestudy` and one per package.

Pages keep their places in the repository (the site's `docs/crops.html` is `docs/crops.md`), so that one relative link
is right in the site, in a viewer of the repository and in an editor.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
START = "README.md"
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
CALLS = "::: facestudy\n    options: {members: [find_faces, crop, load_model, score], show_submodules: false}\n"
EXAMPLE = re.compile(r"(?<=\n\n)(?=>>> )")


class Examples(griffe.Extension):
    """Short docstrings may show an example without the heading that the NumPy style asks for: it is added here."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Add the heading to the docstring of one module, class, function or attribute.

        Parameters
        ----------
        obj : griffe.Object
            As griffe read it.
        """
        if obj.docstring and "Examples\n---" not in obj.docstring.value:
            obj.docstring.value = EXAMPLE.sub("Examples\n--------\n", obj.docstring.value, count=1)


def linked() -> list[str]:
    """Files that can be reached from START by relative links.

    Returns
    -------
    list of str
        Paths relative to ROOT. A link to a file that does not exist adds nothing; mkdocs reports it.
    """
    found, waiting = [], [START]
    while waiting:
        name = waiting.pop()
        if name in found or not (ROOT / name).is_file():
            continue
        found.append(name)
        if name.endswith(".md"):
            targets = LINK.findall((ROOT / name).read_text(encoding="utf-8"))
            waiting += [posixpath.normpath(posixpath.join(posixpath.dirname(name), target)) for target in targets]
    return found


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace the files of `docs_dir`, whose paths leave out `docs/`, by those of the site.

    Parameters
    ----------
    files : Files
        The theme's files and those of `docs_dir`.
    config : MkDocsConfig
        The settings in mkdocs.yml.

    Returns
    -------
    Files
        The theme's files, the linked ones, a page for what `import facestudy` has, and one for each package of it.
    """
    for file in list(files):
        if file.abs_src_path and Path(file.abs_src_path).is_relative_to(config.docs_dir):
            files.remove(file)
    for name in sorted(linked()):
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    files.append(File.generated(config, "docs/api/facestudy.md", content=CALLS))
    for package in sorted((ROOT / "facestudy").glob("*/__init__.py")):
        name = package.parent.name
        files.append(File.generated(config, f"docs/api/{name}.md", content=f"::: facestudy.{name}\n"))
    return files
