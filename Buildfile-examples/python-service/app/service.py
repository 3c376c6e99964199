"""A service that keeps a list of notes in memory: GET /notes lists them, POST /notes adds one, GET /health answers."""

import json
import os
import signal
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NOTES = []


class Handler(BaseHTTPRequestHandler):
    def answer(self, status, value):
        body = json.dumps(value).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/health":
            self.answer(200, {"status": "ok"})
        elif self.path == "/notes":
            self.answer(200, NOTES)
        else:
            self.answer(404, {"error": "no such page"})

    def do_POST(self):
        length = min(int(self.headers.get("Content-Length", 0)), 4096)
        NOTES.append(self.rfile.read(length).decode())
        self.answer(201, {"count": len(NOTES)})

    def log_message(self, *_):
        pass


def main(mode):
    server = ThreadingHTTPServer(("", int(os.environ["PORT"])), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    if mode == "serve":
        server.serve_forever()
        return
    threading.Thread(target=server.serve_forever).start()
    base = "http://127.0.0.1:%s" % os.environ["PORT"]
    for data in (b"first", b"second"):
        urllib.request.urlopen(base + "/notes", data=data).read()
    for page in ("/health", "/notes"):
        print(page, urllib.request.urlopen(base + page).read().decode().strip())
    server.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
