"""The review page in a real browser: by keyboard alone, at 200 % zoom, and as axe-core judges it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import BrowserContext, Page, ViewportSize, async_playwright, expect

from deploy.local.ports import LOOPBACK, free_ports
from schemas.bus import events
from tests.fixtures.served import served_here
from tests.invariants.worlds import purged
from tests.unit.proposal_parts import content
from tests.unit.review_page_parts import Desk, OfWorld, desk_of
from tests.unit.test_review_page_compliance import TENANT, lived
from tests.world.world import World

TWICE_AS_LARGE = ViewportSize(width=640, height=400)
"""What a window of 1280 by 800 has left at 200 %."""
QUESTION = (
    "Mother of [PATIENT-1] asks: she had [DATE-1] a rash after amoxicillin 250 mg, 6 years old, 21 kg. May she have "
    "cefuroxime for the otitis, or is that the same family?"
)
ANSWER = "House rule: after a mild rash cefuroxime is allowed, first dose on the ward. Else call [PHONE-1]."


expect.set_options(timeout=60_000)  # beside other tests on two cores a page may take long


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("NO BROWSER: install Chromium (Debian: apt-get install chromium) to test the review page")
    return found


@dataclass
class Visit:
    """A person's browser, the page that is served to it, and what was wrong with the pages that it looked at."""

    desk: Desk
    page: Page
    shots: Path | None
    wrong: list[str] = field(default_factory=list)

    async def look(self, name: str) -> None:
        """Judge the page that is open, and photograph it."""
        found = await Axe().run(self.page)
        self.wrong += [
            f"{name}: {one['id']} {[node['target'] for node in one['nodes']]}"
            for one in found.response["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        if self.shots is not None:
            await self.page.screenshot(path=self.shots / f"review-{name}.png")
        before = self.page.viewport_size
        await self.page.set_viewport_size(TWICE_AS_LARGE)
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        if (beyond := await self.page.evaluate(overflow)) > 0:
            self.wrong.append(f"{name}: {beyond} px wider than the window at 200 %")
        assert before is not None
        await self.page.set_viewport_size(before)

    async def press(self, *keys: str) -> None:
        await self.page.wait_for_load_state()  # before that, keys mean nothing yet
        for key in keys:
            await self.page.keyboard.press(key)


@asynccontextmanager
async def visit(chromium: str, shots: str | None, made: Callable[[str], Awaitable[Desk]]) -> AsyncIterator[Visit]:
    [port] = free_ports(1)
    desk = await made(f"http://{LOOPBACK}:{port}")
    async with served_here(desk.app, port), async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context: BrowserContext = await browser.new_context(
            viewport={"width": 1280, "height": 800}, base_url=desk.url, color_scheme="light"
        )
        context.set_default_timeout(60_000)
        page = await context.new_page()
        found = Visit(desk, page, None if shots is None else Path(shots))
        page.on("console", lambda said: found.wrong.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: found.wrong.append(str(error)))
        yield found
        await browser.close()


@pytest.mark.slow
async def test_a_reviewer_signs_in_and_decides_by_keyboard_alone_on_pages_that_everybody_can_use(
    chromium: str, pytestconfig: pytest.Config
) -> None:
    async with visit(chromium, pytestconfig.getoption("--screenshots"), lambda url: desk_of(url=url)) as seen:
        desk, page = seen.desk, seen.page
        of = desk.review()
        for number in range(1, 4):
            await of.handle(await of.proposed(f"e{number}", content(f"{QUESTION} ({number})", ANSWER)))

        await page.goto("/queue")
        await expect(page.locator("h1")).to_have_text("Sign in")
        await seen.look("sign-in")
        await page.goto(f"/sign-in/link#{desk.link()}")
        await expect(page.locator("#by-link button")).to_be_focused()
        assert "#" not in page.url, "the code is out of the address"
        await seen.look("link")
        await seen.press("Enter")
        await expect(page.locator("h1")).to_have_text("Queue")
        await seen.look("queue")

        await seen.press("n")
        await expect(page.locator("h1")).to_have_text("Example e1")
        await expect(page.locator("mark.redacted")).to_have_count(3)
        await seen.look("example")
        await seen.press("m", "Enter")
        await expect(page.get_by_label("as it stands in the text")).to_be_visible()
        await seen.look("mark")
        await seen.press("Enter", "a")
        await expect(page.get_by_role("button", name="Approve")).to_be_focused()
        await seen.press("Enter")
        await expect(page.locator("h1")).to_have_text("Example e2")
        await seen.press("r", "ArrowDown", "ArrowDown", "Tab", "Enter")
        await expect(page.locator("h1")).to_have_text("Example e3")
        await seen.press("e")
        await expect(page.locator("textarea")).to_have_count(2)
        await seen.look("edit")
        await page.get_by_label("assistant").focus()
        await seen.press("Control+End")
        await page.keyboard.type(" Then watch for an hour.")
        await seen.press("Tab", "Enter")
        await expect(page.locator("h1")).to_have_text("Queue")

        await page.get_by_role("button", name="Keys on").focus()
        await seen.press("Enter", "n")
        await expect(page.get_by_role("button", name="Keys off")).to_be_focused()
        assert page.url.endswith("/queue"), "keys that are switched off do nothing"

        approved, rejected, edited = await desk.curated()
        assert isinstance(approved, events.ExampleReviewed)
        assert (approved.example_id, approved.verdict) == ("e1", "approved")
        assert isinstance(rejected, events.ExampleReviewed)
        assert (rejected.example_id, rejected.verdict, rejected.reason_code) == ("e2", "rejected", "unsafe")
        assert isinstance(edited, events.ExampleProposed)
        assert (edited.example_id, edited.version) == ("e3", 2)
        await page.goto("/examples/e1")
        await expect(page.locator("h2")).to_have_text("Adapters that it is in: 0")
        await seen.look("decided")

        await page.get_by_role("button", name="Sign out").press("Enter")
        await expect(page.locator("h1")).to_have_text("Sign in")
        assert seen.wrong == []


@pytest.mark.slow
async def test_everybody_can_use_what_compliance_sees_of_a_tenant_that_lived_and_was_purged(
    chromium: str, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    world = World(tmp_path)
    await lived(world)

    async def made(url: str) -> Desk:
        return Desk(OfWorld(world), url=url)

    async with visit(chromium, pytestconfig.getoption("--screenshots"), made) as seen:
        page = seen.page

        async def follow(name: str, heading: str) -> None:
            await page.get_by_role("link", name=name).first.press("Enter")
            await expect(page.locator("h1")).to_contain_text(heading)
            await seen.look(heading.split()[0].lower())

        await page.goto(f"/sign-in/link#{seen.desk.link(role='compliance', person='c-1')}")
        await seen.press("Enter")
        await expect(page.locator("h1")).to_have_text("Overview")
        await seen.look("compliance")
        await page.get_by_role("region", name="Adapters").get_by_role("link").first.press("Enter")
        await expect(page.locator("h1")).to_contain_text("Adapter ")
        await seen.look("lineage")
        await follow("Documents", "Documents")
        await follow("d1", "Document d1")
        for name in ("Consents", "Withdrawals", "Audit log", "Agreement"):
            await follow(name, name)
        await purged(world, TENANT)
        await follow("Purges", "Purges")
        await page.get_by_role("table").get_by_role("link").first.press("Enter")
        await expect(page.get_by_text("The signature is good")).to_be_visible()
        await seen.look("certificate")
        assert seen.wrong == []
