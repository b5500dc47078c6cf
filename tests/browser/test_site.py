"""The built site is whole, fits a phone, and can be searched and paged through."""

import urllib.parse

import pytest
from pages import BUILT, PHONE, watch

pytestmark = pytest.mark.browser
# Links, targets and measures of the page that is open.
FACTS = """() => ({
  links: [...document.querySelectorAll('a[href]')].map(link => link.href),
  ids: [...document.querySelectorAll('[id]')].map(element => element.id),
  wide: [document.scrollingElement, ...document.querySelectorAll('.content')]
    .filter(e => e.scrollWidth > e.clientWidth).map(e => e.scrollWidth),
  lost: [...document.images].filter(i => !i.complete || !i.naturalWidth)
    .map(image => image.src),
  blurred: [...document.querySelectorAll('article img')]
    .filter(i => i.width > i.naturalWidth).map(image => image.src),
})"""


def pages_on_disk():
    """List all pages but the door, which leads on at once."""
    found = sorted(BUILT.rglob("*.html"))
    names = [path.relative_to(BUILT).as_posix() for path in found]
    return [name for name in names if name != "index.html"]


@pytest.fixture(scope="module")
def visited(browser, site):
    """Open every page on a phone; return {name: its facts}."""
    page = browser.new_page(viewport=PHONE)
    troubles, facts = watch(page), {}
    for name in pages_on_disk():
        page.goto(site + name)
        page.wait_for_load_state()
        facts[name] = page.evaluate(FACTS) | {"troubles": list(troubles)}
        troubles.clear()
    page.close()
    return facts


def complaints(visited, key):
    return {name: facts[key] for name, facts in visited.items() if facts[key]}


def test_every_notebook_has_a_page(visited):
    notebooks = sorted((BUILT.parents[2] / "notebooks").glob("[0-9]*.ipynb"))
    assert notebooks
    assert {f"notebooks/{path.stem}.html" for path in notebooks} <= set(visited)


def test_no_page_has_an_error_or_asks_another_host(visited):
    assert not complaints(visited, "troubles")


def test_all_pictures_are_there_and_none_is_blown_up(visited):
    assert not complaints(visited, "lost")
    assert not complaints(visited, "blurred")
    images = BUILT / "_images"
    assert len(list(images.iterdir())) > 20


def test_no_page_is_wider_than_a_phone(visited):
    # The theme's box of content would hide a page that is too wide, and scroll.
    assert not complaints(visited, "wide")


def test_every_link_and_anchor_leads_somewhere(visited, site):
    broken = []
    for name, facts in visited.items():
        for link in filter(lambda link: link.startswith(site), facts["links"]):
            target, _, anchor = link[len(site) :].partition("#")
            target = urllib.parse.unquote(target.partition("?")[0])
            anchor = urllib.parse.unquote(anchor)
            there = (BUILT / target).is_file()
            if not there or (
                anchor and target in visited and anchor not in visited[target]["ids"]
            ):
                broken.append((name, link))
    assert not broken


def test_links_to_elsewhere_are_whole_addresses(visited, site):
    others = {
        link
        for facts in visited.values()
        for link in facts["links"]
        if not link.startswith(site)
    }
    assert others
    for link in others:
        parts = urllib.parse.urlsplit(link)
        assert parts.scheme == "https", link
        assert "." in parts.hostname, link


def test_next_and_previous_lead_through_the_course(browser, site):
    notebooks = sorted((BUILT.parents[2] / "notebooks").glob("[0-9]*.ipynb"))
    chain = [f"{site}notebooks/{path.stem}.html" for path in notebooks]
    page = browser.new_page()
    page.goto(site)
    page.wait_for_url(f"{site}docs/index.html")
    for url in chain:
        page.click("a.next-page")
        assert page.url == url
    for url in chain[-2::-1]:
        page.click("a.prev-page")
        assert page.url == url
    page.close()


def test_search_finds_what_the_course_explains(browser, site):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    troubles = watch(page)
    page.goto(f"{site}docs/index.html")
    page.fill("input.sidebar-search", "zero point")
    page.press("input.sidebar-search", "Enter")
    page.click("ul.search a[href*='04_quantize']")
    assert page.title().startswith("4 · ")
    page.goto(f"{site}search.html?q=marzipan")
    page.wait_for_selector("#search-results h2")
    assert not page.query_selector_all("ul.search a")
    assert not troubles
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background(browser, site, scheme):
    page = browser.new_page(color_scheme=scheme)
    page.goto(f"{site}notebooks/01_build.html")
    ratio = page.evaluate(CONTRAST, "article p")
    assert ratio > 7
    page.close()


# The ratio of luminances, as the Web Content Accessibility Guidelines define it.
CONTRAST = """selector => {
  const rgb = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number)
  const linear = v => v <= 10.31 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4
  const luminance = colour => {
    const [r, g, b] = rgb(colour).map(linear)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const text = getComputedStyle(document.querySelector(selector)).color
  const page = getComputedStyle(document.body).backgroundColor
  const [dark, light] = [luminance(text), luminance(page)].sort((a, b) => a - b)
  return (light + 0.05) / (dark + 0.05)
}"""
