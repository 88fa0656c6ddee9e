#!/usr/bin/env bash
# Installs Okta's Python SDK in a folder of its own and runs the scenarios. Exit 75: it could not be installed.
set -uo pipefail
venv=${SDK_CACHE:-${TMPDIR:-/tmp}/narrowgate-sdk-cache}/python
if [ ! -x "$venv/bin/python" ]; then python3 -m venv "$venv" || exit 75; fi
# The gate's CA is for the SDK, not for the package index.
env -u SSL_CERT_FILE "$venv/bin/pip" install -q --disable-pip-version-check 'okta>=3.4,<4' || exit 75
exec "$venv/bin/python" "$(dirname "$0")/scenarios.py"
