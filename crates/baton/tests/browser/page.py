"""A real Chromium on the status page.

    page.py BASE

Each line on standard input is a JSON list, and is answered with a line of JSON:

    ["open", {"width", "height", "scheme", "locale"}]   a new page (and session) on BASE
    ["log_in", TOKEN]                                   answers with what the page says is wrong, if anything
    ["click", SELECTOR, TEXT]                           the first visible element with this text
    ["confirm", "yes" | "no"]                           in the dialog; answers with its question
    ["fill", SELECTOR, TEXT]
    ["wait", SELECTOR, TEXT]                            until an element with this text is visible
    ["shot", PATH]                                      a picture of the whole page
    ["look"]                                            texts, widths, and what went wrong so far

The end of standard input ends it. Chromium has a network of its own: see streams.py.
"""

import json
import os
import sys
from urllib.parse import urlsplit

from playwright.sync_api import sync_playwright

from streams import leave_network

PATIENCE = 30_000


class Driver:
    def __init__(self, browser, base):
        self.browser, self.base = browser, base
        self.context = self.page = None
        self.wrong = []

    def open(self, how):
        if self.context:
            self.context.close()
        self.wrong = []
        self.context = self.browser.new_context(
            viewport={"width": how["width"], "height": how["height"]},
            color_scheme=how["scheme"], locale=how.get("locale", "en-US"), timezone_id="UTC", reduced_motion="reduce",
        )
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        # Policy violations, scripts that broke, dialogs that some text has opened.
        self.page.on("console", lambda message: message.type == "error" and self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.wrong.append("dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: request.url.startswith(self.base) or self.wrong.append(request.url))
        self.page.goto(self.base)
        self.page.wait_for_selector("#token")

    def log_in(self, token):
        self.page.fill("#token", token)
        self.page.click("#login-go")
        self.page.locator("#login[hidden], #login-wrong:not(:empty)").first.wait_for(state="attached")
        return self.page.text_content("#login-wrong")

    def click(self, selector, text):
        self.page.locator(selector).filter(has_text=text, visible=True).first.click()

    def confirm(self, answer):
        question = self.page.locator("#ask p").text_content()
        self.page.click(f"#ask button[value={answer}]")
        return question

    def fill(self, selector, text):
        self.page.locator(selector).filter(visible=True).first.fill(text)

    def wait(self, selector, text):
        self.page.locator(selector).filter(has_text=text, visible=True).first.wait_for()

    def shot(self, path):
        self.page.screenshot(path=path, full_page=True)

    def look(self):
        return self.page.evaluate("""() => ({
            text: document.body.innerText, title: document.title, language: document.documentElement.lang,
            wide: document.documentElement.scrollWidth, width: innerWidth,
            background: getComputedStyle(document.body).backgroundColor,
            buttons: [...document.querySelectorAll('button')].filter(b => b.offsetParent).map(b => b.textContent),
            lines: [...document.querySelectorAll('.chart .line')].map(line => line.getAttribute('d').length),
            images: document.querySelectorAll('.app img').length, cookies: document.cookie,
        })""") | {"wrong": self.wrong}


def main():
    base = sys.argv[1]
    leave_network(urlsplit(base).port)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
            # Its sandbox does not start as root.
            args=["--no-sandbox"] if os.geteuid() == 0 else [],
        )
        driver = Driver(browser, base)
        print("ready", flush=True)
        for line in sys.stdin:
            name, *arguments = json.loads(line)
            try:
                answer = {"ok": getattr(driver, name)(*arguments)}
            except Exception as error:
                answer = {"error": str(error), "page": driver.page and driver.look()}
            print(json.dumps(answer), flush=True)
        browser.close()


main()
