"""What setup.cfg cannot say: the project's page on PyPI is what the README marks for it.

The README is the page of the repository, with pictures and links that lead to its files. PyPI has
neither, and every wheel carries the text.
"""

import re
from pathlib import Path

from setuptools import setup

readme = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
marked = "".join(re.split(r"<!-- PyPI: (?:off|on) -->\n\n?", readme)[::2])
comments_and_pictures = re.compile(r"^(?:<!--.*?-->|!\[[^]]*\]\([^)]*\))\n\n", re.DOTALL | re.M)
setup(long_description=comments_and_pictures.sub("", marked))
