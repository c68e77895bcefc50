"""A real Chromium that listens to event streams and WebSockets of one origin.

    streams.py BASE KIND=PATH…       KIND: eventsource | fetch | websocket

Each stream is opened in a page of its own. A line `ready` is printed once all of them are open. For
each line on standard input one line of JSON is printed: what each stream has seen so far, in the
order of the arguments. The end of standard input ends it.

Chromium has a network of its own, with nothing in it but loopback: it breaks off every connection with
ERR_NETWORK_CHANGED when an interface comes or goes, as those of other tests' containers do all the time.
"""

import asyncio
import ctypes
import fcntl
import json
import os
import socket
import struct
import sys
from urllib.parse import urlsplit

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

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1


def leave_network(port):
    """Moves this process into a network of its own, where `port` of loopback leads to the same one outside."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    # A socket stays in the network in which it was made: the child opens connections in the old one.
    if os.fork() == 0:
        here.close()
        os.close(0)
        os.close(1)
        try:
            relay(there, port)
        finally:
            os._exit(0)
    there.close()
    uid, gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET if uid == 0 else CLONE_NEWUSER | CLONE_NEWNET) != 0:
        reason = os.strerror(ctypes.get_errno())
        print(f"Chromium shares the machine's network, which may change: {reason}", file=sys.stderr)
        here.close()
        return
    if uid != 0:
        for name, text in [("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")]:
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    with socket.create_server(("127.0.0.1", port)) as listener:
        socket.send_fds(here, [b"."], [listener.fileno()])
    # Kept open: its end, with this process, is the relay's.
    here.detach()


def relay(parent, port):
    """Takes a listener from `parent`, and passes its connections on until that ends."""
    _, descriptors, _, _ = socket.recv_fds(parent, 1, 1)
    if not descriptors:
        return

    async def pump(reader, writer):
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        except OSError:
            # What one side breaks off is broken off on the other.
            writer.transport.abort()

    async def serve(reader, writer):
        try:
            out_reader, out_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(pump(reader, out_writer), pump(out_reader, writer))
        out_writer.close()
        writer.close()

    async def run():
        ended = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(parent, lambda: ended.done() or ended.set_result(None))
        await asyncio.start_server(serve, sock=socket.socket(fileno=descriptors[0]))
        await ended

    asyncio.run(run())


SCRIPTS = {"eventsource": EVENTSOURCE, "fetch": FETCH, "websocket": WEBSOCKET}


def main():
    base, streams = sys.argv[1], [word.split("=", 1) for word in sys.argv[2:]]
    leave_network(urlsplit(base).port)
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


if __name__ == "__main__":
    main()
