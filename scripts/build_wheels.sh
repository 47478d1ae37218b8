#!/usr/bin/env bash
# Wheels for Linux with glibc 2.28 or later (manylinux_2_28), x86-64 and 64-bit ARM, cross-built by the clang of the
# package ziglang; auditwheel judges that of this machine.
#
# usage: scripts/build_wheels.sh ARM_ROOT [FOLDER]        ARM_ROOT: of scripts/setup_arm.sh; FOLDER is dist where none is given
#
# Each is for the CPython whose headers it is built with: PYTHON's, and that of ARM_ROOT.
set -euo pipefail
root=${1:?usage: scripts/build_wheels.sh ARM_ROOT [FOLDER]}
cd "$(dirname "$0")/.."
folder=${2:-dist}
python=${PYTHON:-python3}
"$python" -c 'import auditwheel, pybind11, setuptools, ziglang
int(setuptools.__version__.split(".")[0]) >= 77 or exit(1)' 2>/dev/null || # older ones compile C++ by CC
    { echo 'build_wheels.sh: pip install ziglang auditwheel pybind11 "setuptools>=77"' >&2; exit 2; }

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT

# build MACHINE INTERPRETER INCLUDES: the wheel for the interpreter's version and MACHINE
build() {
    local machine=$1 interpreter=$2 includes=$3 suffix tag
    read -r suffix tag < <("$interpreter" -c 'import sys, sysconfig
print(sysconfig.get_config_var("EXT_SUFFIX"), "cp%d%d" % sys.version_info[:2])')
    for compiler in cc c++; do
        printf '#!/bin/sh\nexec "%s" -m ziglang %s -target %s-linux-gnu.2.28 -g0 "$@"\n' \
            "$(command -v "$python")" "$compiler" "$machine" >"$tools/$compiler"
        chmod +x "$tools/$compiler"
    done
    CC=$tools/cc CXX=$tools/c++ LDSHARED="$tools/c++ -shared -s" LDCXXSHARED="$tools/c++ -shared -s" CFLAGS="$includes" \
        SETUPTOOLS_EXT_SUFFIX=$suffix \
        "$python" setup.py --quiet build --build-base "build/wheel-$machine" \
        bdist_wheel --plat-name "manylinux_2_28_$machine" --python-tag "$tag" --dist-dir "$folder"
    "$python" -m zipfile -l "$folder"/*"manylinux_2_28_$machine.whl" | grep "/_int8" >/dev/null ||
        { echo "build_wheels.sh: the $machine wheel has no kernels" >&2; exit 1; }
}

version=$("$root/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
build aarch64 "$root/bin/python" "-I$root/usr/include/python$version -I$root/usr/include/aarch64-linux-gnu/python$version"
build x86_64 "$python" ""
"$python" -m auditwheel show "$folder"/*manylinux_2_28_x86_64.whl
