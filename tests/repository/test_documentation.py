"""The pages name what there is, and their links lead somewhere."""

import re
from pathlib import Path

import pytest

from waypost.settings import SETTINGS, variable

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("field", SETTINGS)
def test_every_setting_is_documented_with_its_default(field: str) -> None:
    """The table of docs/operations.md has the variable, its meaning and its default."""
    setting = SETTINGS[field]
    default = "must be given" if setting.default is None else setting.default or "none"
    rows = [line for line in (ROOT / "docs/operations.md").read_text().splitlines() if f"`{variable(field)}`" in line]
    assert any(setting.meaning in row and row.endswith(f"| {default} |") for row in rows)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_links_of_a_page_lead_to_files(page: Path) -> None:
    """Relative links only; addresses of other sites are not asked."""
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def test_no_page_is_left_unfinished() -> None:
    """No page holds a place for something to come."""
    unfinished = [page.name for page in PAGES if re.search(r"DEMO_OUTPUT|goes here|go here|TODO", page.read_text())]
    assert not unfinished
