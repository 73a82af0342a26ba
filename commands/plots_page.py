"""The page of `dvc plots`, with the Vega scripts in it, so that it opens without a network: .dvc/plots/page.html.

DVC fills in the charts. The file is in git; run `make plots-page` after an update of vl-convert-python.
"""

from __future__ import annotations

from pathlib import Path

from facestudy.report.page import vega_scripts

PAGE = Path(".dvc/plots/page.html")
TEXT = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{refresh_tag}
<title>DVC plots</title>
<style>body { font: 16px/1.5 system-ui, sans-serif; margin: 1rem; overflow-x: auto; }</style>
<script>SCRIPTS</script>
</head>
<body>
<main>{plot_divs}</main>
</body>
</html>
"""


def text() -> str:
    """The page."""
    return TEXT.replace("SCRIPTS", vega_scripts())


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
