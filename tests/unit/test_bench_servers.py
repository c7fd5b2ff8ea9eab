"""The servers that are measured start: vLLM's processes import their module anew."""

from __future__ import annotations

import subprocess
import sys

from deploy.local.services import PROJECT_ROOT

BOUND_SECONDS = 60
IMPORTED = "import sys, tests.bench.streaming_server; sys.exit('werkzeug' in sys.modules)"


def test_the_module_of_the_measured_servers_imports_no_web_framework_with_proxies_on_which_vllm_fails() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTED], cwd=PROJECT_ROOT, timeout=BOUND_SECONDS, check=False)
    assert done.returncode == 0
