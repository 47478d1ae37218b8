#!/usr/bin/env bash
# An environment with the real Caffe2 (inside PyTorch 1.8.1, for CPython 3.8 or 3.9), to compare with.
#
# usage: scripts/setup_caffe2.sh [FOLDER]        FOLDER is .caffe2-venv of the repository where none is given
#
# Prints the interpreter's path on stdout and nothing else:
#     export CAFFE2_PYTHON=$(scripts/setup_caffe2.sh)
# An environment that works already is kept. Where none can be made: the reason on stderr, status 1.
set -euo pipefail

folder=${1:-$(cd "$(dirname "$0")/.." && pwd)/.caffe2-venv}
interpreter=$folder/bin/python

fail() {
    echo "setup_caffe2.sh: $*" >&2
    exit 1
}

has_caffe2() {
    "$1" -c 'from caffe2.python import core, workspace; core.IsOperator("Int8Conv") or exit(1)' >/dev/null 2>&1
}

# The first of the candidates that runs, is 3.8 or 3.9, and can make environments.
find_python() {
    local candidate
    for candidate in python3.8 python3.9 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.[89].*/bin/python; do
        if "$candidate" -c 'import ensurepip, sys, venv; sys.version_info[:2] in ((3, 8), (3, 9)) or exit(1)' \
            >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

if ! has_caffe2 "$interpreter"; then
    [ ! -e "$folder" ] || [ -e "$folder/pyvenv.cfg" ] || fail "$folder exists and is no environment; name another folder"
    python=$(find_python) || fail "no Python 3.8 or 3.9 on PATH or under pyenv; install one"
    echo "setup_caffe2.sh: installing PyTorch 1.8.1 with Caffe2 into $folder" >&2
    "$python" -m venv --clear "$folder" >&2 || fail "$python could not make an environment in $folder"
    "$interpreter" -m pip install --quiet --disable-pip-version-check \
        torch==1.8.1 "numpy<1.24" "protobuf<3.21" onnx==1.8.1 future six >&2 ||
        fail "pip could not install PyTorch 1.8.1 into $folder (no network, or no wheel for this machine)"
    has_caffe2 "$interpreter" || fail "$interpreter has PyTorch 1.8.1, but its Caffe2 does not start"
fi
echo "$interpreter"
