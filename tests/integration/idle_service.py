"""The least service the local stack can run: it answers ``/health/ready`` and starts a child that leaves its group.

Its child is what a training worker is to the training consumer: something that ``sano down`` must end too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

SEEN = ("SANO_KAFKA_BOOTSTRAP_SERVERS", "SANO_S3_ENDPOINT_URL", "SANO_S3_BUCKET", "SANO_MASTER_KEY_FILE", "TMPDIR")


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health/ready" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> None:
    work = Path(os.environ["SANO_WORK_DIR"])
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    (work / "child.pid").write_text(str(child.pid))
    (work / "environment.json").write_text(json.dumps({name: os.environ.get(name) for name in SEEN}))
    HTTPServer(("127.0.0.1", int(os.environ["SANO_HEALTH_PORT"])), Health).serve_forever()


if __name__ == "__main__":
    main()
