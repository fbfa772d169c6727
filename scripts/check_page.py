#!/usr/bin/env python3
"""Uses report.html in headless Chromium as a person would, and looks for errors.

    python check_page.py PAGE... [--chromium /usr/bin/chromium] [--screenshots DIR]

Every PAGE is opened from its file, wide and as a phone, in light and dark. The script sorts by every
column, filters, opens and closes a run's details, switches the theme and prints to PDF; it fails on
any console message or page error, any request that leaves the file, any sideways overflow of the
page, and any number that is none in a plot. One PASS or FAIL line a check; exits with 0 if none
failed. Needs Chromium and `playwright` (page_requirements.txt); no browser is downloaded.
"""

import argparse
import sys
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
NO_NUMBERS = "() => /NaN|Infinity|undefined|\\[object/.test([...document.querySelectorAll('svg, table')].map(e => e.outerHTML).join())"
failed = False


def check(passed, what):
    global failed
    failed |= not passed
    print(f"{'PASS' if passed else 'FAIL'}  {what}", flush=True)


def column(page, key):
    """The texts of a column of the ranking, from the top."""
    return page.evaluate(
        """key => { const at = [...document.querySelectorAll('#ranking th button')].findIndex(b => b.dataset.sort === key);
        return [...document.querySelectorAll('#ranking tbody tr')].map(tr => tr.cells[at].innerText); }""",
        key,
    )


def numbers(texts):
    found = []
    for text in texts:
        try:
            found.append(float(text.split()[0].replace("+", "")))
        except ValueError:
            pass
    return found


def use(page, name):
    rows = page.locator("#ranking tbody tr")
    keys = page.evaluate("() => [...document.querySelectorAll('#ranking th button')].map(b => b.dataset.sort)")
    for key in keys:
        page.click(f'#ranking [data-sort="{key}"]')
        values = numbers(column(page, key))
        if key not in ("flag", "position") and len(values) == len(column(page, key)):
            check(values == sorted(values), f"{name}: sorted by {key}")
    page.click('#ranking [data-sort="loss"]')
    if "desc" not in (page.get_attribute('#ranking th:has([data-sort="loss"])', "aria-sort") or ""):
        page.click('#ranking [data-sort="loss"]')
    values = numbers(column(page, "loss"))
    check(values == sorted(values, reverse=True), f"{name}: a second click turns the order around")
    page.click('#ranking [data-sort="position"]')
    before = rows.count()
    page.fill("#ranking input[type=search]", "flag=ok loss<1e9")
    flags = set(column(page, "flag"))
    check(flags <= {"ok"}, f"{name}: filtered to {rows.count()} of {before} rows")
    page.fill("#ranking input[type=search]", "no such words anywhere")
    check(rows.count() == 0, f"{name}: a filter that nothing meets shows nothing")
    said = page.inner_text("#ranking output")
    check(len(said.split(":")) == 2, f"{name}: and it says so: {said}")
    page.fill("#ranking input[type=search]", "lr>0 bs>0 epochs>0")
    runs = page.evaluate("() => data.rows.filter(row => row.trial !== 0).length")
    check(rows.count() == min(runs, 50), f"{name}: parameters are found by the names of other tools")
    page.fill("#ranking input[type=search]", "nonsense=3")
    check("nonsense" in page.inner_text("#ranking output"), f"{name}: an unknown column is named")
    page.fill("#ranking input[type=search]", "")
    check(rows.count() == before, f"{name}: without the filter all are back")
    if before > 1:
        rows.nth(0).click()
        check(page.locator("dialog[open]").count() == 1, f"{name}: a click on a row opens its details")
        command = page.locator("dialog code").all_inner_texts()
        is_base = "trial=0" in page.evaluate("() => location.hash")
        check(is_base or "lorasweep export" in command[0], f"{name}: the details have the export command")
        check("trial=" in page.evaluate("() => location.hash"), f"{name}: the open run is in the address")
        page.reload()
        check(page.locator("dialog[open]").count() == 1, f"{name}: it is open again after a reload")
        page.keyboard.press("Escape")
        check(page.locator("dialog[open]").count() == 0, f"{name}: Escape closes it")
    look_at_answers(page, name)
    page.click("#theme")
    page.click("#theme")


def look_at_answers(page, name):
    """What a run wrote, where the page has it: whatever that is, it is shown as text."""
    trial = page.evaluate("() => data.answers && Number(Object.keys(data.answers.runs)[0])")
    if trial is None:
        return
    page.evaluate("trial => openDetail(trial)", trial)
    wanted = page.evaluate("trial => [data.answers.questions.map(q => q.base), data.answers.runs[trial].best].flat()", trial)
    shown = page.evaluate("() => [...document.querySelectorAll('dialog .answer pre')].map(e => e.textContent)")
    check(all(text in shown for text in wanted), f"{name}: {len(shown)} answers are shown as they were written")
    right = page.locator("dialog .answer.right mark").count()
    check(right == 0, f"{name}: nothing is marked in an answer that is right")
    alien = page.evaluate("() => document.querySelectorAll('dialog .answer pre :not(mark), dialog .prompt *').length")
    check(alien == 0, f"{name}: no answer became an element")
    page.fill("dialog input[type=search]", "no such words anywhere")
    check(page.locator("dialog .question").count() == 0, f"{name}: answers are searched")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--screenshots", type=Path)
    args = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=args.chromium, args=FLAGS)
        for path in args.pages:
            for scheme, viewport, kind in [("light", WIDE, ""), ("dark", WIDE, "-dark"), ("light", PHONE, "-phone")]:
                name = (path.parent.name if path.stem == "report" else path.stem) + kind
                context = browser.new_context(viewport=viewport, color_scheme=scheme)
                page, noise = context.new_page(), []
                page.on("console", lambda message, noise=noise: noise.append(message.text))
                page.on("pageerror", lambda error, noise=noise: noise.append(str(error)))
                page.on("request", lambda request, noise=noise: None if request.url.startswith(("file:", "data:")) else noise.append(request.url))
                began = time.monotonic()
                page.goto(path.resolve().as_uri(), wait_until="load")
                seconds = time.monotonic() - began
                check(seconds < 3, f"{name}: {path.stat().st_size / 1e6:.2f} MB shown after {seconds:.2f} s")
                overflow = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
                check(overflow <= 0, f"{name}: nothing sticks out sideways ({overflow} px)")
                check(not page.evaluate(NO_NUMBERS), f"{name}: every number in table and plots is one")
                if args.screenshots:
                    args.screenshots.mkdir(parents=True, exist_ok=True)
                    page.screenshot(path=args.screenshots / f"{name}.png", full_page=True)
                use(page, name)
                if not kind:
                    pdf = page.pdf(format="A4", path=args.screenshots and args.screenshots / f"{name}.pdf")
                    check(pdf.startswith(b"%PDF"), f"{name}: printed ({len(pdf) // 1000} kB)")
                check(not noise, f"{name}: no error and no request {noise[:3] if noise else ''}")
                context.close()
        browser.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
