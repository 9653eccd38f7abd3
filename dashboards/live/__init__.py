"""The live page: the report page by page, served, and kept up to date by a script that swaps what changed. Pure.

page(Shown(title, sections, "/image", …))  ->  "<!doctype html>…"
STYLE, SCRIPT, ICON                        what the page asks the same server for
"""

from dashboards.live.forms import Written, composer
from dashboards.live.pages import Shown, page
from dashboards.live.policy import CONTENT_SECURITY_POLICY
from dashboards.live.script import SCRIPT
from dashboards.live.style import ICON, STYLE

__all__ = ["CONTENT_SECURITY_POLICY", "ICON", "SCRIPT", "STYLE", "Shown", "Written", "composer", "page"]
