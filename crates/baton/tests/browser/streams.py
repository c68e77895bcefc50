"""A real Chromium that listens to event streams and WebSockets of one origin.

    streams.py BASE KIND=PATH…       KIND: eventsource | fetch | websocket

Each stream is opened in a page of its own. A line `ready` is printed once all of them are open. For
each line on standard input one line of JSON is printed: what each stream has seen so far, in the
order of the arguments. The end of standard input ends it.
"""

import json
import os
import sys

from playwright.sync_api import sync_playwright

# `seen` is what is handed out; times are milliseconds of the page's own clock.
EVENTSOURCE = """path => {
  const seen = window.seen = {opens: [], errors: [], events: [], hellos: []};
  const source = new EventSource(path);
  source.onopen = () => seen.opens.push(performance.now());
  source.onerror = () => seen.errors.push({at: performance.now(), state: source.readyState});
  source.onmessage = event => seen.events.push({data: event.data, id: event.lastEventId});
  source.addEventListener('connect', event =>
    seen.hellos.push({at: performance.now(), data: event.data}));
}"""

FETCH = """path => {
  const seen = window.seen = {opens: [], errors: [], text: '', ended: false};
  seen.protocol = performance.getEntriesByType('navigation')[0].nextHopProtocol;
  (async () => {
    const response = await fetch(path, {headers: {accept: 'text/event-stream'}});
    seen.opens.push(performance.now());
    seen.status = response.status;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const {value, done} = await reader.read();
      if (done) break;
      seen.text += value;
    }
    seen.ended = true;
  })().catch(error => seen.errors.push({at: performance.now(), error: String(error)}));
}"""

WEBSOCKET = """path => {
  const seen = window.seen = {opens: [], errors: [], visits: []};
  const connect = () => {
    const visit = {messages: [], code: null, clean: null};
    seen.visits.push(visit);
    const socket = new WebSocket(location.origin.replace(/^http/, 'ws') + path);
    socket.onopen = () => { visit.opened = performance.now(); seen.opens.push(visit.opened); };
    socket.onmessage = event => visit.messages.push(event.data);
    socket.onerror = () => seen.errors.push({at: performance.now()});
    socket.onclose = event => {
      visit.code = event.code;
      visit.clean = event.wasClean;
      visit.closed = performance.now();
      setTimeout(connect, 100);
    };
  };
  connect();
}"""

SCRIPTS = {"eventsource": EVENTSOURCE, "fetch": FETCH, "websocket": WEBSOCKET}


def main():
    base, streams = sys.argv[1], [word.split("=", 1) for word in sys.argv[2:]]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
            args=["--host-resolver-rules=MAP *.test 127.0.0.1"]
            # Its sandbox does not start as root.
            + (["--no-sandbox"] if os.geteuid() == 0 else []),
        )
        pages = []
        for kind, path in streams:
            # The certificate is the test's own.
            page = browser.new_page(ignore_https_errors=True)
            # Any document of this origin will do.
            page.goto(base + "/scene")
            page.evaluate(SCRIPTS[kind], path)
            pages.append(page)
        for page in pages:
            page.wait_for_function("window.seen.opens.length > 0", timeout=30_000)
        print("ready", flush=True)
        for _ in sys.stdin:
            print(json.dumps([page.evaluate("window.seen") for page in pages]), flush=True)
        browser.close()


main()
