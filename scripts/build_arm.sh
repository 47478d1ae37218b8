#!/usr/bin/env bash
# The kernels' extension for the arm64 Python of scripts/setup_arm.sh, beside this machine's own in the source tree.
#
# usage: scripts/build_arm.sh ARM_ROOT
#
# The package's own setup.py builds it, with the cross-compiler in the compiler's place; what is up to date is kept.
set -euo pipefail
root=${1:?usage: scripts/build_arm.sh ARM_ROOT}
cd "$(dirname "$0")/.."

read -r suffix version < <("$root/bin/python" -c \
    'import sys, sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"), "%d.%d" % sys.version_info[:2])')
CC=aarch64-linux-gnu-gcc CXX=aarch64-linux-gnu-g++ LDSHARED="aarch64-linux-gnu-g++ -shared" \
    LDCXXSHARED="aarch64-linux-gnu-g++ -shared" CFLAGS="-I$root/usr/include/python$version -I$root/usr/include" \
    SETUPTOOLS_EXT_SUFFIX="$suffix" \
    "${PYTHON:-python3}" setup.py --quiet build_ext --inplace --build-temp build/arm
