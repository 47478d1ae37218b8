#!/usr/bin/env bash
# The kernels as a library for programs without Python (caffe2_plan.h), and the example that classifies an image.
#
# usage: scripts/build_phone.sh [FOLDER]        FOLDER is build/phone where none is given
#
# CXX and CC name the compilers, say aarch64-linux-gnu-g++ and aarch64-linux-gnu-gcc, or an NDK's clang++ and clang.
# FOLDER gets libcaffe2_plan.a, libcaffe2_plan.so, caffe2_plan.h and classify. What is up to date is kept.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-build/phone}
kernels=caffe2_models/kernels
export CXX=${CXX:-g++} CC=${CC:-gcc}
mkdir -p "$folder/objects"

# As in setup.py; all but what includes Python's headers, itself or by these.
grep -LE 'pybind11|"(arrays|detection)\.h"' "$kernels"/*.cpp | while read -r source; do
    object=$folder/objects/$(basename "$source" .cpp).o
    if [ ! "$object" -nt "$source" ] || [ -n "$(find "$kernels" -name '*.h' -newer "$object")" ]; then
        echo "$source $object"
    fi
done | xargs -r -P "$(nproc)" -n 2 sh -c '$CXX -std=c++20 -O3 -DNDEBUG -fPIC -fvisibility=hidden -ffp-contract=off \
    -Wno-psabi -Wno-maybe-uninitialized -c "$0" -o "$1"'
rm -f "$folder/libcaffe2_plan.a"
${AR:-ar} rcs "$folder/libcaffe2_plan.a" "$folder"/objects/*.o
$CXX -shared "$folder"/objects/*.o -o "$folder/libcaffe2_plan.so" -pthread
cp "$kernels/caffe2_plan.h" "$folder/"
$CC -O2 -Wall -I"$folder" -c scripts/phone/classify.c -o "$folder/classify.o"
$CXX "$folder/classify.o" "$folder/libcaffe2_plan.a" -o "$folder/classify" -pthread
echo "$folder"
